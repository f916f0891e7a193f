"""A frozen encoder from its files to the metrics: encode, train and evaluate through the real commands, on a shrunk demo corpus."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from ser.search.space import put
from stages import changes, preset
from tests.encoders.tiny import whisper
from tests.pipeline import ROOT, Project


def of_preset(name: str) -> dict[str, object]:
    """A preset by dotted key, with as many epochs as a test has time for."""
    values = YAML(typ="safe", pure=True).load(ROOT / f"docs/presets/{name}.yaml")
    return {**changes.by_key(values, whole=preset.WHOLE), "train.epochs": 1}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """A project whose corpus has been encoded by a random Whisper in a folder of one's own."""
    project = Project(tmp_path_factory.mktemp("pretrained") / "project")
    weights = whisper(project.folder.parent / "whisper")
    encoder = {"name": "random", "layers": [1, 2, 3], "silence_seconds": 0.5, "path": str(weights)}
    changes = {"corpora.demo.source.sentences": 1, "features.encoder": encoder, "features.copies": None}
    write(project, changes)
    for stage in ("download", "preprocess", "split", "features", "encode"):
        project.run("python", "-m", f"stages.{stage}", "--dataset", "demo")
    return project, weights


def write(project: Project, changes: dict[str, object]) -> None:
    """Change params.yaml by dotted keys, whole sections included."""
    yaml = YAML(typ="safe", pure=True)
    yaml.dump(put(project.read(), changes), project.folder / "params.yaml")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("linear", {}),
        pytest.param("linear", {"features.normalise": "speaker"}, marks=pytest.mark.slow),
        ("encoder_only", {}),
        pytest.param("pretrained", {}, marks=pytest.mark.slow),
        pytest.param("pretrained", {"model.fusion": "hierarchical_coattention", "features.normalise": "speaker"}, marks=pytest.mark.slow),
    ],
)
def test_encode_train_evaluate(encoded: tuple[Project, Path], name: str, changes: dict[str, object]) -> None:
    project, _ = encoded
    before = (project.folder / "params.yaml").read_bytes()
    preset_values = {key: value for key, value in of_preset(name).items() if key != "features.encoder"}
    try:
        write(project, {**preset_values, **changes})
        project.run("python", "-m", "stages.train", "--dataset", "demo")
        project.run("python", "-m", "stages.evaluate", "--dataset", "demo")
    finally:
        (project.folder / "params.yaml").write_bytes(before)
    metrics = json.loads((project.folder / "metrics/corpora/demo.json").read_text())
    about = json.loads((project.folder / "data/encoded/demo/encoder.json").read_text())["encoder"]
    used = metrics["encoder"]
    assert {key: used[key] for key in ("name", "layers", "sha256", "licence")} == {
        key: about[key] for key in ("name", "layers", "sha256", "licence")
    }
    assert [(one["fold"], one["seed"]) for one in used["networks"]] == [(1, 0), (2, 0), (3, 0)]
    for one in used["networks"]:
        assert ("layers" in one) == (name != "encoder_only")
        assert ("layer_weights" in one) == (name != "linear")
        assert set(one.get("layers", [])) <= {1, 2, 3}
        for level in one.get("layer_weights", []):
            assert len(level) == 3
            assert abs(sum(level) - 1) < 0.001
    assert len(metrics["robustness"]["conditions"]) == 10
    assert len({condition["wa"] for condition in metrics["robustness"]["conditions"]}) > 1, "spoilt recordings are encoded again"
    history = pd.read_csv(project.folder / "models/demo/history.csv")
    assert history["epoch"].unique().tolist() == {"linear": [1], "encoder_only": [1], "pretrained": [0, 1]}[name]
    assert ("hidden states" in (project.folder / "models/demo.log").read_text()) == (name != "encoder_only")
    assert metrics["n"] == 36


def test_spoilt_copies_are_encoded_and_heard_in_training_alone(encoded: tuple[Project, Path]) -> None:
    project, _ = encoded
    before = (project.folder / "params.yaml").read_bytes()
    preset_values = {key: value for key, value in of_preset("linear").items() if key != "features.encoder"}
    copies = {"count": 1, "room_share": 0.5, "noise_share": 1.0, "babble_share": 0.5, "snr_db": [0.0, 30.0], "line_share": 0.5}
    try:
        write(project, {**preset_values, "features.copies": {**copies, "gain_db": 6.0, "seed": 0}})
        for stage in ("features", "encode", "train", "evaluate", "export"):
            project.run("python", "-m", f"stages.{stage}", "--dataset", "demo")
        assert json.loads((project.folder / "data/encoded/demo/encoder.json").read_text())["copies"] == 1
        metrics = json.loads((project.folder / "metrics/corpora/demo.json").read_text())
        assert (metrics["n"], metrics["robustness"]["n"]) == (36, 6)
        facts = json.loads((project.folder / "exports/demo/bundle.json").read_text())
        assert "copies" not in facts["encoder"]
        assert facts["typical"]["clips"] == 2 * 36, "copies are typical too"
    finally:
        (project.folder / "params.yaml").write_bytes(before)
        for stage in ("features", "encode"):
            project.run("python", "-m", f"stages.{stage}", "--dataset", "demo")


