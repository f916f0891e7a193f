"""Functions that worker processes run in tests: found by name, so they live in a module of their own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from ser import SerError


def square(number: int) -> int:
    time.sleep(0.01 * (number % 3))  # later ones may be ready first
    return number * number


def process_of(number: int) -> int:
    return os.getpid()


def threads_of_blas(number: int) -> set[int]:
    np.ones((4, 4)) @ np.ones((4, 4))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def fail_at_seven(number: int) -> int:
    if number == 7:
        raise SerError("seven cannot be done")
    return number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def slow(number: int) -> int:
    """Takes half a second."""
    time.sleep(0.5)
    return number


def die_once(task: tuple[int, str]) -> int:
    """The fifth task kills its process the first time that it is tried."""
    number, mark = task
    if number == 5 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number


def arrays(number: int) -> list[Any]:
    """Results of every kind: no array, empty ones, slices that are not one block, columns first, several types, several at once."""
    grid = np.arange(60, dtype=np.float32).reshape(5, 12) + number
    kinds: list[Any] = [("too_short", "0.1 s"), np.zeros(0, np.int16), grid[:, ::3], np.asfortranarray(grid), np.float64(number)]
    return [kinds[number % len(kinds)], {"grid": grid, "text": "é", "none": None}, np.full(number, number, np.int16)]


def bytes_of(outcomes: list[Any]) -> bytes:
    """What ``prepare_chunk`` found, as bytes that two runs can be compared by."""
    return repr([(one.pcm.tobytes(), vars(one) | {"pcm": None}) if hasattr(one, "pcm") else one for one in outcomes]).encode()


if __name__ == "__main__":
    from ser.params import load
    from ser.runtime.workers import spread

    print(list(spread(square, range(3), load().runtime)))
