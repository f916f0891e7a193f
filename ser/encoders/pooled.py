"""A clip's hidden states as one vector, and which of them are the clip's own; numpy only, for training and predictor alike."""

from __future__ import annotations

import numpy as np

STATISTICS = 2
"""Mean and standard deviation of each column of each layer."""


def own_tokens(stored: np.ndarray, samples: np.ndarray, sample_rate: int, tokens_per_second: float) -> np.ndarray:
    """How many of a clip's stored tokens cover the clip itself; those of the silence behind it come after them and are dropped.

    Args:
        stored: tokens stored of each clip, shape (clips,), each at least 1.
        samples: length of each clip, shape (clips,).
        sample_rate: of the clips, in Hz.
        tokens_per_second: of the encoder.

    Returns:
        int64 (clips,), at least 1.

    >>> own_tokens(np.array([100, 3]), np.array([16000, 16000]), 16000, 50.0)
    array([50,  3])
    """
    covered = np.ceil(np.asarray(samples, dtype=np.float64) * tokens_per_second / sample_rate).astype(np.int64)
    return np.clip(covered, 1, stored)


def pooled(states: np.ndarray) -> np.ndarray:
    """Mean and standard deviation over time of each column, summed in double precision.

    Args:
        states: (tokens, layers, width) of a clip's own tokens, at least one, of any float type.

    Returns:
        float32 (layers · 2 · width,): mean of the first layer, its deviation, mean of the second, and so on.

    Raises:
        ValueError: if there is no token.
    """
    if len(states) == 0:
        raise ValueError("states: pooling needs at least one token")
    values = states.astype(np.float64)
    return np.stack([values.mean(axis=0), values.std(axis=0)], axis=1).astype(np.float32).ravel()
