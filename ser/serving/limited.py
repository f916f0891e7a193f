"""A call of onnxruntime under a time limit."""

from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from ser.runtime.signals import deferred

Result = TypeVar("Result")
Ended = tuple[Result | None, Exception | None]
"""What a call returned, and what it raised."""

ENDS_WITHIN = 10.0
"""Seconds to wait for a run that was told to stop. onnxruntime looks for that between two operators."""
LOOKS_EVERY = 0.1
"""Seconds between two looks for Ctrl-C while a run goes on."""


def within(seconds: float, call: Callable[[], Result], stop: Callable[[], object]) -> Result:
    """What a call returns or raises. It runs in a thread of its own: a call that goes on too long can be told to stop, and be left.

    After Ctrl-C the call is told to stop and waited for. A process that ends while a thread of it is inside onnxruntime crashes.

    Args:
        seconds: that it may take.
        call: runs onnxruntime.
        stop: tells it to stop, from another thread.

    Raises:
        TimeoutError: if it takes longer than ``seconds``; it may go on in the background, until the process ends.
    """
    ended: queue.SimpleQueue[Ended[Result]] = queue.SimpleQueue()
    latest = time.monotonic() + seconds
    running: list[threading.Thread] = []
    found = None
    try:
        while found is None and time.monotonic() < latest:
            with deferred() as came:  # an interrupt that comes as Python makes or drops a thread would lose the thread, or be lost
                if not running:
                    running.append(_started(call, ended))
                if (found := _result(ended, latest, came)) is not None:
                    running.pop().join()
    except BaseException:
        with deferred():
            _stopped(running, stop, ENDS_WITHIN)
        raise
    if found is None:
        _stopped(running, stop, 0)
        raise TimeoutError
    result, error = found
    if error is not None:
        raise error
    return cast(Result, result)


def _started(call: Callable[[], Result], ended: queue.SimpleQueue[Ended[Result]]) -> threading.Thread:
    def work() -> None:
        try:
            ended.put((call(), None))
        except Exception as error:
            ended.put((None, error))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    return worker


def _result(ended: queue.SimpleQueue[Ended[Result]], latest: float, came: Sequence[int]) -> Ended[Result] | None:
    """The result, or None as soon as a signal has come or the time is over."""
    while not came and (left := latest - time.monotonic()) > 0:
        try:
            return ended.get(timeout=min(left, LOOKS_EVERY))
        except queue.Empty:
            continue
    return None


def _stopped(running: list[threading.Thread], stop: Callable[[], object], seconds: float) -> None:
    """Tell a call to stop and wait for it, at most ``seconds``. If it still runs, the process waits for it again before it ends."""
    stop()
    for worker in running:
        worker.join(seconds)
        if worker.is_alive():
            atexit.register(_left, worker)


def _left(worker: threading.Thread) -> None:
    """At the end of the process: wait for a call that was left. If it goes on, end at once with status 1: Python would crash."""
    worker.join(ENDS_WITHIN)
    if worker.is_alive():
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(1)
