"""Metrics from confusion matrices: one formula serves a corpus, a fold and 2,000 resamples at once.

A confusion matrix has the shape (..., K, K): rows are the actual classes, columns the predicted ones. Leading
axes (resamples, speakers, seeds) are kept. Entries are counts and may be weighted. scikit-learn has no such
vectorised form; the tests compare each metric with it.

``METRICS`` lists what is reported. An entry there appears in the metrics file, with an interval, in
comparisons, on the report page, and can be named by a gate.

>>> import numpy as np
>>> counts = confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), classes=2)
>>> float(wa(counts)), float(ua(counts))
(0.75, 0.75)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ser.runtime.text import number, percent

Score = Callable[[np.ndarray], np.ndarray]
"""Confusion matrices (..., K, K) → scores (...,), NaN where the score is not defined; e.g. ``ua``."""


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
    """Weighted accuracy, Σ_k TP_k / clips: the share of right clips, in [0, 1]; NaN without clips. Shape
    (...,).
    """
    counts = _matrices(counts)
    return _share(_diagonal(counts).sum(-1), counts.sum((-2, -1)))


def recall(counts: np.ndarray) -> np.ndarray:
    """Recall of each class, TP / actual, in [0, 1]; NaN for a class without clips. Shape (..., K)."""
    counts = _matrices(counts)
    return _share(_diagonal(counts), counts.sum(-1))


def precision(counts: np.ndarray) -> np.ndarray:
    """Precision of each class, TP / predicted, in [0, 1]; 0 for a class that is never predicted (as
    scikit-learn). Shape (..., K).
    """
    counts = _matrices(counts)
    return np.nan_to_num(_share(_diagonal(counts), counts.sum(-2)))


def f1(counts: np.ndarray) -> np.ndarray:
    """F1 of each class, 2 TP / (actual + predicted), in [0, 1]; NaN for a class that neither occurs nor is
    predicted. Shape (..., K).
    """
    counts = _matrices(counts)
    return _share(2 * _diagonal(counts), counts.sum(-1) + counts.sum(-2))


def ua(counts: np.ndarray) -> np.ndarray:
    """Unweighted average recall (balanced accuracy), mean_k TP_k / actual_k over the classes that occur, in
    [0, 1].

    A class without a clip in a fold or slice has no recall. It is left out of the mean, as in
    ``sklearn.metrics.balanced_accuracy_score``. Chance is 1 / (number of classes that occur). NaN without
    clips. Shape (...,).
    """
    return _mean(recall(counts))


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Macro-F1, mean_k F1_k over the classes that occur or are predicted (scikit-learn's
    ``average="macro"``), in [0, 1].

    NaN without clips. Shape (...,).
    """
    return _mean(f1(counts))


def weighted_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 weighted by the number of clips of each class, in [0, 1]; NaN without clips. Shape (...,)."""
    counts = _matrices(counts)
    return _share((np.nan_to_num(f1(counts)) * counts.sum(-1)).sum(-1), counts.sum((-2, -1)))


def per_class(counts: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support (clips) of each class by name, from one (K, K) matrix; recall is NaN
    where support is 0.
    """
    counts = _matrices(counts)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"counts must have the shape ({len(classes)}, {len(classes)}) of classes, has {counts.shape}")
    columns = zip(classes, recall(counts), precision(counts), f1(counts), counts.sum(-1), strict=True)
    return {
        name: {"recall": float(found), "precision": float(right), "f1": float(both), "support": int(support)}
        for name, found, right, both, support in columns
    }


def baselines(counts: np.ndarray) -> dict[str, dict[str, float]]:
    """Scores of baselines that ignore the audio, for the clips of one (K, K) matrix.

    ``majority`` always answers the most frequent class. ``chance`` draws evenly from the classes that occur;
    its score is the expected value.
    """
    support = _matrices(counts).sum(-1)
    if support.sum() == 0:
        raise ValueError("counts is empty: there is no clip to score")
    even = 1 / float((support > 0).sum())
    return {"majority": {"wa": float(support.max() / support.sum()), "ua": even}, "chance": {"wa": even, "ua": even}}


@dataclass(frozen=True)
class Metric:
    """A score that is reported for every corpus.

    Attributes:
        name: key in the metrics file and in ``evaluate.gates``: lower-case letters, digits and ``_``.
        label: what tables and pages call it.
        score: its value for confusion matrices; the docstring of this function gives the formula.
        meaning: one or two sentences for the report's readers.
        low, high: limits of its range. A score in [0, 1] is shown in per cent, any other as a number.
        better: whether ``higher`` or ``lower`` values are better.
    """

    name: str
    label: str
    score: Score
    meaning: str
    low: float = 0.0
    high: float = 1.0
    better: Literal["higher", "lower"] = "higher"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"name must be lower-case letters, digits and _, is {self.name!r}")
        if not self.low < self.high:
            raise ValueError(f"low must be less than high, is {self.low:g}, with high {self.high:g}")

    @property
    def title(self) -> str:
        """The label with its unit, and the direction if lower is better: ``UA %``, ``log loss (lower is
        better)``.
        """
        return f"{self.label}{self.unit}{' (lower is better)' if self.better == 'lower' else ''}"

    @property
    def unit(self) -> str:
        """`` %`` for a score that is shown in per cent, else nothing."""
        return " %" if self._is_share else ""

    def text(self, value: float | None, sign: bool = False) -> str:
        """A value (with ``sign``: a difference) as text: in per cent without the sign %, or with 3 decimal
        places.
        """
        return percent(value, sign=sign) if self._is_share else number(value, sign=sign)

    @property
    def _is_share(self) -> bool:
        return (self.low, self.high) == (0.0, 1.0)


METRICS: tuple[Metric, ...] = (
    Metric("wa", "WA", wa, "Weighted accuracy: the share of all clips that was recognised. Large classes count more."),
    Metric(
        "ua",
        "UA",
        ua,
        "Unweighted average recall (balanced accuracy): the mean over emotions of the share of clips that was recognised. "
        "An emotion that does not occur in a fold or group is left out of its mean.",
    ),
    Metric("macro_f1", "macro-F1", macro_f1, "Mean over emotions of F1, the harmonic mean of precision and recall."),
)
"""The reported metrics, in the order of the metrics file."""

HEADLINE = "ua"
"""Name of the metric by which results are judged. It comes first wherever metrics are shown."""


def listed() -> list[Metric]:
    """The reported metrics in the order in which they are shown: the headline first, then as in ``METRICS``."""
    return sorted(METRICS, key=lambda metric: metric.name != HEADLINE)


def of_seeds(counts: np.ndarray) -> dict[str, float]:
    """All metrics of confusion matrices of several seeds, shape (seeds, K, K), averaged over the seeds."""
    return {metric.name: float(metric.score(counts).mean()) for metric in METRICS}


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
