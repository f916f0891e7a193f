"""Intervals and tests between runs, against scipy, hand-computed cases and simulation."""

from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from ser.evaluation import intervals, metrics


def speakers_counts(random: np.random.Generator, speakers: int, clips: int = 20, classes: int = 3, skill: float = 0.6) -> np.ndarray:
    """Confusion matrices (speakers, K, K) of speakers with abilities of their own."""
    counts = np.zeros((speakers, classes, classes), dtype=np.int64)
    for speaker in range(speakers):
        share = np.clip(random.normal(skill, 0.15), 0.02, 0.98)
        actual = np.arange(clips) % classes
        right = random.random(clips) < share
        predicted = np.where(right, actual, (actual + random.integers(1, classes, clips)) % classes)
        np.add.at(counts[speaker], (actual, predicted), 1)
    return counts


def test_every_resample_draws_as_many_speakers_as_there_are():
    weights = intervals.resamples(7, 2500, 0)
    assert weights.shape == (2500, 7)
    assert (weights.sum(1) == 7).all()
    assert weights.mean() == pytest.approx(1)
    np.testing.assert_array_equal(weights, intervals.resamples(7, 2500, 0))
    assert (weights != intervals.resamples(7, 2500, 1)).any()


def test_draws_equal_scoring_the_drawn_clips():
    counts = speakers_counts(np.random.default_rng(1), 5)
    weights = intervals.resamples(5, 40, 3)
    expected = [metrics.ua(sum(times * one for times, one in zip(row, counts, strict=True))) for row in weights]
    np.testing.assert_allclose(intervals.draws(counts, weights, metrics.ua), expected)


def test_chunks_change_no_number(monkeypatch):
    counts = speakers_counts(np.random.default_rng(1), 5)
    weights = intervals.resamples(5, 2500, 3)
    whole = intervals.draws(counts, weights, metrics.ua)
    monkeypatch.setattr(intervals, "CHUNK", 7)
    np.testing.assert_array_equal(intervals.draws(counts, weights, metrics.ua), whole)


def test_seeds_are_averaged_score_by_score():
    random = np.random.default_rng(2)
    both = np.stack([speakers_counts(random, 4), speakers_counts(random, 4)])
    weights = intervals.resamples(4, 30, 0)
    each = [intervals.draws(one, weights, metrics.macro_f1) for one in both]
    np.testing.assert_allclose(intervals.draws(both, weights, metrics.macro_f1), np.mean(each, axis=0))


def test_interval_is_the_expanded_percentile():
    values = np.random.default_rng(0).normal(size=4001)
    n = 12
    tail = NormalDist().cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    assert intervals.interval(values, 0.95, n) == pytest.approx(tuple(np.quantile(values, [tail, 1 - tail])))
    wide, plain = intervals.interval(values, 0.95, n), np.quantile(values, [0.025, 0.975])
    assert wide[0] < plain[0]
    assert wide[1] > plain[1]
    assert intervals.interval(values, 0.95, 100_000) == pytest.approx(tuple(plain), abs=1e-3)


def test_one_speaker_says_nothing_about_others():
    assert intervals.interval(np.full(100, 0.5), 0.95, 1) is None
    assert intervals.interval(np.full(100, np.nan), 0.95, 5) is None


def test_all_alike_gives_a_point():
    counts = np.tile(np.eye(3, dtype=int), (6, 1, 1))
    drawn = intervals.draws(counts, intervals.resamples(6, 200, 0), metrics.ua)
    assert intervals.interval(drawn, 0.95, 6) == (1.0, 1.0)
    wrong = np.tile(np.roll(np.eye(3, dtype=int), 1, axis=1), (6, 1, 1))
    assert intervals.interval(intervals.draws(wrong, intervals.resamples(6, 200, 0), metrics.ua), 0.95, 6) == (0.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("speakers", "true"), [(12, 0.6), (24, 0.6), (24, 0.85), (87, 0.5)])
