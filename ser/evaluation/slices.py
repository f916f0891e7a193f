"""Scores within groups of clips (gender, intensity of emotion, channel, …), and the gaps between groups."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Literal

import numpy as np

from ser.evaluation import intervals, metrics
from ser.evaluation.predictions import OutOfFold
from ser.evaluation.sections import Group, Slice

DURATION_EDGES = [1.0, 2.0, 4.0, 8.0]
"""Limits of the duration groups in seconds, after VAD.

They are fixed, so that two runs have the same groups.
"""
SNR_EDGES = [10.0, 20.0, 30.0]
"""Limits of the signal-to-noise groups in dB, as ``clips.csv`` estimates it."""
UNKNOWN = "unknown"
LEAST_CLIPS = 20
"""A group with fewer clips is listed but left out of ``worst`` and ``gap``: its score is too uncertain."""


def slices(test: OutOfFold, sample_rate: int, weights: np.ndarray, confidence: float, seed: int) -> dict[str, Slice]:
    """Scores by speaker, gender, intensity, language, channel, duration, SNR and, in a joint corpus, member.

    UA of a group is over the emotions that occur in it. ``unit`` says what the interval resamples: speakers,
    or clips in a group of a single speaker. A group without a clip is not listed. Clips whose property is not
    known form the group ``unknown``.

    ``worst`` is the lowest UA. ``gap`` is the largest difference of UA between two groups, over the emotions
    that **both** have, since neutral speech has no intensity. ``gap_ci`` is its interval for this pair,
    ``between`` names the better and the worse group, ``gap_classes`` counts the shared emotions. Only known
    groups of at least ``LEAST_CLIPS`` clips are compared.

    Args:
        test: the test clips.
        sample_rate: of the clips, in Hz.
        weights: resamples of the speakers of ``test``, from ``intervals.resamples``.
        confidence: nominal coverage.
        seed: of the resamples within a single speaker.
    """
    rows = test.rows
    groups = {name: _named(rows[name].to_numpy(dtype=object)) for name in ("gender", "intensity", "language", "channel")}
    groups["duration"] = _binned(rows["samples"].to_numpy() / sample_rate, DURATION_EDGES, "s")
    groups["snr"] = _binned(rows["snr_db"].to_numpy(), SNR_EDGES, "dB")
    groups["speaker"] = _named(np.array(test.speakers, dtype=object)[test.speaker])
    if rows["corpus"].nunique() > 1:
        groups["corpus"] = _named(rows["corpus"].to_numpy(dtype=object))
    return {name: _slice(test, masks, weights, confidence, seed) for name, masks in groups.items()}


def _slice(test: OutOfFold, masks: dict[str, np.ndarray], weights: np.ndarray, confidence: float, seed: int) -> Slice:
    counts = {name: test.counts(mask) for name, mask in masks.items()}
    groups = [_group(name, part, weights, confidence, seed) for name, part in counts.items()]
    compared = [group.group for group in groups if group.group != UNKNOWN and group.n >= LEAST_CLIPS]
    worst = min((group.ua for group in groups if group.group in compared), default=None)
    gaps = [one for pair in combinations(compared, 2) if (one := _gap(counts, *pair))]
    if not gaps:
        return Slice(groups=groups, worst=worst, gap=None, gap_ci=None, between=None, gap_classes=None)
    gap, high, low = max(gaps, key=lambda one: one[0])
    above, below, shared = _shared(counts[high], counts[low])
    (drawn_above, units_above, _), (drawn_below, units_below, _) = _draws(above, weights, seed), _draws(below, weights, seed + 1)
    ci = intervals.interval(drawn_above - drawn_below, confidence, min(units_above, units_below))
    return Slice(groups=groups, worst=worst, gap=gap, gap_ci=ci, between=[high, low], gap_classes=shared)


def _group(name: str, counts: np.ndarray, weights: np.ndarray, confidence: float, seed: int) -> Group:
    drawn, units, unit = _draws(counts, weights, seed)
    by_seed = counts.sum(axis=1)
    return Group(
        group=name,
        n=int(by_seed.sum()) // len(by_seed),
        speakers=int((counts.sum((0, 2, 3)) > 0).sum()),
        wa=float(metrics.wa(by_seed).mean()),
        ua=float(metrics.ua(by_seed).mean()),
        ci=intervals.interval(drawn, confidence, units),
        unit=unit,
    )


def _draws(counts: np.ndarray, weights: np.ndarray, seed: int) -> tuple[np.ndarray, int, Literal["speaker", "clip"]]:
    """UA of each resample, the number of units that were drawn from, and their kind: speakers, or clips of a
    single speaker.
    """
    speakers = int((counts.sum((0, 2, 3)) > 0).sum())
    if speakers > 1:
        return intervals.draws(counts, weights, metrics.ua), speakers, "speaker"
    pooled = counts.sum(axis=1)
    n = int(pooled[0].sum())
    random = np.random.default_rng(seed)
    redrawn = np.stack([random.multinomial(n, one.ravel() / n, size=len(weights)).reshape(-1, *one.shape) for one in pooled])
    return metrics.ua(redrawn).mean(axis=0), n, "clip"


def _gap(counts: dict[str, np.ndarray], a: str, b: str) -> tuple[float, str, str] | None:
    """(UA of the better − UA of the worse group, better, worse) over the classes that both have; None where
    they share none.
    """
    part_a, part_b, shared = _shared(counts[a], counts[b])
    if not shared:
        return None
    gap = float(metrics.ua(part_a.sum(1)).mean() - metrics.ua(part_b.sum(1)).mean())
    return (gap, a, b) if gap >= 0 else (-gap, b, a)


def _shared(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Both counts, restricted to the classes that occur in both, and the number of these."""
    both = (a.sum((0, 1, 3)) > 0) & (b.sum((0, 1, 3)) > 0)
    return a * both[:, None], b * both[:, None], int(both.sum())


def _named(values: np.ndarray) -> dict[str, np.ndarray]:
    """Mask of the clips with each value, in alphabetical order; unknown values ('') last."""
    known = sorted({str(value) for value in values} - {""})
    return {name: values == name for name in known} | ({UNKNOWN: values == ""} if (values == "").any() else {})


def _binned(values: np.ndarray, edges: list[float], unit: str) -> dict[str, np.ndarray]:
    """Mask of the clips in each bin [low, high) that is not empty, in ascending order; unknown values (NaN)
    last.
    """
    inner = [f"{low:g}–{high:g} {unit}" for low, high in pairwise(edges)]
    names = [f"< {edges[0]:g} {unit}", *inner, f"≥ {edges[-1]:g} {unit}", UNKNOWN]
    number = np.where(np.isnan(values), len(edges) + 1, np.digitize(values, edges))
    return {name: number == index for index, name in enumerate(names) if (number == index).any()}
