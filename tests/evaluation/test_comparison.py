"""Two runs held against each other."""

from __future__ import annotations

import re

import pytest
from sklearn.metrics import balanced_accuracy_score

from ser.evaluation import intervals, metrics
from ser.evaluation.comparison import Mcnemar, compare, markdown
from ser.evaluation.predictions import PredictionsError, out_of_fold
from tests import predicted


@pytest.fixture(scope="module")
def table():
    return predicted.clips(speakers=12)


def test_differences_are_those_of_the_scores(table):
    a, b = predicted.predictions(table, skill=1.0), predicted.predictions(table, skill=2.0, seed=1)
    found = compare(a, b, table, predicted.settings())
    each = [out_of_fold(run, table) for run in (a, b)]
    scores = [balanced_accuracy_score(test.actual, test.predicted) for test in each]
    assert found.headline.difference == pytest.approx(scores[1] - scores[0])
    assert found.headline.ci[0] < found.headline.difference < found.headline.ci[1]
    assert (found.clips, found.speakers, found.left_out, found.same_folds) == (192, 12, 0, True)
    right = [test.predicted == test.actual for test in each]
    assert found.mcnemar.only_b == (right[1] & ~right[0]).sum()


def test_a_clear_gain_is_distinguishable_and_says_which_emotions_moved(table):
    a = predicted.predictions(table, skill=0.8)
    b = a.copy()
    happy = (b["emotion"] == "happy").to_numpy()
    for name in predicted.CLASSES:
        b.loc[happy, f"p_{name}"] = float(name == "happy")
    found = compare(a, b, table, predicted.settings())
    assert found.distinguishable
    assert [one.emotion for one in found.classes if one.moved] == ["happy"]
    text = markdown(found, "made", "main", "better")
    assert "**distinguishable**" in text
    assert "\n| happy " in text
    assert text.count("moved") == 1


def test_intervals_of_recalls_are_widened_to_hold_together(table):
    a, b = predicted.predictions(table, skill=0.8), predicted.predictions(table, skill=1.2, seed=1)
    settings = predicted.settings()
    found = compare(a, b, table, settings).classes[1]
    weights = intervals.resamples(12, settings.bootstrap, settings.seed)
    counts = [out_of_fold(run, table).counts() for run in (a, b)]
    happy = [intervals.draws(one, weights, lambda summed: metrics.recall(summed)[..., 1]) for one in counts]
    assert found.emotion == "happy"
    assert found.ci == intervals.interval(happy[1] - happy[0], 1 - 0.05 / 4, 12)


def test_a_run_against_itself_is_not_distinguishable(table):
    a = predicted.predictions(table, seeds=(0, 1))
    found = compare(a, a, table, predicted.settings())
    assert found.headline.difference == 0
    assert found.headline.ci == (0, 0)
    assert (found.headline.p, found.mcnemar.p, found.distinguishable) == (1.0, 1.0, False)
    assert "**not distinguishable**" in markdown(found, "made", "a", "b")


def test_swapping_the_runs_turns_the_sign(table):
    a, b = predicted.predictions(table, skill=1.0), predicted.predictions(table, skill=1.4, seed=1)
    there, back = compare(a, b, table, predicted.settings()), compare(b, a, table, predicted.settings())
    assert there.headline.difference == pytest.approx(-back.headline.difference)
    assert there.headline.ci[0] == pytest.approx(-back.headline.ci[1], abs=1e-9)
    assert there.headline.p == back.headline.p
    assert there.mcnemar.only_a == back.mcnemar.only_b


def test_numbers_of_seeds_may_differ(table):
    a, b = predicted.predictions(table), predicted.predictions(table, seeds=(0, 1, 2), skill=2.5)
    found = compare(a, b, table, predicted.settings())
    assert found.seeds == (1, 3)
    assert found.headline.difference > 0


def test_only_common_clips_with_the_same_label_are_compared(table):
    a, b = predicted.predictions(table), predicted.predictions(table, seed=1)
    b = b[b["clip"] != "01/000.wav"].reset_index(drop=True)
    b.loc[b["clip"] == "02/001.wav", "emotion"] = "sad"
    found = compare(a, b, table, predicted.settings())
    assert (found.clips, found.left_out) == (190, 2)
    assert "2 clips are left out" in markdown(found, "made", "a", "b")


def test_other_folds_are_said(table):
    a, b = predicted.predictions(table), predicted.predictions(table, folds=3)
    found = compare(a, b, table, predicted.settings())
    assert not found.same_folds
    assert "do not have the same folds" in markdown(found, "made", "a", "b")


def test_order_of_columns_does_not_matter(table):
    a = predicted.predictions(table)
    b = a[[*a.columns[:5], *reversed(a.columns[5:])]]
    assert compare(a, b, table, predicted.settings()).mcnemar == Mcnemar(only_a=0, only_b=0, p=1.0)


def test_one_speaker_is_never_distinguishable():
    alone = predicted.clips(speakers=1)
    a, b = predicted.predictions(alone, folds=1, skill=0), predicted.predictions(alone, folds=1, skill=5)
    found = compare(a, b, alone, predicted.settings())
    assert found.headline.ci is None
    assert not found.distinguishable
    assert "one speaker" in markdown(found, "made", "a", "b")


def test_a_class_that_no_common_clip_has(table):
    a = predicted.predictions(table, classes=(*predicted.CLASSES, "bored"))
    found = compare(a, a, table, predicted.settings())
    assert found.classes[-1].difference is None
    assert re.search(r"\| bored +\| – +\| – +\| – ", markdown(found, "made", "a", "b"))


def test_runs_that_cannot_be_compared(table):
    a = predicted.predictions(table)
    with pytest.raises(PredictionsError, match="different emotions"):
        compare(a, a.rename(columns={"p_sad": "p_bored"}), table, predicted.settings())
    with pytest.raises(PredictionsError, match="no test clip in common"):
        compare(a, a.assign(clip="x" + a["clip"]), table, predicted.settings())
