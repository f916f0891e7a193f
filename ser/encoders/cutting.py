"""The input of an encoder: a clip with silence appended, cut into pieces if it is too long for one pass."""

from __future__ import annotations

import itertools

import numpy as np

HOP = 320
"""Samples from one token to the next at 16 kHz, in every family: 50 tokens per second."""
FIELD = 400
"""Samples that one token of a waveform encoder's stem covers."""


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


def standardised(signal: np.ndarray) -> np.ndarray:
    """A clip with mean 0 and variance 1, as some waveform encoders were trained; silence stays silence."""
    scaled: np.ndarray = (signal - signal.mean()) / np.sqrt(signal.var() + 1e-7)
    return scaled


def waveform_pieces(samples: int, most: int) -> list[tuple[tuple[int, int], slice]]:
    """``pieces`` of the tokens of a waveform encoder, each with the samples that these tokens cover.

    The last piece reaches to the end of the signal.

    Args:
        samples: length of the signal, at least 400.
        most: tokens of a piece at most.

    >>> waveform_pieces(1000, 1)
    [((0, 1), slice(0, 400, None)), ((1, 2), slice(320, 1000, None))]
    """
    tokens = (samples - FIELD) // HOP + 1
    cuts = pieces(tokens, most)
    return [((start, end), slice(HOP * start, samples if end == tokens else HOP * (end - 1) + FIELD)) for start, end in cuts]
