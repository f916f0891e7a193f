"""The input of an encoder: a clip with silence appended, cut into pieces if it is too long for one pass."""

from __future__ import annotations

import itertools

import numpy as np

HOP = 320
"""Samples from one token to the next at 16 kHz, in every family: 50 tokens per second."""


def fed(signal: np.ndarray, silence: int) -> np.ndarray:
    """The signal with silence appended, zero-padded to a multiple of 320 samples, at least 640: float32."""
    whole = np.zeros(max(2, -(-(len(signal) + silence) // HOP)) * HOP, dtype=np.float32)
    whole[: len(signal)] = signal
    return whole


def pieces(tokens: int, most: int) -> list[tuple[int, int]]:
    """Start and end of the fewest pieces of at most ``most`` tokens.

    Their lengths differ by one token at most.

    >>> pieces(10, 4)
    [(0, 3), (3, 6), (6, 10)]
    """
    count = -(-tokens // most)
    return list(itertools.pairwise(tokens * number // count for number in range(count + 1)))
