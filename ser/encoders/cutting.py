"""What an encoder is fed: a clip and the silence behind it, cut into pieces where it is too long to be heard at once."""

from __future__ import annotations

import itertools

import numpy as np

HOP = 320
"""Samples from one token to the next at 16 kHz, in every family on offer: 50 tokens a second."""


def fed(signal: np.ndarray, silence: int) -> np.ndarray:
    """The signal with silence behind it, filled up with zeros to whole steps of 320 samples and at least two of them: float32."""
    whole = np.zeros(max(2, -(-(len(signal) + silence) // HOP)) * HOP, dtype=np.float32)
    whole[: len(signal)] = signal
    return whole


def pieces(tokens: int, most: int) -> list[tuple[int, int]]:
    """Start and end of as few pieces as possible of at most ``most`` tokens, all as long as each other to within a token.

    >>> pieces(10, 4)
    [(0, 3), (3, 6), (6, 10)]
    """
    count = -(-tokens // most)
    return list(itertools.pairwise(tokens * number // count for number in range(count + 1)))
