"""How well probabilities match outcomes: log loss, Brier score, calibration error, temperature scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPREAD = 0.5
"""Standard deviation of the prior of log T, which is normal around 0."""

TINY = 1e-12
"""Lower bound of a probability before its logarithm is taken: a single log 0 would outweigh everything else.
"""


def softmax_at(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T), shape (clips, K): T > 1 lowers the confidence, T < 1 raises it; the order of
    classes stays.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, is {temperature}")
    logits = np.log(np.clip(_table(probabilities), TINY, None)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """Temperature scaling (Guo et al. 2017, arXiv 1706.04599): the most probable temperature given held-out
    clips, in [0.05, 20].

    The prior of log T is normal around 0 with deviation ``SPREAD``. It matters for a few dozen clips, nearly
    all of which may be right for one easy speaker, and hardly for a few hundred.

    Args:
        probabilities: shape (clips, K), of validation clips, never of test clips.
        actual: class numbers, shape (clips,).

    Raises:
        ValueError: if an argument is empty or has a wrong shape; it is named.
    """
    from scipy.optimize import minimize_scalar  # a good part of a second that a prediction does not need

    probabilities, actual = _pair(probabilities, actual)
    if len(actual) == 0:
        raise ValueError("probabilities is empty: a temperature needs validation clips")
    fit = minimize_scalar(
        lambda log_t: len(actual) * log_loss(softmax_at(probabilities, float(np.exp(log_t))), actual) + (log_t / SPREAD) ** 2 / 2,
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(fit.x))


def log_loss(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """Mean −log of the probability given to the actual class, in nats, ≥ 0; log K for uniform probabilities.

    NaN without clips.
    """
    probabilities, actual = _pair(probabilities, actual)
    if len(actual) == 0:
        return float("nan")
    return float(-np.log(np.clip(probabilities[np.arange(len(actual)), actual], TINY, None)).mean())


def brier(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """Brier score: mean over clips of Σ_k (p_k − [k is actual])², in [0, 2]; 1 − 1/K for uniform ones.

    NaN without clips.
    """
    probabilities, actual = _pair(probabilities, actual)
    if len(actual) == 0:
        return float("nan")
    return float(((probabilities - np.eye(probabilities.shape[1])[actual]) ** 2).sum(axis=1).mean())


@dataclass(frozen=True)
class Reliability:
    """The reliability diagram: clips binned by confidence, the probability of the predicted class.

    Attributes:
        low, high: limits of each bin, of equal width over [0, 1], shape (bins,).
        clips: clips in each bin.
        confidence: mean confidence in each bin; NaN where empty.
        accuracy: share that is right in each bin; NaN where empty.
    """

    low: np.ndarray
    high: np.ndarray
    clips: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: mean |accuracy − confidence| over clips, in [0, 1] (Naeini et al. 2015;
        Guo et al. 2017).
        """
        used = self.clips > 0
        if not used.any():
            return float("nan")
        return float((self.clips[used] * np.abs(self.accuracy[used] - self.confidence[used])).sum() / self.clips.sum())


def reliability(probabilities: np.ndarray, actual: np.ndarray, bins: int) -> Reliability:
    """Bin clips by confidence; a bin includes its upper limit, (low, high]."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, is {bins}")
    probabilities, actual = _pair(probabilities, actual)
    sure = probabilities.max(axis=1, initial=0.0)
    right = probabilities.argmax(axis=1) == actual if len(actual) else np.zeros(0, bool)
    edges = np.linspace(0, 1, bins + 1)
    number = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    clips = np.bincount(number, minlength=bins)
    some = np.where(clips > 0, clips, 1)
    mean = np.where(clips > 0, np.bincount(number, weights=sure, minlength=bins) / some, np.nan)
    share = np.where(clips > 0, np.bincount(number, weights=right.astype(float), minlength=bins) / some, np.nan)
    return Reliability(edges[:-1], edges[1:], clips, mean, share)


def _table(probabilities: np.ndarray) -> np.ndarray:
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] < 1:
        raise ValueError(f"probabilities must have the shape (clips, K), has {probabilities.shape}")
    if not (np.isfinite(probabilities).all() and (probabilities >= 0).all() and np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)):
        raise ValueError("probabilities must be ≥ 0 and sum to 1 in each row")
    return probabilities


def _pair(probabilities: np.ndarray, actual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probabilities, actual = _table(probabilities), np.asarray(actual)
    if actual.shape != (len(probabilities),):
        raise ValueError(f"actual must have {len(probabilities)} entries, one per row of probabilities, has the shape {actual.shape}")
    if len(actual) and (not np.issubdtype(actual.dtype, np.integer) or actual.min() < 0 or actual.max() >= probabilities.shape[1]):
        raise ValueError(f"actual must be class numbers in 0 … {probabilities.shape[1] - 1}")
    return probabilities, actual.astype(np.int64)
