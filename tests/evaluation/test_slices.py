"""Groups of clips: which clip is in which, what is compared with what."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from ser.evaluation import intervals
from ser.evaluation.predictions import out_of_fold
from ser.evaluation.slices import slices
from tests import predicted


def sliced(table, made=None, **changes):
    test = out_of_fold(predicted.predictions(table, **changes) if made is None else made, table)
    return test, slices(test, predicted.RATE, intervals.resamples(len(test.speakers), 300, 0), 0.95, 0)


def test_each_group_is_scored_on_its_own_clips():
    test, found = sliced(predicted.clips())
    for group in found["gender"].groups:
        chosen = (test.rows["gender"] == group.group).to_numpy()
        assert group.ua == pytest.approx(balanced_accuracy_score(test.actual[chosen], test.predicted[chosen]), abs=5e-5)
        assert group.n == chosen.sum()
        assert group.speakers == 4
        assert group.ci[0] <= group.ua <= group.ci[1]
    assert sum(group.n for group in found["duration"].groups) == test.n
    assert [group.group for group in found["duration"].groups] == ["< 1 s", "1–2 s", "2–4 s", "4–8 s"]
    assert [group.group for group in found["snr"].groups] == ["< 10 dB", "10–20 dB", "20–30 dB", "≥ 30 dB"]


def test_gap_is_over_the_classes_that_both_groups_have():
    """Neutral clips are all 'normal' and all wrong: they must not count in the gap between normal and strong."""
    table = predicted.clips(takes=24)
    table.loc[table["emotion"] == "neutral", "intensity"] = "normal"
    made = predicted.predictions(table)
    neutral = made["emotion"] == "neutral"
    for name in predicted.CLASSES:
        made.loc[neutral, f"p_{name}"] = float(name == "sad")
    test, found = sliced(table, made)
    entry = found["intensity"]
    score = {}
    for name in ("normal", "strong"):
        chosen = ((test.rows["intensity"] == name) & (test.rows["emotion"] != "neutral")).to_numpy()
        score[name] = balanced_accuracy_score(test.actual[chosen], test.predicted[chosen])
    assert entry.gap_classes == 3
    assert entry.gap == pytest.approx(abs(score["normal"] - score["strong"]), abs=5e-5)
    assert entry.between[0] == max(score, key=score.__getitem__)
    assert entry.gap_ci[0] <= entry.gap <= entry.gap_ci[1]


def test_what_is_not_known_is_a_group_but_compared_with_nothing():
    table = predicted.clips()
    table.loc[table["speaker"].isin(["01", "02"]), "gender"] = ""
    _, found = sliced(table)
    assert [group.group for group in found["gender"].groups] == ["female", "male", "unknown"]
    assert set(found["gender"].between) == {"female", "male"}


def test_an_empty_slice_has_nothing_to_compare():
    _, found = sliced(predicted.clips())
    assert [group.group for group in found["language"].groups] == ["unknown"]
    assert all(getattr(found["language"], key) is None for key in ("worst", "gap", "gap_ci", "between", "gap_classes"))


def test_groups_without_a_common_class_are_not_compared():
    table = predicted.clips(takes=24)
    table["gender"] = ["female" if emotion in ("sad", "happy") else "male" for emotion in table["emotion"]]
    _, found = sliced(table)
    assert found["gender"].gap is None


def test_a_handful_of_clips_says_nothing():
    table = predicted.clips(takes=24)
    table.loc[table.index[:10], "channel"] = "nonspeech"
    _, found = sliced(table)
    assert len(found["channel"].groups) == 2
    assert found["channel"].gap is None
    assert found["channel"].worst == next(group.ua for group in found["channel"].groups if group.group == "speech")


def test_within_one_speaker_clips_are_drawn():
    _, found = sliced(predicted.clips(takes=24), skill=0.8)
    for group in found["speaker"].groups:
        assert group.unit == "clip"
        assert group.ci[0] < group.ci[1]
    assert found["speaker"].gap_ci[0] < found["speaker"].gap_ci[1]
    assert all(group.unit == "speaker" for group in found["gender"].groups)


def test_snr_that_could_not_be_measured_is_unknown():
    table = predicted.clips()
    table.loc[table.index[:30], "snr_db"] = np.nan
    _, found = sliced(table)
    assert found["snr"].groups[-1].group == "unknown"
    assert found["snr"].groups[-1].n == 30


def test_members_of_a_joint_corpus_are_a_slice():
    table = predicted.clips()
    assert "corpus" not in sliced(table)[1]
    table["corpus"] = ["a" if speaker < "05" else "b" for speaker in table["speaker"]]
    assert [group.group for group in sliced(table)[1]["corpus"].groups] == ["a", "b"]
