"""Signals at moments when nothing may be raised: while a library written in C calls back, and while a process of ours begins.

libsndfile calls back to read and write a stream, and a handler may run within the callback. What it raises (KeyboardInterrupt,
SystemExit) cannot pass through the library, which takes the callback for failed and goes on with a part of the data: Ctrl-C would be
lost, and a clip be cut short without a word.

A terminal sends Ctrl-C to all processes of a command. Those that work for another one leave it to that one, but a process that is still
importing modules would end with a traceback.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals by which processes are ended, whose handlers may raise."""


@contextmanager
def deferred() -> Iterator[Sequence[int]]:
    """Handle signals that come in this block after it. Handlers run in the main thread alone, so elsewhere there is nothing to do.

    Yields:
        The signals that have come so far.
    """
    if threading.current_thread() is not threading.main_thread():
        yield ()
        return
    came: list[int] = []
    try:
        with ExitStack() as restoring:
            for number in ENDING:
                if callable(handler := signal.getsignal(number)):
                    restoring.callback(signal.signal, number, handler)
                    signal.signal(number, lambda came_now, _frame: came.append(came_now))
            yield came
    finally:
        for one in came:
            signal.raise_signal(one)


@contextmanager
def deaf_children() -> Iterator[None]:
    """A process that this thread starts in the block does not hear Ctrl-C until it calls ``ignore_interrupts``."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it starts with the first of them, and unblocks the signal then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that this one works for. Programs that this one starts may hear it again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
