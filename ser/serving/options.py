"""Numbers on the command line: types for argparse whose messages say what was found and what is allowed."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def number(low: float, high: float, what: str = "a number") -> Callable[[str], float]:
    """A type for argparse: a number from ``low`` to ``high``, named ``what`` in its message."""

    def parsed(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"found {text!r}; allowed: {what} from {low:.9g} to {high:.9g}")
        return value

    return parsed


def whole(low: int, high: int, what: str = "a whole number") -> Callable[[str], int]:
    """The same for whole numbers, in digits."""

    def parsed(text: str) -> int:
        if not (text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"found {text!r}; allowed: {what} from {low} to {high}")
        return int(text)

    return parsed


probability = number(0, 1, "a probability")
