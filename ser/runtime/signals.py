"""Signals that come while a library written in C calls back into Python, as libsndfile does to read and write a stream.

Their handler runs within the callback then. What it raises (KeyboardInterrupt, SystemExit) cannot pass through the library, which takes
the callback for failed and goes on with a part of the data: Ctrl-C would be lost, and a clip be cut short without a word.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals by which processes are ended, whose handlers may raise."""


@contextmanager
def deferred() -> Iterator[None]:
    """Handle signals that come in this block after it. Handlers run in the main thread alone, so elsewhere there is nothing to do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    try:
        with ExitStack() as restoring:
            for number in ENDING:
                if callable(handler := signal.getsignal(number)):
                    restoring.callback(signal.signal, number, handler)
                    signal.signal(number, lambda came_now, _frame: came.append(came_now))
            yield
    finally:
        for one in came:
            signal.raise_signal(one)
