"""A call of onnxruntime under a time limit."""

from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import TypeVar, cast

from ser.runtime.signals import deferred

Result = TypeVar("Result")
ENDS_WITHIN = 10.0
"""Seconds that a run which was told to stop is waited for. It looks for that between two operators."""


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
    ended: queue.SimpleQueue[tuple[Result | None, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            ended.put((call(), None))
        except Exception as error:
            ended.put((None, error))

    worker = threading.Thread(target=work, daemon=True)
    try:
        worker.start()
        result, error = ended.get(timeout=seconds)
    except queue.Empty:
        stop()
        atexit.register(_left, worker)
        raise TimeoutError from None
    except BaseException:
        with deferred():
            stop()
            worker.join(ENDS_WITHIN)
        if worker.is_alive():
            atexit.register(_left, worker)
        raise
    if error is not None:
        raise error
    return cast(Result, result)


def _left(worker: threading.Thread) -> None:
    """At the end of the process: wait for a call that was left; one that does not end keeps Python from ending in order."""
    worker.join(ENDS_WITHIN)
    if worker.is_alive():
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(1)
