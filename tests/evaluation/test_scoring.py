"""The metrics file: every figure of it against scikit-learn or by hand, for ordinary and for odd corpora."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn

from ser.evaluation import numbers, predictions, scoring, tables
from ser.evaluation.gates import GateError, check_gates
from ser.evaluation.scoring import evaluate
from ser.params.evaluate import Gate
from tests import predicted


def evaluated(table: pd.DataFrame, made: pd.DataFrame, **changes):
    return evaluate(made, table, predicted.FOLDS, predicted.settings(**changes), predicted.RATE)


@pytest.fixture(scope="module")
def table():
    return predicted.clips()


@pytest.fixture(scope="module")
def made(table):
    return predicted.predictions(table, seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def found(table, made):
    return evaluated(table, made)


def answers(made: pd.DataFrame, **where) -> tuple[pd.Series, np.ndarray]:
    rows = made[made["part"] == "test"]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    names = np.array(predictions.classes_of(made))
    return rows["emotion"].astype(str), names[predictions.probabilities(rows).argmax(1)]


def test_headline_is_the_mean_over_seeds_of_pooled_folds(made, found):
    each = [answers(made, seed=seed) for seed in (0, 1, 2)]
    values = found.measured.plain()
    assert values["n"] == 128
    assert values["wa"] == pytest.approx(np.mean([sklearn.accuracy_score(*pair) for pair in each]), abs=5e-5)
    assert values["ua"] == pytest.approx(np.mean([sklearn.balanced_accuracy_score(*pair) for pair in each]), abs=5e-5)
    assert values["macro_f1"] == pytest.approx(np.mean([sklearn.f1_score(*pair, average="macro") for pair in each]), abs=5e-5)
    assert values["weighted_f1"] == pytest.approx(np.mean([sklearn.f1_score(*pair, average="weighted") for pair in each]), abs=5e-5)
    scores = [sklearn.balanced_accuracy_score(*pair) for pair in each]
    assert [entry["ua"] for entry in values["seeds"]["each"]] == pytest.approx(scores, abs=5e-5)
    assert values["seeds"]["sd"]["ua"] == pytest.approx(np.std(scores, ddof=1), abs=5e-5)


def test_the_ensemble_averages_probabilities(made, found):
    rows = made[made["part"] == "test"]
    mean = rows.groupby("clip")[[f"p_{name}" for name in predicted.CLASSES]].mean()
    actual = rows.drop_duplicates("clip").set_index("clip").loc[mean.index, "emotion"].astype(str)
    answer = np.array(predicted.CLASSES)[mean.to_numpy().argmax(1)]
    together = found.measured.plain()["seeds"]["ensemble"]
    assert together["ua"] == pytest.approx(sklearn.balanced_accuracy_score(actual, answer), abs=5e-5)
    assert together["wa"] == pytest.approx(sklearn.accuracy_score(actual, answer), abs=5e-5)
    low, high = together["ci"]["ua"]
    assert 0 < low < together["ua"] < high < 1


def test_two_seeds_that_agree_are_an_ensemble_like_each_of_them(table, made):
    one = made[made["seed"] == 0]
    values = evaluated(table, pd.concat([one, one.assign(seed=9)])).measured.plain()
    for name in ("wa", "ua", "macro_f1"):
        assert values["seeds"]["ensemble"][name] == values[name]
        assert values["seeds"]["ensemble"]["ci"][name] == values["ci"][name]
    assert evaluated(table, one).measured.plain()["seeds"]["ensemble"] is None


def test_folds_confusion_and_classes(made, found):
    values = found.measured.plain()
    for entry in values["folds"]["each"]:
        pairs = [answers(made, seed=seed, fold=entry["fold"]) for seed in (0, 1, 2)]
        assert entry["ua"] == pytest.approx(np.mean([sklearn.balanced_accuracy_score(*pair) for pair in pairs]), abs=5e-5)
    scores = [entry["ua"] for entry in values["folds"]["each"]]
    assert values["folds"]["mean"]["ua"] == pytest.approx(np.mean(scores), abs=1e-4)
    assert values["folds"]["sd"]["ua"] == pytest.approx(np.std(scores, ddof=1), abs=1e-4)
    pair = answers(made)
    np.testing.assert_array_equal(values["confusion"]["counts"], sklearn.confusion_matrix(*pair, labels=predicted.CLASSES))
    normalised = sklearn.confusion_matrix(*pair, labels=predicted.CLASSES, normalize="true")
    np.testing.assert_allclose(values["confusion"]["normalised"], normalised, atol=5e-5)
    recalls = sklearn.recall_score(*pair, labels=predicted.CLASSES, average=None)
    assert [values["per_class"][name]["recall"] for name in predicted.CLASSES] == pytest.approx(recalls, abs=5e-5)
    assert [values["per_class"][name]["support"] for name in predicted.CLASSES] == [32] * 4


def test_calibration_before_is_scikit_learns_and_after_uses_validation_clips_only(table, made, found):
    rows = made[made["part"] == "test"]
    number = {name: index for index, name in enumerate(predicted.CLASSES)}
    values = found.measured.plain()["calibration"]
    expected = sklearn.log_loss(rows["emotion"].map(number).to_numpy(int), predictions.probabilities(rows))
    assert values["before"]["log_loss"] == pytest.approx(expected, abs=5e-5)
    assert len(values["temperatures"]) == 12
    # another labelling of the test clips changes no temperature
    shuffled = made.copy()
    tests = shuffled["part"] == "test"
    shuffled.loc[tests, "emotion"] = np.random.default_rng(0).permutation(shuffled.loc[tests, "emotion"])
    assert evaluated(table, shuffled).measured.plain()["calibration"]["temperatures"] == values["temperatures"]


def test_temperature_helps_where_probabilities_are_too_bold(table):
    values = evaluated(table, predicted.predictions(table, sharp=4)).measured.plain()["calibration"]
    assert values["after"]["log_loss"] < values["before"]["log_loss"]
    assert values["after"]["ece"] < values["before"]["ece"]
    assert all(entry["temperature"] > 1.5 for entry in values["temperatures"])


def test_temperatures_are_of_all_folds_validation_clips_but_never_of_the_test_speakers(table, made, found):
    values = found.measured.plain()["calibration"]["temperatures"]
    speaker = dict(zip(table["clip"], table["speaker"], strict=True))
    valid = made[made["part"] == "valid"]
    for entry in values:
        tested = {speaker[clip] for clip in made["clip"][(made["part"] == "test") & (made["fold"] == entry["fold"])]}
        own = valid[(valid["seed"] == entry["seed"]) & ~valid["clip"].map(speaker).isin(tested)]
        assert entry["valid_clips"] == len(own) > 0
        turned = made.copy()  # other answers for validation clips of the test speakers change nothing
        others = (turned["part"] == "valid") & turned["clip"].map(speaker).isin(tested)
        columns = [f"p_{name}" for name in predicted.CLASSES]
        turned.loc[others, columns] = turned.loc[others, columns].to_numpy()[:, ::-1]
        again = evaluated(table, turned).measured.plain()["calibration"]["temperatures"]
        assert [one for one in again if (one["fold"], one["seed"]) == (entry["fold"], entry["seed"])] == [entry]
        if entry["fold"] == 2:
            break


def test_without_validation_clips_nothing_is_scaled_and_by_choice_it_is_measured_all_the_same(table):
    made = predicted.predictions(table)
    alone = evaluated(table, made[made["part"] == "test"]).measured.plain()["calibration"]
    assert alone["before"] == alone["after"]
    assert {entry["temperature"] for entry in alone["temperatures"]} == {None}
    off = evaluated(table, made, calibration="none").measured.plain()["calibration"]
    assert off["method"] == "none"
    assert off["after"] == evaluated(table, made).measured.plain()["calibration"]["after"]


def test_intervals_hold_the_scores(found):
    for name in ("wa", "ua", "macro_f1"):
        low, high = found.measured.plain()["ci"][name]
        assert low < found.measured.plain()[name] < high


def test_a_class_missing_in_a_fold():
    table = predicted.clips()
    table = table[(table["emotion"] != "angry") | (table["speaker"] > "04")].reset_index(drop=True)
    made = predicted.predictions(table, folds=8)
    values = evaluated(table, made).measured.plain()
    fold = values["folds"]["each"][0]
    assert fold["classes"] == 3
    assert fold["ua"] == pytest.approx(sklearn.balanced_accuracy_score(*answers(made, fold=1)), abs=5e-5)
    assert values["baselines"]["chance"]["ua"] == 0.25


def test_a_class_that_never_occurs(table):
    made = predicted.predictions(table, classes=(*predicted.CLASSES, "bored"))
    values = evaluated(table, made).measured.plain()
    assert values["per_class"]["bored"]["recall"] is None
    assert values["per_class"]["bored"]["support"] == 0
    assert values["confusion"]["normalised"][4] == [None] * 5
    assert values["ua"] == pytest.approx(np.mean([values["per_class"][name]["recall"] for name in predicted.CLASSES]), abs=1e-4)


def test_one_speaker_has_no_interval():
    table = predicted.clips(speakers=1, takes=24)
    values = evaluated(table, predicted.predictions(table, folds=1)).measured.plain()
    assert values["ci"]["ua"] is values["ua_low"] is values["ua_high"] is None
    assert values["folds"]["sd"]["ua"] is None
    assert values["seeds"]["sd"]["ua"] is None
    assert values["slices"]["gender"]["gap"] is None
    json.dumps(values, allow_nan=False)


@pytest.mark.parametrize(("right", "score"), [(True, 1.0), (False, 0.0)])
def test_all_right_and_all_wrong(table, right, score):
    made = predicted.predictions(table)
    shift = 0 if right else 1
    answer = made["emotion"].map({name: predicted.CLASSES[(i + shift) % 4] for i, name in enumerate(predicted.CLASSES)})
    for name in predicted.CLASSES:
        made[f"p_{name}"] = (answer == name).astype(float)
    values = evaluated(table, made).measured.plain()
    assert (values["wa"], values["ua"], values["macro_f1"], values["weighted_f1"]) == (score,) * 4
    assert values["ci"]["ua"] == [score, score]
    assert len(values["mistakes"]) == (0 if right else scoring.MISTAKES)


def test_mislabelled_clips_float_to_the_top(table):
    made = predicted.predictions(table, skill=6)
    wrong = sorted(made.loc[(made["part"] == "test") & (made["emotion"] == "happy"), "clip"])[:5]
    made.loc[made["clip"].isin(wrong), "emotion"] = "sad"
    found = evaluated(table, made).measured.plain()["mistakes"]
    assert {row["clip"] for row in found[:5]} == set(wrong)
    assert all(row["actual"] == "sad" and row["predicted"] == "happy" for row in found[:5])
    margins = [row["confidence"] - row["p_actual"] for row in found]
    assert margins == sorted(margins, reverse=True)


def test_same_predictions_same_bytes_whatever_their_order(table, made, found):
    shuffled = made.sample(frac=1, random_state=1).reset_index(drop=True)
    again = evaluated(table.sample(frac=1, random_state=2).reset_index(drop=True), shuffled)
    assert json.dumps(again.measured.plain()) == json.dumps(found.measured.plain())
    for name, plot in found.plots.items():
        pd.testing.assert_frame_equal(again.plots[name], plot)


def test_scores_can_be_computed_again_from_the_saved_table(table, made, found):
    """Six digits are kept; no score may hang on the seventh."""
    saved = predictions.read(io.StringIO(predictions.to_text(made)))
    assert evaluated(table, saved).measured.plain() == found.measured.plain()


def test_what_dvc_shows_is_short_and_flat_numbers(found):
    def shown(value) -> int:
        return sum(map(shown, value.values())) if isinstance(value, dict) else not isinstance(value, list) and value is not None

    assert shown(found.measured.plain()) < 120


def test_plots_hold_what_they_draw(found):
    confusion = found.plots["confusion"]
    assert confusion.groupby("actual")["share"].sum().to_numpy() == pytest.approx(np.ones(4), abs=1e-3)
    assert confusion["clips"].sum() == 3 * 128
    reliability = found.plots["reliability"]
    assert set(reliability["stage"]) == {"before", "after"}
    assert reliability.groupby("stage")["clips"].sum().tolist() == [3 * 128] * 2
    assert list(found.plots["folds"].columns) == ["fold", "n", "wa", "ua"]


def test_curves_average_folds_that_are_still_running():
    history = pd.DataFrame(
        {
            "fold": [1, 1, 2, 1, 1],
            "seed": [0, 0, 0, 1, 1],
            "epoch": [1, 2, 1, 1, 2],
            "train_loss": [1.0, 0.5, 2.0, 3.0, 0.7],
            "valid_loss": [1.0] * 5,
            "valid_ua": [0.2, 0.4, 0.6, 0.4, 0.6],
            "lr": [1e-3] * 5,
        }
    )
    found = tables.curves(history)
    assert found["epoch"].tolist() == [1, 2]
    assert found["train_loss"].tolist() == [2.0, 0.6]
    assert found["valid_ua_fold1"].tolist() == pytest.approx([0.3, 0.5])
    assert found["valid_ua_fold2"].isna().tolist() == [False, True]
    with pytest.raises(ValueError, match="history has no column 'lr'"):
        tables.curves(history.drop(columns="lr"))


@pytest.mark.parametrize("key", ["protocol", "speaker_independent", "leaks"])
def test_a_score_without_its_protocol_is_refused(table, made, key):
    folds = {name: value for name, value in predicted.FOLDS.items() if name != key}
    with pytest.raises(ValueError, match=f"folds has no '{key}'"):
        evaluate(made, table, folds, predicted.settings(), predicted.RATE)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.123456, 0.1235), (np.float64(0.5), 0.5), (np.int64(3), 3), (float("nan"), None), (-0.00001, 0.0), ("x", "x"), (True, True)],
)
def test_numbers_are_stored_with_four_digits(value, expected):
    got = numbers.stored(value)
    assert got == expected
    assert str(got) == str(expected)


GATES = [
    (Gate(metric="ua", at_least=0.99), "ua = 0.[0-9]+ is below at_least 0.99"),
    (Gate(metric="slices.gender.gap", at_most=0.0001), "slices.gender.gap = .* above at_most"),
    (Gate(metric="ci.ua.0", at_least=0.9), "ci.ua.0 = .* below"),
    (Gate(metric="slices.age.gap", at_most=0.1), "'age' not found, known there: gender"),
    (Gate(metric="slices.language.gap", at_most=0.1), "is None, not a number"),
    (Gate(metric="protocol", at_least=0.1), "not a number"),
    (Gate(metric="speaker_independent", at_least=0.1), "not a number"),
    (Gate(metric="ua.more", at_least=0.1), "nothing more"),
]


@pytest.mark.parametrize(("gate", "message"), GATES)
def test_broken_gates_say_what_was_found(found, gate, message):
    with pytest.raises(GateError, match=message) as caught:
        check_gates(found.measured, [gate], "made")
    assert f"ua {found.measured.plain()['ua']:.4f}" in str(caught.value)


def test_gates_that_hold_and_those_of_other_corpora_pass(found):
    holds = [Gate(metric="ua", at_least=0.3), Gate(metric="calibration.after.ece", at_most=0.9), Gate(metric="ci.ua.0", at_least=0.1)]
    check_gates(found.measured, [*holds, Gate(metric="ua", corpus="other", at_least=1.0)], "made")


def test_a_gate_needs_a_bound():
    with pytest.raises(ValueError, match="no bound"):
        Gate(metric="ua")