def test_intervals_cover_the_truth_as_often_as_they_say(speakers, true):
    """Speakers differ (sd 0.1 of their recall), clips of a speaker are drawn from the speaker's own: nominal 95 % covers 93–97 %."""
    random = np.random.default_rng(speakers)
    studies, clips, classes, spread = 2000, 48, 4, 0.1
    concentration = true * (1 - true) / spread**2 - 1
    weights = intervals.resamples(speakers, 1000, 0)
    covered = 0
    for _ in range(studies):
        ability = random.beta(true * concentration, (1 - true) * concentration, (speakers, 1))
        right = random.binomial(clips // classes, ability, (speakers, classes))
        counts = np.zeros((speakers, classes, classes))
        each = np.arange(classes)
        counts[:, each, each] = right
        counts[:, each, (each + 1) % classes] = clips // classes - right
        low, high = intervals.interval(intervals.draws(counts, weights, metrics.ua), 0.95, speakers)
        covered += low <= true <= high
    assert 0.93 <= covered / studies <= 0.97, covered / studies


def test_mcnemar_is_the_exact_binomial():
    right_a = np.array([1, 1, 1, 1, 1, 0, 0, 1, 0, 0], bool)
    right_b = np.array([1, 0, 0, 0, 0, 1, 0, 1, 0, 0], bool)
    only_a, only_b, p = intervals.mcnemar(right_a, right_b)
    assert (only_a, only_b) == (4, 1)
    assert p == pytest.approx(2 * (1 + 5) / 2**5)
    assert intervals.mcnemar(right_b, right_a) == (1, 4, pytest.approx(p))


@pytest.mark.parametrize("right", [np.ones(5, bool), np.zeros(5, bool), np.zeros(0, bool)], ids=["all right", "all wrong", "no clip"])
def test_runs_that_never_differ_cannot_be_told_apart(right):
    assert intervals.mcnemar(right, right) == (0, 0, 1.0)


def test_permutation_test_equals_all_permutations():
    random = np.random.default_rng(5)
    a, b = speakers_counts(random, 8, skill=0.5), speakers_counts(random, 8, skill=0.75)
    observed = abs(metrics.ua(b.sum(0)) - metrics.ua(a.sum(0)))
    extreme = 0
    for swapped in itertools.product([False, True], repeat=8):
        chosen = np.array(swapped)[:, None, None]
        difference = metrics.ua(np.where(chosen, a, b).sum(0)) - metrics.ua(np.where(chosen, b, a).sum(0))
        extreme += abs(difference) >= observed - 1e-12
    assert intervals.permutation_test(a, b, metrics.ua, 256, 0) == extreme / 2**8  # as many as are asked for: exact, whatever the seed
    assert intervals.permutation_test(a, b, metrics.ua, 40_000, 1) == extreme / 2**8
    assert intervals.permutation_test(a, b, metrics.ua, 255, 0) == pytest.approx(extreme / 2**8, abs=0.1)


def test_permutation_test_draws_if_there_are_too_many_to_try_all():
    random = np.random.default_rng(5)
    a, b = speakers_counts(random, 16, skill=0.5), speakers_counts(random, 16, skill=0.6)
    exact = intervals.permutation_test(a, b, metrics.ua, 2**16, 0)
    assert 0.001 < exact < 0.5
    assert intervals.permutation_test(a, b, metrics.ua, 2**16 - 1, 0) == pytest.approx(exact, abs=0.01)


def test_permutation_test_agrees_with_scipy():
    """For WA with as many clips of every speaker it is scipy's sign-flipping test of the mean."""
    random = np.random.default_rng(6)
    a, b = speakers_counts(random, 9, skill=0.5), speakers_counts(random, 9, skill=0.62)
    right = [np.trace(counts, axis1=1, axis2=2) / counts.sum((1, 2)) for counts in (a, b)]
    expected = stats.permutation_test((right[1] - right[0],), np.mean, permutation_type="samples", n_resamples=10_000)
    assert intervals.permutation_test(a, b, metrics.wa, 40_000, 1) == pytest.approx(expected.pvalue, abs=0.01)


def test_equal_runs_are_not_told_apart():
    a = speakers_counts(np.random.default_rng(7), 6)
    assert intervals.permutation_test(a, a, metrics.ua, 500, 0) == 1.0


def test_permutation_test_holds_its_level():
    """Two runs of the same skill are called different in about 5 % of studies."""
    random = np.random.default_rng(8)
    found = [
        intervals.permutation_test(speakers_counts(random, 10), speakers_counts(random, 10), metrics.ua, 199, study) <= 0.05
        for study in range(400)
    ]
    assert stats.binomtest(sum(found), len(found), 0.05).pvalue > 0.001


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: intervals.resamples(0, 10, 0), "clusters"),
        (lambda: intervals.resamples(3, 0, 0), "count"),
        (lambda: intervals.draws(np.zeros((3, 2)), np.ones((1, 3)), metrics.ua), "counts"),
        (lambda: intervals.draws(np.zeros((3, 2, 2)), np.ones((1, 4)), metrics.ua), "weights"),
        (lambda: intervals.interval(np.zeros(3), 1.0, 3), "confidence"),
        (lambda: intervals.mcnemar(np.array([0, 1]), np.array([True, False])), "right_a"),
        (lambda: intervals.mcnemar(np.array([True]), np.array([True, False])), "right_b"),
        (lambda: intervals.permutation_test(np.zeros((2, 2)), np.zeros((2, 2, 2)), metrics.ua, 9, 0), "counts_a"),
        (lambda: intervals.permutation_test(np.zeros((3, 2, 2)), np.zeros((2, 2, 2)), metrics.ua, 9, 0), "counts_b"),
        (lambda: intervals.permutation_test(np.zeros((3, 2, 2)), np.zeros((3, 2, 2)), metrics.ua, 0, 0), "count"),
    ],
)
def test_wrong_inputs_are_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        call()
