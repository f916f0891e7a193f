"""Standardisation of features. numpy only, because the exported predictor runs this code too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALLEST_SCALE = 1e-3
"""Lower bound of a scale: a constant column (a band at the floor) is centred and not magnified."""


SMALLEST_CHANGE = 1e-5
"""Relative to the largest value: a column with a smaller deviation is constant up to float32 rounding."""


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each column of a view, both float32 (columns,)."""

    mean: np.ndarray
    scale: np.ndarray

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """Standardise ``frames``, shape (frames, columns)."""
        return ((frames.astype(np.float32) - self.mean) / self.scale).astype(np.float32)


def statistics(frames: np.ndarray) -> Statistics:
    """Statistics over the first axis of ``frames``, shape (frames, columns), summed in double precision.

    Raises:
        ValueError: if there is no frame.
    """
    if len(frames) == 0:
        raise ValueError("frames: statistics need at least one frame")
    total, squares = np.zeros(frames.shape[1]), np.zeros(frames.shape[1])
    for start in range(0, len(frames), 65536):  # in pieces, because a float64 copy of a corpus might not fit into memory
        piece = frames[start : start + 65536].astype(np.float64)
        total += piece.sum(axis=0)
        squares += np.square(piece).sum(axis=0)
    mean = total / len(frames)
    variance = np.maximum(squares / len(frames) - mean**2, 0.0)
    return Statistics(mean.astype(np.float32), np.maximum(np.sqrt(variance), SMALLEST_SCALE).astype(np.float32))


def scales(vectors: np.ndarray) -> np.ndarray:
    """Standard deviation of each column of ``vectors``, shape (clips, n); ∞ for constant columns.

    Constant columns carry no information; dividing by infinity disables them.
    """
    deviation = vectors.std(axis=0, dtype=np.float64)
    return np.where(deviation > SMALLEST_CHANGE * np.abs(vectors).max(axis=0), deviation, np.inf)
