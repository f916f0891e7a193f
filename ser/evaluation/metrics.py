"""Scores of a classifier, all from its confusion matrix, so that one formula serves a corpus, a fold and 2,000 resamples at once.

A confusion matrix has the shape (..., K, K), rows are the actual classes, columns the predicted ones; leading axes (resamples, speakers,
seeds) are kept. Entries are counts and may be weighted. scikit-learn has no such vectorised form; the tests hold each score against it.

>>> import numpy as np
>>> counts = confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), classes=2)
>>> float(wa(counts)), float(ua(counts))
(0.75, 0.75)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def confusion(actual: np.ndarray, predicted: np.ndarray, classes: int, groups: np.ndarray | None = None, n_groups: int = 0) -> np.ndarray:
    """Counts of (actual, predicted) pairs.

    Args:
        actual, predicted: class numbers 0 … classes − 1, shape (clips,).
        classes: number of classes K.
        groups: group number of each clip (speaker, seed), shape (clips,); None: one matrix for all.
        n_groups: number of groups G.

    Returns:
        int64, shape (K, K), or (G, K, K) with groups.

    Raises:
        ValueError: naming the argument whose shape, type or range is wrong.
    """
    if classes < 1:
        raise ValueError(f"classes must be at least 1, is {classes}")
    actual = _numbers("actual", actual, classes, None)
    predicted = _numbers("predicted", predicted, classes, len(actual))
    cell = actual * classes + predicted
    if groups is None:
        return np.bincount(cell, minlength=classes * classes).reshape(classes, classes)
    if n_groups < 1:
        raise ValueError(f"n_groups must be at least 1, is {n_groups}")
    cell = cell + _numbers("groups", groups, n_groups, len(actual)) * classes * classes
    return np.bincount(cell, minlength=n_groups * classes * classes).reshape(n_groups, classes, classes)


def wa(counts: np.ndarray) -> np.ndarray:
    """Weighted accuracy: share of clips that are right (accuracy), in [0, 1]; NaN without clips. Shape (...,)."""
    counts = _matrices(counts)
    return _share(_diagonal(counts).sum(-1), counts.sum((-2, -1)))


def recall(counts: np.ndarray) -> np.ndarray:
    """Recall of each class, TP / actual, in [0, 1]; NaN for a class without clips. Shape (..., K)."""
    counts = _matrices(counts)
    return _share(_diagonal(counts), counts.sum(-1))


def precision(counts: np.ndarray) -> np.ndarray:
    """Precision of each class, TP / predicted, in [0, 1]; 0 for a class that is never predicted (as scikit-learn). Shape (..., K)."""
    counts = _matrices(counts)
    return np.nan_to_num(_share(_diagonal(counts), counts.sum(-2)))


def f1(counts: np.ndarray) -> np.ndarray:
    """F1 of each class, 2 TP / (actual + predicted), in [0, 1]; NaN for a class that neither occurs nor is predicted. Shape (..., K)."""
    counts = _matrices(counts)
    return _share(2 * _diagonal(counts), counts.sum(-1) + counts.sum(-2))


def ua(counts: np.ndarray) -> np.ndarray:
    """Unweighted average recall (balanced accuracy): mean recall **over the classes that occur**, in [0, 1]; NaN without clips.

    A class without a clip in a fold or slice has no recall; it is left out of the mean, as in ``sklearn.metrics.balanced_accuracy_score``.
    Chance is 1 / (number of classes that occur). Shape (...,).
    """
    return _mean(recall(counts))


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that occur or are predicted (scikit-learn's ``average="macro"``), in [0, 1]. Shape (...,)."""
    return _mean(f1(counts))


def weighted_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 weighted by the number of clips of each class, in [0, 1]; NaN without clips. Shape (...,)."""
    counts = _matrices(counts)
    return _share((np.nan_to_num(f1(counts)) * counts.sum(-1)).sum(-1), counts.sum((-2, -1)))


def per_class(counts: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support (clips) of each class by name, from one (K, K) matrix; recall is NaN where support is 0."""
    counts = _matrices(counts)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"counts must have the shape ({len(classes)}, {len(classes)}) of classes, has {counts.shape}")
    columns = zip(classes, recall(counts), precision(counts), f1(counts), counts.sum(-1), strict=True)
    return {
        name: {"recall": float(found), "precision": float(right), "f1": float(both), "support": int(support)}
        for name, found, right, both, support in columns
    }


def baselines(counts: np.ndarray) -> dict[str, dict[str, float]]:
    """What no listening reaches, for the clips of one (K, K) matrix.

    majority: always the most frequent class. chance: a class drawn evenly from those that occur; expected value.
    """
    support = _matrices(counts).sum(-1)
    if support.sum() == 0:
        raise ValueError("counts is empty: there is no clip to score")
    even = 1 / float((support > 0).sum())
    return {"majority": {"wa": float(support.max() / support.sum()), "ua": even}, "chance": {"wa": even, "ua": even}}


def _numbers(name: str, values: np.ndarray, count: int, length: int | None) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"{name} must have one axis, has the shape {values.shape}")
    if length is not None and len(values) != length:
        raise ValueError(f"{name} must have {length} entries, one per clip, has {len(values)}")
    if len(values) and not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} must be whole numbers, is {values.dtype}")
    if len(values) and (values.min() < 0 or values.max() >= count):
        raise ValueError(f"{name} must be in 0 … {count - 1}, has {values.min()} … {values.max()}")
    return values.astype(np.int64)


def _matrices(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(f"counts must be square in its last two axes, has the shape {counts.shape}")
    return counts


def _diagonal(counts: np.ndarray) -> np.ndarray:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN where nothing is left."""
    known = ~np.isnan(values)
    return _share(np.where(known, values, 0.0).sum(-1), known.sum(-1))
