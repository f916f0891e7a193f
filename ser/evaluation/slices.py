"""The score within groups of clips (gender, loudness of emotion, channel, …), and how far groups lie apart."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np

from ser.evaluation import intervals, metrics
from ser.evaluation.predictions import OutOfFold

DURATION_EDGES = [1.0, 2.0, 4.0, 8.0]
"""Limits of the duration groups in seconds, after VAD. Fixed, so that two runs compare the same groups."""
SNR_EDGES = [10.0, 20.0, 30.0]
"""Limits of the signal-to-noise groups in dB, as ``clips.csv`` estimates it."""
UNKNOWN = "unknown"
LEAST_CLIPS = 20
"""A group with fewer clips is listed, but neither ``worst`` nor ``gap`` is taken from it: a handful of clips says nothing."""


def slices(test: OutOfFold, sample_rate: int, weights: np.ndarray, confidence: float, seed: int) -> dict[str, dict[str, Any]]:
    """Scores by speaker, gender, intensity, language, channel, duration and SNR; of a joint corpus by member as well.

    Args:
        test: the test clips.
        sample_rate: of the clips, in Hz.
        weights: resamples of the speakers of ``test``, from ``intervals.resamples``.
        confidence: nominal coverage.
        seed: of the resamples within a single speaker.

    Returns:
        For each slice a dict.

        ``groups`` is a list of ``{group, n, speakers, wa, ua, ci, unit}``. ``unit`` says what the interval draws: ``speaker``, or ``clip``
        within a group of a single speaker, where nothing else can be drawn. UA is over the classes that occur in the group. A group without
        a clip does not appear; clips for which the property is not known form the group ``unknown``.

        ``worst`` is the least UA. ``gap`` is the greatest difference of UA between two groups, over the classes that **both** have (neutral
        speech has no intensity); ``gap_ci`` is its interval for this pair, ``between`` their names (better, worse), ``gap_classes`` the
        number of shared classes. They are None unless two known groups have at least ``LEAST_CLIPS`` clips and a class in common.
    """
    rows = test.rows
    groups = {name: _named(rows[name].to_numpy(dtype=object)) for name in ("gender", "intensity", "language", "channel")}
    groups["duration"] = _binned(rows["samples"].to_numpy() / sample_rate, DURATION_EDGES, "s")
    groups["snr"] = _binned(rows["snr_db"].to_numpy(), SNR_EDGES, "dB")
    groups["speaker"] = _named(np.array(test.speakers, dtype=object)[test.speaker])
    if rows["corpus"].nunique() > 1:
        groups["corpus"] = _named(rows["corpus"].to_numpy(dtype=object))
    return {name: _slice(test, masks, weights, confidence, seed) for name, masks in groups.items()}


def _slice(test: OutOfFold, masks: dict[str, np.ndarray], weights: np.ndarray, confidence: float, seed: int) -> dict[str, Any]:
    counts = {name: test.counts(mask) for name, mask in masks.items()}
    groups = [_group(name, part, weights, confidence, seed) for name, part in counts.items()]
    compared = [group["group"] for group in groups if group["group"] != UNKNOWN and group["n"] >= LEAST_CLIPS]
    worst = min((group["ua"] for group in groups if group["group"] in compared), default=None)
    apart = [found for pair in combinations(compared, 2) if (found := _gap(counts, *pair))]
    if not apart:
        return {"groups": groups, "worst": worst, "gap": None, "gap_ci": None, "between": None, "gap_classes": None}
    gap, high, low = max(apart, key=lambda found: found[0])
    above, below, shared = _shared(counts[high], counts[low])
    (drawn_above, units_above, _), (drawn_below, units_below, _) = _draws(above, weights, seed), _draws(below, weights, seed + 1)
    ci = intervals.interval(drawn_above - drawn_below, confidence, min(units_above, units_below))
    return {"groups": groups, "worst": worst, "gap": gap, "gap_ci": ci, "between": [high, low], "gap_classes": shared}


def _group(name: str, counts: np.ndarray, weights: np.ndarray, confidence: float, seed: int) -> dict[str, Any]:
    drawn, units, unit = _draws(counts, weights, seed)
    pooled = counts.sum(axis=1)
    return {
        "group": name,
        "n": int(pooled.sum()) // len(pooled),
        "speakers": int((counts.sum((0, 2, 3)) > 0).sum()),
        "wa": float(metrics.wa(pooled).mean()),
        "ua": float(metrics.ua(pooled).mean()),
        "ci": intervals.interval(drawn, confidence, units),
        "unit": unit,
    }


def _draws(counts: np.ndarray, weights: np.ndarray, seed: int) -> tuple[np.ndarray, int, str]:
    """UA in each resample, how many units were drawn from, and which: speakers, or within a single speaker the clips."""
    speakers = int((counts.sum((0, 2, 3)) > 0).sum())
    if speakers > 1:
        return intervals.draws(counts, weights, metrics.ua), speakers, "speaker"
    pooled = counts.sum(axis=1)
    n = int(pooled[0].sum())
    random = np.random.default_rng(seed)
    redrawn = np.stack([random.multinomial(n, one.ravel() / n, size=len(weights)).reshape(-1, *one.shape) for one in pooled])
    return metrics.ua(redrawn).mean(axis=0), n, "clip"


def _gap(counts: dict[str, np.ndarray], a: str, b: str) -> tuple[float, str, str] | None:
    """(UA of the better − UA of the worse group, better, worse) over the classes that both have; None where they share none."""
    part_a, part_b, shared = _shared(counts[a], counts[b])
    if not shared:
        return None
    gap = float(metrics.ua(part_a.sum(1)).mean() - metrics.ua(part_b.sum(1)).mean())
    return (gap, a, b) if gap >= 0 else (-gap, b, a)


def _shared(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Both counts with the clips of those classes alone that occur in each."""
    both = (a.sum((0, 1, 3)) > 0) & (b.sum((0, 1, 3)) > 0)
    return a * both[:, None], b * both[:, None], int(both.sum())


def _named(values: np.ndarray) -> dict[str, np.ndarray]:
    """Which clips each value has, by alphabet, the unknown ('') last."""
    known = sorted({str(value) for value in values} - {""})
    return {name: values == name for name in known} | ({UNKNOWN: values == ""} if (values == "").any() else {})


def _binned(values: np.ndarray, edges: list[float], unit: str) -> dict[str, np.ndarray]:
    """Which clips lie in each bin [low, high) that is not empty, by size, the unknown (NaN) last."""
    inner = [f"{low:g}–{high:g} {unit}" for low, high in pairwise(edges)]
    names = [f"< {edges[0]:g} {unit}", *inner, f"≥ {edges[-1]:g} {unit}", UNKNOWN]
    number = np.where(np.isnan(values), len(edges) + 1, np.digitize(values, edges))
    return {name: number == index for index, name in enumerate(names) if (number == index).any()}