def test_a_pupil_needs_the_encoder_for_training_alone(encoded: tuple[Project, Path]) -> None:
    project, _ = encoded
    before = (project.folder / "params.yaml").read_bytes()
    asked = project.read()["features"]["encoder"]
    preset_values = {key: value for key, value in of_preset("pupil").items() if not key.startswith("features.encoder")}
    copies = {"count": 1, "room_share": 0.5, "noise_share": 1.0, "babble_share": 0.5, "snr_db": [0.0, 30.0], "line_share": 0.5}
    heard = {"features.copies": {**copies, "gain_db": 6.0, "seed": 0}, "features.encoder": {**asked, "copies": False}}
    try:
        write(project, {**preset_values, **heard})
        for stage in ("features", "encode", "train"):
            project.run("python", "-m", f"stages.{stage}", "--dataset", "demo")
        assert "copies" not in json.loads((project.folder / "data/encoded/demo/encoder.json").read_text())
        taught = (project.folder / "models/demo/fold1-seed0.safetensors").read_bytes()
        for stage in ("evaluate", "export"):
            project.run("python", "-m", f"stages.{stage}", "--dataset", "demo")
        metrics = json.loads((project.folder / "metrics/corpora/demo.json").read_text())
        assert metrics["n"] == 36
        assert "encoder" not in metrics
        facts = json.loads((project.folder / "exports/demo/bundle.json").read_text())
        assert facts["encoder"] is None
        assert not list((project.folder / "exports/demo").glob("encoder*"))
        write(project, {**preset_values, **heard, "train.teacher": "none"})
        project.run("python", "-m", "stages.train", "--dataset", "demo")
        assert (project.folder / "models/demo/fold1-seed0.safetensors").read_bytes() != taught
    finally:
        (project.folder / "params.yaml").write_bytes(before)
        for stage in ("features", "encode"):
            project.run("python", "-m", f"stages.{stage}", "--dataset", "demo")


def test_noise_is_added_to_the_recordings(encoded: tuple[Project, Path]) -> None:
    project, _ = encoded
    before = (project.folder / "params.yaml").read_bytes()
    noise = {"train.augment.noise_snr_db": [15.0, 30.0], "train.augment.noise_domain": "waveform", "train.augment.noise_share": 1.0}
    weights = []
    try:
        for changes in ({}, noise):
            write(project, changes)
            project.run("python", "-m", "stages.train", "--dataset", "demo")
            weights.append((project.folder / "models/demo/fold1-seed0.safetensors").read_bytes())
    finally:
        (project.folder / "params.yaml").write_bytes(before)
    assert weights[0] != weights[1]


def test_other_weights_are_refused_for_spoilt_recordings(encoded: tuple[Project, Path]) -> None:
    """The robustness study must hear with the encoder of the training."""
    project, weights = encoded
    before, stored = (project.folder / "params.yaml").read_bytes(), (weights / "model.safetensors").read_bytes()
    preset_values = {key: value for key, value in of_preset("linear").items() if key != "features.encoder"}
    try:
        write(project, preset_values)
        project.run("python", "-m", "stages.train", "--dataset", "demo")
        whisper(weights, encoder_layers=4)
        done = project.run("python", "-m", "stages.evaluate", "--dataset", "demo", check=False)
    finally:
        (project.folder / "params.yaml").write_bytes(before)
        (weights / "model.safetensors").write_bytes(stored)
    assert done.returncode == 1
    assert "run encode and train again" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_hidden_states_training_says_what_to_run(encoded: tuple[Project, Path]) -> None:
    project, _ = encoded
    before = (project.folder / "params.yaml").read_bytes()
    facts = project.folder / "data/encoded/demo/encoder.json"
    stored = facts.read_bytes()
    (project.folder / "data/sums/demo/encode.json").unlink()  # as where the folder came from elsewhere
    try:
        write(project, {"model.kind": "linear"})
        facts.write_text('{"encoder": null}')
        done = project.run("python", "-m", "stages.train", "--dataset", "demo", check=False)
    finally:
        (project.folder / "params.yaml").write_bytes(before)
        facts.write_bytes(stored)
    assert done.returncode == 1
    assert "run encode again" in done.stderr
