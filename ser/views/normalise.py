"""Standardisation of features before the network sees them. numpy only, because the exported predictor runs the same code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALLEST_SCALE = 1e-3
"""A row that never changes (a band below the floor) is centred, not blown up."""


SMALLEST_CHANGE = 1e-5
"""Of the greatest value: a column that deviates by less is constant up to the rounding of float32."""


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each row of a view, both of shape (rows,), float32."""

    mean: np.ndarray
    scale: np.ndarray

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """Standardise ``frames`` of shape (frames, rows)."""
        return ((frames.astype(np.float32) - self.mean) / self.scale).astype(np.float32)


def statistics(frames: np.ndarray) -> Statistics:
    """Statistics over the first axis of ``frames`` (frames, rows), summed in double precision.

    Raises:
        ValueError: if there is no frame.
    """
    if len(frames) == 0:
        raise ValueError("frames: statistics need at least one frame")
    total, squares = np.zeros(frames.shape[1]), np.zeros(frames.shape[1])
    for start in range(0, len(frames), 65536):  # in pieces: a corpus as float64 would not fit beside itself
        piece = frames[start : start + 65536].astype(np.float64)
        total += piece.sum(axis=0)
        squares += np.square(piece).sum(axis=0)
    mean = total / len(frames)
    variance = np.maximum(squares / len(frames) - mean**2, 0.0)
    return Statistics(mean.astype(np.float32), np.maximum(np.sqrt(variance), SMALLEST_SCALE).astype(np.float32))


def scales(vectors: np.ndarray) -> np.ndarray:
    """Standard deviation of each column of ``vectors`` (clips, n) of any units; ∞ where it is constant, so that dividing leaves it out.

    A constant says nothing of the clips it was found on, and must not speak up when another clip differs.
    """
    deviation = vectors.std(axis=0, dtype=np.float64)
    return np.where(deviation > SMALLEST_CHANGE * np.abs(vectors).max(axis=0), deviation, np.inf)
