"""Answers centred on each speaker's own clips, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.metrics import balanced_accuracy_score

from ser.evaluation import predictions
from ser.evaluation.adaptation import FEWEST, centred, speaker_adapted
from tests import predicted


def adapted_answers(made: pd.DataFrame, table: pd.DataFrame) -> predictions.OutOfFold:
    rows = speaker_adapted(predictions.out_of_fold(made, table))
    assert rows is not None
    return predictions.out_of_fold(predictions.check(rows), table)


def test_the_formula():
    p = softmax(np.random.default_rng(0).normal(size=(30, 4)), axis=1)
    speaker = np.repeat([5, 2, 9], 10)
    expected = np.concatenate([softmax(np.log(part) - np.log(part).mean(0), axis=1) for part in np.split(p, 3)])
    assert centred(p, speaker) == pytest.approx(expected, abs=1e-12)
    mixed = np.random.default_rng(1).permutation(30)
    assert centred(p[mixed], speaker[mixed]) == pytest.approx(expected[mixed], abs=1e-12)


def test_a_voice_that_leans_one_way_is_put_right():
    """Clips of an even mix, told apart well, but by a network that adds the same to one class whenever this speaker speaks."""
    actual = np.arange(40) % 4
    logits = 2.0 * np.eye(4)[actual] + np.random.default_rng(0).normal(scale=0.3, size=(40, 4))
    leaning = softmax(logits + np.array([0, 0, 5, 0]), axis=1)
    assert (leaning.argmax(1) == actual).mean() < 0.5
    assert (centred(leaning, np.zeros(40)).argmax(1) == actual).all()


def test_what_all_clips_of_a_speaker_share_does_not_count():
    p = softmax(np.random.default_rng(0).normal(size=(12, 3)), axis=1)
    shifted = softmax(np.log(p) + np.array([1.0, -2.0, 0.5]), axis=1)
    assert centred(shifted, np.zeros(12)) == pytest.approx(centred(p, np.zeros(12)), abs=1e-9)


@given(count=st.integers(1, 3 * FEWEST), classes=st.integers(2, 9), seed=st.integers(0, 99))
def test_probabilities_stay_probabilities(count, classes, seed):
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.full(classes, 0.05), count)  # sure to the point of zeros
    found = centred(p, random.integers(0, 3, count))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert found.sum(1) == pytest.approx(1)


def test_few_clips_stay_as_they_are():
    p = softmax(np.random.default_rng(0).normal(size=(2 * FEWEST - 1, 3)), axis=1)
    speaker = np.repeat([0, 1], [FEWEST, FEWEST - 1])
    found = centred(p, speaker)
    assert (found[FEWEST:] == p[FEWEST:]).all()
    assert not np.allclose(found[:FEWEST], p[:FEWEST])


def test_each_network_is_centred_on_its_own_answers():
    table = predicted.clips()
    made = predicted.predictions(table, seeds=(0, 1))
    test = predictions.out_of_fold(made, table)
    adapted = adapted_answers(made, table)
    for seed in (0, 1):
        for number in range(len(test.speakers)):
            own = (test.seed == seed) & (test.speaker == number)
            logs = log_softmax(np.log(adapted.probabilities[own]), axis=1)
            relative = np.log(test.probabilities[own]) - np.log(test.probabilities[own]).mean(0)
            assert logs == pytest.approx(log_softmax(relative, axis=1), abs=1e-9)
    assert (adapted.actual == test.actual).all()


def test_where_no_speaker_has_enough_clips_there_is_nothing_to_say():
    table = predicted.clips(takes=FEWEST - 2)
    assert speaker_adapted(predictions.out_of_fold(predicted.predictions(table), table)) is None


def test_scores_are_those_of_the_centred_answers():
    from ser.evaluation.scoring import evaluate

    table = predicted.clips()
    made = predicted.predictions(table, seeds=(0, 1))
    found = evaluate(made, table, predicted.FOLDS, predicted.settings(), predicted.RATE).measured.knowing_speakers
    adapted = adapted_answers(made, table)
    each = [balanced_accuracy_score(adapted.actual[adapted.seed == s], adapted.predicted[adapted.seed == s]) for s in (0, 1)]
    assert found.scores["ua"] == pytest.approx(np.mean(each), abs=5e-5)
    together = adapted.seed_mean().argmax(1)
    assert found.ensemble.scores["ua"] == pytest.approx(balanced_accuracy_score(adapted.actual[: adapted.n], together), abs=5e-5)
    low, high = found.ci.limits["ua"]
    assert low < found.scores["ua"] < high
    assert found.clips_per_speaker == 16


def test_a_protocol_that_shares_speakers_has_no_such_score():
    from ser.evaluation.scoring import evaluate

    table = predicted.clips()
    folds = predicted.FOLDS | {"protocol": "random", "speaker_independent": False}
    assert evaluate(predicted.predictions(table), table, folds, predicted.settings(), predicted.RATE).measured.knowing_speakers is None
