"""The predictions table: read, checked, joined."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from ser.evaluation import predictions
from ser.evaluation.predictions import PredictionsError
from tests import predicted


def test_text_is_sorted_and_comes_back():
    table = predicted.clips()
    made = predicted.predictions(table, seeds=(1, 0))
    text = predictions.to_text(made)
    assert text == predictions.to_text(made.sample(frac=1, random_state=0))
    back = predictions.read(io.StringIO(text))
    assert list(back["seed"].unique()) == [0, 1]
    assert predictions.classes_of(back) == list(predicted.CLASSES)
    assert predictions.to_text(back) == text
    joined = back.merge(made, on=["clip", "fold", "seed", "part"])
    np.testing.assert_allclose(joined["p_sad_x"], joined["p_sad_y"], rtol=1e-5)


def test_clips_named_like_missing_values_stay_text():
    made = predicted.predictions(predicted.clips()).head(2).assign(clip=["NA", "null"])
    assert predictions.read(io.StringIO(predictions.to_text(made)))["clip"].tolist() == ["NA", "null"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda made: made.drop(columns="fold"), "no column 'fold'"),
        (lambda made: made[predictions.KEYS], "no p_<class> column"),
        (lambda made: made.assign(emotion="bored"), "'bored' has no column p_bored"),
        (lambda made: made.assign(part="dev"), "train, valid or test"),
        (lambda made: made.assign(p_sad=0.9), "do not sum to 1"),
        (lambda made: made.assign(p_sad=float("nan")), "do not sum to 1"),
        (lambda made: made.assign(fold=1, part="test", clip="same"), "'same' is predicted twice"),
    ],
)
def test_unusable_tables_are_refused(spoil, message):
    with pytest.raises(PredictionsError, match=message):
        predictions.check(spoil(predicted.predictions(predicted.clips())))


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(PredictionsError, match="dvc repro"):
        predictions.read(tmp_path / "none.csv")


def test_joined_with_what_is_known_of_the_clips():
    table = predicted.clips()
    test = predictions.out_of_fold(predicted.predictions(table, seeds=(3, 5)), table)
    assert (test.n, test.seeds, len(test.speakers)) == (128, [3, 5], 8)
    assert test.counts().shape == (2, 8, 4, 4)
    assert test.counts().sum((1, 2, 3)).tolist() == [128, 128]
    rows = test.rows.iloc[[0, 77, 200]]
    expected = table.set_index("clip").loc[rows["clip"]]
    assert rows["gender"].tolist() == expected["gender"].tolist()
    assert [test.classes[test.actual[i]] for i in (0, 77, 200)] == expected["emotion"].tolist()
    first, second = (test.rows.loc[test.seed == seed, "clip"].tolist() for seed in (0, 1))
    assert first == second
    np.testing.assert_allclose(test.seed_mean()[5], (test.probabilities[5] + test.probabilities[133]) / 2)


def test_among_equals_the_first_class_is_predicted():
    table = predicted.clips(speakers=2, takes=4)
    even = predicted.predictions(table, folds=2).assign(**{f"p_{name}": 0.25 for name in predicted.CLASSES})
    assert set(predictions.out_of_fold(even, table).predicted) == {0}


def test_unknown_speakers_stand_for_themselves():
    table = predicted.clips()
    made = predicted.predictions(table)
    table.loc[table["speaker"] == "01", "speaker"] = ""
    assert len(predictions.out_of_fold(made, table).speakers) == 7 + 16


def test_speakers_of_two_corpora_are_not_one():
    table = predicted.clips(speakers=4)
    made = predicted.predictions(table)
    table["corpus"] = ["a" if speaker in ("01", "02") else "b" for speaker in table["speaker"]]
    table["speaker"] = table["speaker"].map({"01": "1", "02": "2", "03": "1", "04": "2"})
    assert predictions.out_of_fold(made, table).speakers == ["a/1", "a/2", "b/1", "b/2"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda made, table: (made[made["part"] == "valid"], table), "nothing to score"),
        (lambda made, table: (made, table.iloc[1:]), "not in clips.csv"),
        (lambda made, table: (made[(made["seed"] == 0) | (made["fold"] > 1)], table), "seed 1 does not test"),
    ],
)
def test_tables_that_do_not_fit_together(spoil, message):
    table = predicted.clips()
    with pytest.raises(PredictionsError, match=message):
        predictions.out_of_fold(*spoil(predicted.predictions(table, seeds=(0, 1)), table), None)


def test_an_average_counts_each_run_once_however_many_seeds_it_has():
    table = predicted.clips()
    one, two = (predicted.predictions(table, seeds=seeds) for seeds in ((3, 5), (8,)))
    runs = [predictions.out_of_fold(made, table) for made in (one, two)]
    averaged = predictions.check(predictions.average(runs))
    assert len(averaged) == runs[0].n
    tested = pd.concat([one, two]).query("part == 'test'")
    weight = tested["seed"].map({3: 0.25, 5: 0.25, 8: 0.5})
    expected = (tested["p_sad"] * weight).groupby(tested["clip"]).sum()
    np.testing.assert_allclose(averaged.set_index("clip")["p_sad"].sort_index(), expected.sort_index(), rtol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda made: made.rename(columns={"p_sad": "p_low"}).replace({"emotion": {"sad": "low"}}), "has the classes"),
        (lambda made: made[made["clip"] != made.loc[made["part"] == "test", "clip"].iloc[0]], "tested 127 clips, run 1 tested 128"),
    ],
)
def test_an_average_of_other_classes_or_clips_is_refused(spoil, message):
    table = predicted.clips()
    made = predicted.predictions(table)
    with pytest.raises(PredictionsError, match=message):
        predictions.average([predictions.out_of_fold(run, table) for run in (made, spoil(made))])
