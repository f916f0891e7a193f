"""How uncertain a score is: bootstrap intervals clustered by speaker, and paired tests between two runs.

Clips of one speaker are alike, so they are not independent evidence. The bootstrap therefore draws speakers,
not clips (cluster bootstrap: Davison & Hinkley 1997, §3.8; Field & Welsh 2007). Each speaker is one confusion
matrix and a resample is a weighted sum of them, so thousands of resamples are one matrix product.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from ser.evaluation.metrics import Score

Interval = tuple[float, float]

CHUNK = 1000
"""Resamples that are held as matrices at a time. It limits memory and changes no number."""


def resamples(clusters: int, count: int, seed: int) -> np.ndarray:
    """Bootstrap weights: how often each of ``clusters`` speakers is drawn in each of ``count`` resamples.

    Returns:
        int32, shape (count, clusters); each row sums to ``clusters``.
    """
    if clusters < 1:
        raise ValueError(f"clusters must be at least 1, is {clusters}")
    if count < 1:
        raise ValueError(f"count must be at least 1, is {count}")
    random = np.random.default_rng(seed)
    even = np.full(clusters, 1 / clusters)
    parts = [random.multinomial(clusters, even, size=min(CHUNK, count - start)).astype(np.int32) for start in range(0, count, CHUNK)]
    return np.concatenate(parts)


def draws(counts: np.ndarray, weights: np.ndarray, score: Score) -> np.ndarray:
    """The score of every resample.

    Args:
        counts: confusion matrix of each speaker, shape (speakers, K, K) or, for several seeds, (seeds,
            speakers, K, K).
        weights: from ``resamples``, shape (count, speakers).
        score: what to compute of each summed matrix.

    Returns:
        float64, shape (count,): the mean over seeds, as it is reported. NaN where a resample has no clip.

    Raises:
        ValueError: naming the argument whose shape is wrong.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim == 3:
        counts = counts[None]
    if counts.ndim != 4 or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(f"counts must have the shape (speakers, K, K) or (seeds, speakers, K, K), has {counts.shape}")
    if weights.ndim != 2 or weights.shape[1] != counts.shape[1]:
        raise ValueError(f"weights must have the shape (count, {counts.shape[1]}), has {weights.shape}")
    seeds, speakers, classes, _ = counts.shape
    flat = counts.reshape(seeds, speakers, classes * classes)
    parts = []
    for start in range(0, len(weights), CHUNK):
        summed = weights[start : start + CHUNK].astype(np.float64) @ flat
        parts.append(score(summed.reshape(seeds, -1, classes, classes)).mean(axis=0))
    return np.concatenate(parts)


def interval(values: np.ndarray, confidence: float, clusters: int) -> Interval | None:
    """Expanded percentile interval of bootstrap draws (Hesterberg 2015, The American Statistician 69:371).

    Plain percentiles are too narrow for few clusters: with 12 speakers they cover about 91 % instead of 95 %.
    The spread of a resample is too small by √((n − 1)/n), and normal quantiles replace those of Student's t.
    Percentiles are therefore taken at Φ(∓ √(n/(n − 1)) · t), where t is the quantile of Student's t with n −
    1 degrees of freedom and n the number of clusters. The limits stay within the range of the score.

    Args:
        values: from ``draws``; NaN (a resample without a clip of the group) is left out.
        confidence: nominal coverage, in (0, 1).
        clusters: number of speakers n to draw from.

    Returns:
        (low, high); None with fewer than two clusters, which carry no information about others, or if every
        value is NaN.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, is {confidence}")
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if clusters < 2 or len(values) == 0:
        return None
    quantile = stats.t.ppf((1 + confidence) / 2, clusters - 1) * np.sqrt(clusters / (clusters - 1))
    tail = float(stats.norm.cdf(-quantile))
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> tuple[int, int, float]:
    """McNemar's exact test: do two classifiers make equally many errors on the same clips?

    Args:
        right_a, right_b: whether each clip is right under A and B, bool, shape (clips,).

    Returns:
        Clips that only A has right, clips that only B has right, and the two-sided exact binomial p in (0,
        1], 1 if they never differ. The test assumes independent clips, and those of one speaker are not: read
        it beside ``permutation_test``.
    """
    right_a, right_b = np.asarray(right_a), np.asarray(right_b)
    if right_a.dtype != bool or right_a.ndim != 1:
        raise ValueError(f"right_a must be a list of truth values, is {right_a.dtype} of the shape {right_a.shape}")
    if right_b.dtype != bool or right_b.shape != right_a.shape:
        raise ValueError(f"right_b must be {len(right_a)} truth values like right_a, is {right_b.dtype} of the shape {right_b.shape}")
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a + only_b == 0:
        return 0, 0, 1.0
    return only_a, only_b, float(stats.binomtest(only_a, only_a + only_b).pvalue)


def permutation_test(counts_a: np.ndarray, counts_b: np.ndarray, score: Score, count: int, seed: int) -> float:
    """Paired permutation test that swaps the two runs **speaker by speaker**, which keeps the clips of a
    speaker together.

    Args:
        counts_a, counts_b: confusion matrices per speaker of the same clips, shape (speakers, K, K) or
            (seeds, speakers, K, K). The numbers of seeds may differ.
        score: its difference B − A is tested. With several seeds it is computed from their mean counts, which
            for UA and WA is the mean of the scores, and nearly so for macro-F1.
        count: number of random permutations; if there are no more than these in all, each is tried once.
        seed: of the random permutations.

    Returns:
        Two-sided p in (0, 1]: the share of permutations with at least the observed |difference|. For random
        permutations it is (1 + their number) / (count + 1) (Phipson & Smyth 2010). If all of n speakers are
        tried, it is never below 2 / 2^n.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, is {count}")
    a, b = (np.asarray(counts, dtype=np.float64) for counts in (counts_a, counts_b))
    a, b = (counts[None] if counts.ndim == 3 else counts for counts in (a, b))
    if a.ndim != 4:
        raise ValueError(f"counts_a must have the shape (speakers, K, K) or (seeds, speakers, K, K), has {counts_a.shape}")
    if b.ndim != 4 or b.shape[1:] != a.shape[1:]:
        raise ValueError(f"counts_b must have the speakers and classes of counts_a {counts_a.shape}, has the shape {counts_b.shape}")
    # Seeds of the two runs are not paired, so a speaker's counts in a run are the mean over its seeds.
    a, b = a.mean(axis=0), b.mean(axis=0)
    observed = abs(float(score(b.sum(0)) - score(a.sum(0))))
    every = 2 ** len(a)
    if every <= count:  # few speakers: all permutations, including the identity
        swapped = (np.arange(every)[:, None] >> np.arange(len(a)) & 1).astype(bool)
    else:
        swapped = np.random.default_rng(seed).random((count, len(a))) < 0.5
    gained = (swapped.astype(np.float64) @ (a - b).reshape(len(a), -1)).reshape(len(swapped), *a.shape[1:])
    differences = np.abs(score(b.sum(0) + gained) - score(a.sum(0) - gained))
    # The margin keeps ties, e.g. the identity, from being lost to rounding.
    hits = int((differences >= observed - 1e-12).sum())
    return hits / every if every <= count else (1 + hits) / (count + 1)
