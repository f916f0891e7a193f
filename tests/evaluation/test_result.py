"""The metrics file as a typed result: the committed files come back byte for byte, and what cannot be read is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ser.evaluation import result
from ser.evaluation.result import Measured, Result, ResultError
from ser.evaluation.scoring import evaluate
from ser.params import load
from tests import predicted

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "metrics/corpora").glob("*.json"))


def committed() -> dict[str, Any]:
    return json.loads((ROOT / "metrics/corpora/demo.json").read_text(encoding="utf-8"))


def test_there_are_committed_files():
    assert {path.stem for path in FILES} >= {"demo", "ravdess"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_committed_file_comes_back_byte_for_byte(path):
    text = path.read_text(encoding="utf-8")
    assert result.read(path).text() == text
    # and as plain values, which is how the evaluate stage builds it
    assert Result.model_validate(json.loads(text)).text() == text


def test_absent_facts_stay_absent():
    values = committed()
    for key in ("notice", "robustness", "vad", "edition", "parameters"):
        del values[key]
    again = Result.model_validate(values)
    assert again.plain() == values
    assert again.notice is None


def test_what_is_measured_is_the_first_part_of_the_file():
    table = predicted.clips()
    measured = evaluate(predicted.predictions(table), table, predicted.FOLDS, predicted.settings(), predicted.RATE).measured
    keys = list(committed())
    assert list(measured.plain()) == keys[: keys.index("robustness")]
    assert Measured.model_validate(measured.plain()) == measured
    joined = Result.of(measured, {"robustness": None, "normalise": "corpus", "fast": False})
    assert list(joined.plain())[-3:] == ["robustness", "normalise", "fast"]


@pytest.mark.parametrize("corpus", ["demo", "ravdess"])
def test_values_are_read_by_name(corpus):
    path = ROOT / f"metrics/corpora/{corpus}.json"
    plain, found = json.loads(path.read_text()), result.read(path)
    assert found.headline == found.scores["ua"] == plain["ua"]
    assert list(found.ci.limits["ua"]) == plain["ci"]["ua"]
    assert found.folds.each[0].scores["wa"] == plain["folds"]["each"][0]["wa"]
    assert list(found.knowing_speakers.ci.limits["macro_f1"]) == plain["knowing_speakers"]["ci"]["macro_f1"]
    assert found.slices["gender"].groups[0].group == plain["slices"]["gender"]["groups"][0]["group"]


def test_the_line_of_a_result():
    values = {**committed(), "ua": 0.7639, "wa": 0.764}
    values["ci"] = {**values["ci"], "ua": [0.6494, 0.8961]}
    assert Result.model_validate(values).line() == (
        "UA 76.4% [64.9%, 89.6%], WA 76.4%, chance 16.7%; 144 clips, protocol speaker; synthetic: not a result about human emotion"
    )


@pytest.mark.parametrize(
    ("n", "limits", "says"),
    [
        (4, [0.0, 1.0], "4 clips are too few for any conclusion"),
        (4, None, "4 clips are too few for any conclusion"),
        (60, [0.3, 0.9], "the interval is 60 points wide: too few clips or speakers for any conclusion"),
        (144, [0.12, 0.3], "not distinguishable from chance"),
        (144, [0.05, 0.1], "below chance"),
        (144, [0.65, 0.9], None),
    ],
)
def test_a_score_that_means_nothing_says_so(n: int, limits: list[float] | None, says: str | None):
    values = committed()
    values["n"], values["ci"]["ua"] = n, limits
    one = result.Result.model_validate(values)
    assert one.caveat() == says
    assert (says in one.line()) if says else one.line().endswith("emotion")


def without(*path: str) -> dict[str, Any]:
    values, section, key = at(path)
    del section[key]
    return values


def changed(value: object, *path: str) -> dict[str, Any]:
    values, section, key = at(path)
    section[key] = value
    return values


def at(path: tuple[str, ...]) -> tuple[dict[str, Any], Any, Any]:
    """A committed result, the section that holds what the path names, and its key there."""
    values = committed()
    section: Any = values
    for key in path[:-1]:
        section = section[int(key)] if isinstance(section, list) else section[key]
    return values, section, int(path[-1]) if isinstance(section, list) else path[-1]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (without("slices"), "has no 'slices'"),
        (without("ua"), "has no 'ua'"),
        (without("seeds", "each", "0", "macro_f1"), "has no 'seeds.each.0.macro_f1'"),
        (without("ci", "wa"), "has no 'ci.wa'"),
        (without("fast"), "has no 'fast'"),
        ({**committed(), "uar": 0.5}, "has the unknown key 'uar'"),
        ({**committed(), "n": "144"}, "cannot be used (n: "),
        ({**committed(), "ua": 1.5}, "ua is 1.5, outside its range 0 to 1"),
        (changed(0.5, "slices", "speaker"), "cannot be used (slices.speaker: "),
        (without("slices", "speaker"), "slices has no 'speaker'"),
        (without("confusion", "counts", "0"), "counts has not 6 rows of 6 numbers"),
        (without("confusion", "normalised", "2", "5"), "normalised has not 6 rows of 6 numbers"),
        (changed(-3.0, "confusion", "normalised", "1", "1"), "confusion.normalised.1.1"),
        (changed(1e300, "confusion", "normalised", "1", "1"), "confusion.normalised.1.1"),
        (changed(-1, "confusion", "counts", "1", "1"), "confusion.counts.1.1"),
        (changed(-0.1, "folds", "each", "0", "ua"), "ua is -0.1, outside its range 0 to 1"),
        (changed([0.5, 1.5], "ci", "ua"), "ua is 1.5, outside its range 0 to 1"),
        (changed(7.0, "slices", "speaker", "groups", "0", "ua"), "slices.speaker.groups.0.ua"),
        (changed({}, "folds", "mean"), "has no 'folds.mean.wa'"),
        (changed(["a"], "slices", "gender", "between"), "slices.gender: gap and between do not belong together"),
        (changed(None, "slices", "gender", "between"), "slices.gender: gap and between do not belong together"),
        (changed(1e30, "folds", "mean", "ua"), "folds.mean.ua"),
        ([], "cannot be used (Input should be an object)"),
    ],
)
def test_a_file_of_another_version_is_named_with_the_key_and_what_to_run(tmp_path, values, says):
    path = tmp_path / "demo.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ResultError) as caught:
        result.read(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert "run `dvc repro evaluate@demo`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_off_file_is_not_valid_json():
    text = (ROOT / "metrics/corpora/demo.json").read_text(encoding="utf-8")
    with pytest.raises(ResultError, match=r"demo at HEAD~1 is not valid JSON .*dvc repro evaluate@demo"):
        result.parse(text[:1000], "demo at HEAD~1", "demo")


def test_a_missing_file_says_what_to_run(tmp_path):
    with pytest.raises(ResultError, match=r"emodb.json not found: run `dvc repro evaluate@emodb` first"):
        result.read(tmp_path / "emodb.json")


def test_parameters_are_written_one_per_line():
    params = load(ROOT / "params.yaml")
    lines = result.parameter_lines({"preprocess": params.preprocess, "model": params.model})
    assert "preprocess.sample_rate = 16000" in lines
    assert 'preprocess.vad.method = "webrtc"' in lines
    assert sum(line.startswith("model.cnn.channels = [") for line in lines) == 1
