"""The evaluate and report stages on a finished small run: the same bytes twice, gates that fail, sound only where it may be heard."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ser.evaluation import examples, robustness
from ser.evaluation.degradation import Condition
from ser.params import load
from ser.signal.clips import read_table
from ser.training import inference
from tests.pipeline import Project

WRITTEN = ("metrics/corpora/demo.json", "data/predictions/demo.csv", "data/examples/demo.npz", "metrics/plots/demo/robustness.csv")


def evaluate(project: Project, check: bool = True):
    return project.run(sys.executable, "-m", "stages.evaluate", "--dataset", "demo", check=check)


def contents(project: Project) -> dict[str, bytes]:
    return {name: (project.folder / name).read_bytes() for name in WRITTEN}


def test_what_it_wrote(finished):
    values = json.loads((finished.folder / "metrics/corpora/demo.json").read_text())
    assert list(values)[:7] == ["wa", "ua", "ua_low", "ua_high", "macro_f1", "n", "protocol"]
    assert values["notice"] == "synthetic: not a result about human emotion"
    assert values["files_found"] == values["kept"] + sum(values["rejected"].values())
    assert {"edition", "label_edition", "vad", "normalise", "fast", "robustness", "leaks"} <= set(values)
    assert any(line.startswith("model.fusion = ") for line in values["parameters"])
    made = pd.read_csv(finished.folder / "data/predictions/demo.csv")
    assert (made["part"] == "test").sum() == values["n"]
    for plot in ("loss", "confusion", "reliability", "folds", "robustness"):
        assert len(pd.read_csv(finished.folder / f"metrics/plots/demo/{plot}.csv")) > 0
    for one in examples.read(finished.folder / "data/examples/demo.npz"):
        assert set(one.attention)
        for weights in one.attention.values():
            assert len(weights) == len(one.log_mel)
            assert weights.sum() == pytest.approx(1, abs=1e-3)


def test_same_bytes_twice_and_a_broken_gate_writes_nothing(finished):
    before = contents(finished)
    evaluate(finished)
    assert contents(finished) == before
    params = (finished.folder / "params.yaml").read_text()
    try:
        finished.set({"evaluate.gates": [{"metric": "ua", "at_least": 1.0}, {"metric": "n", "at_least": 1}], "evaluate.bootstrap": 100})
        done = evaluate(finished, check=False)
    finally:
        (finished.folder / "params.yaml").write_text(params)
    assert done.returncode == 1
    assert "demo does not pass evaluate.gates" in done.stderr
    assert "is below at_least 1" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(finished) == before


def test_without_the_robustness_study(finished):
    before = contents(finished) | {"reports/index.html": (finished.folder / "reports/index.html").read_bytes()}
    params = (finished.folder / "params.yaml").read_text()
    try:
        finished.set({"evaluate.robustness.max_clips": 0})
        evaluate(finished)
        assert json.loads((finished.folder / "metrics/corpora/demo.json").read_text())["robustness"] is None
        assert (finished.folder / "metrics/plots/demo/robustness.csv").read_text() == "condition,ua,wa,lost\n"
        finished.run(sys.executable, "-m", "stages.report")
    finally:
        (finished.folder / "params.yaml").write_text(params)
        for name, content in before.items():
            (finished.folder / name).write_bytes(content)


def test_untouched_clips_are_answered_in_the_robustness_study_as_in_the_score(finished, monkeypatch):
    """Also where a clip's features depend on the speaker's other clips, of which the study takes a few."""
    keep = {name: (finished.folder / name).read_bytes() for name in ("params.yaml", "models/demo/model.json")}
    monkeypatch.chdir(finished.folder)
    seen = {}
    monkeypatch.setattr(robustness, "scores", lambda found, *_: seen.update(found) or {})
    cpu = torch.device("cpu")
    try:
        described = json.loads(keep["models/demo/model.json"])
        described["features"]["normalise"] = "speaker"
        Path("models/demo/model.json").write_text(json.dumps(described))
        finished.set({"evaluate.robustness.max_clips": 8})
        table, folds = read_table("data/clips/demo"), pd.read_csv("data/folds/demo.csv", dtype={"clip": "string"})
        trained = inference.describe(Path("models/demo"))
        assert trained.features.normalise == "speaker"
        params = load("params.yaml")

        def predict(views, chosen, scored):
            return inference.predict(Path("models/demo"), views, chosen, scored, cpu)

        rate = trained.preprocess.sample_rate
        robustness.measure("data/clips/demo", folds, params.evaluate, trained.features, rate, params.runtime, predict)
        scored = inference.predict(Path("models/demo"), "data/features/demo", table, folds, cpu)
    finally:
        for name, content in keep.items():
            (finished.folder / name).write_bytes(content)
    clean = seen[Condition("clean")]
    assert clean["clip"].nunique() == 8
    both = clean.merge(scored[scored["part"] == "test"], on=["clip", "fold", "seed"], suffixes=("", "_scored"))
    assert len(both) == len(clean) == 8
    for name in [column for column in clean if column.startswith("p_")]:
        np.testing.assert_allclose(both[name], both[f"{name}_scored"], atol=1e-7)


def test_report_of_the_run(finished):
    page = (finished.folder / "reports/index.html").read_text()
    assert "synthetic: not a result about human emotion" in page
    assert "<audio" in page
    assert "not run" in page


@pytest.mark.parametrize(
    ("lost", "message"),
    [("data/folds/demo.json", "data/folds/demo.json not found"), ("models/demo/model.json", "models/demo/model.json not found")],
)
def test_what_is_missing_is_named(finished, lost, message):
    path = finished.folder / lost
    content = path.read_bytes()
    mode = path.stat().st_mode
    path.unlink()
    try:
        done = evaluate(finished, check=False)
    finally:
        path.write_bytes(content)
        path.chmod(mode)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
