"""A frozen encoder from its files to the metrics: encode, train and evaluate through the real commands, on a shrunk demo corpus."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    run(project, "download", "preprocess", "split", "features", "encode")
    return project, weights


def write(project: Project, changes: dict[str, object]) -> None:
    """Change params.yaml by dotted keys, whole sections included."""
    yaml = YAML(typ="safe", pure=True)
    yaml.dump(put(project.read(), changes), project.folder / "params.yaml")


@contextmanager
def settings(project: Project, changes: dict[str, object]) -> Iterator[None]:
    """Other parameters as long as the block runs."""
    before = (project.folder / "params.yaml").read_bytes()
    try:
        write(project, changes)
        yield
    finally:
        (project.folder / "params.yaml").write_bytes(before)


def copied(project: Project, folder: Path) -> Project:
    """A copy of the project with what it has made, for a test that makes much of it anew."""
    shutil.copytree(project.folder, folder / "project", symlinks=True)
    return Project.opened(folder / "project")


def run(project: Project, *stages: str) -> None:
    for stage in stages:
        project.run("python", "-m", f"stages.{stage}", "--dataset", "demo")


def read(project: Project, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.folder / path).read_text())
    return found


def weights_of(project: Project) -> bytes:
    return (project.folder / "models/demo/fold1-seed0.safetensors").read_bytes()


COPIES = {
    "count": 1,
    "room_share": 0.5,
    "noise_share": 1.0,
    "babble_share": 0.5,
    "snr_db": [0.0, 30.0],
    "line_share": 0.5,
    "gain_db": 6.0,
    "seed": 0,
}


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
    preset_values = {key: value for key, value in of_preset(name).items() if key != "features.encoder"}
    with settings(project, {**preset_values, **changes}):
        run(project, "train", "evaluate")
    metrics = read(project, "metrics/corpora/demo.json")
    about = read(project, "data/encoded/demo/encoder.json")["encoder"]
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


def test_spoilt_copies_are_encoded_and_heard_in_training_alone(encoded: tuple[Project, Path], tmp_path: Path) -> None:
    project = copied(encoded[0], tmp_path)
    preset_values = {key: value for key, value in of_preset("linear").items() if key != "features.encoder"}
    write(project, {**preset_values, "features.copies": COPIES})
    run(project, "features", "encode", "train", "evaluate", "export")
    assert read(project, "data/encoded/demo/encoder.json")["copies"] == 1
    metrics = read(project, "metrics/corpora/demo.json")
    assert (metrics["n"], metrics["robustness"]["n"]) == (36, 6)
    facts = read(project, "exports/demo/bundle.json")
    assert "copies" not in facts["encoder"]
    assert facts["typical"]["clips"] == 2 * 36, "copies are typical too"


def test_a_pupil_needs_the_encoder_for_training_alone(encoded: tuple[Project, Path], tmp_path: Path) -> None:
    project = copied(encoded[0], tmp_path)
    asked = project.read()["features"]["encoder"]
    preset_values = {key: value for key, value in of_preset("pupil").items() if not key.startswith("features.encoder")}
    write(project, {**preset_values, "features.copies": COPIES, "features.encoder": {**asked, "copies": False}})
    run(project, "features", "encode", "train", "evaluate", "export")
    assert "copies" not in read(project, "data/encoded/demo/encoder.json")
    metrics = read(project, "metrics/corpora/demo.json")
    assert metrics["n"] == 36
    assert "encoder" not in metrics
    assert read(project, "exports/demo/bundle.json")["encoder"] is None
    assert not list((project.folder / "exports/demo").glob("encoder*"))
    taught = weights_of(project)
    write(project, {"train.teacher": "none"})
    run(project, "train")
    assert weights_of(project) != taught


def test_noise_is_added_to_the_recordings(encoded: tuple[Project, Path]) -> None:
    project, _ = encoded
    run(project, "train")
    quiet = weights_of(project)
    noise = {"train.augment.noise_snr_db": [15.0, 30.0], "train.augment.noise_domain": "waveform", "train.augment.noise_share": 1.0}
    with settings(project, noise):
        run(project, "train")
    assert weights_of(project) != quiet


def test_other_weights_are_refused_for_spoilt_recordings(encoded: tuple[Project, Path]) -> None:
    """The robustness study must hear with the encoder of the training."""
    project, weights = encoded
    stored = (weights / "model.safetensors").read_bytes()
    preset_values = {key: value for key, value in of_preset("linear").items() if key != "features.encoder"}
    with settings(project, preset_values):
        run(project, "train")
        whisper(weights, encoder_layers=4)
        done = project.run("python", "-m", "stages.evaluate", "--dataset", "demo", check=False)
        (weights / "model.safetensors").write_bytes(stored)
    assert done.returncode == 1
    assert "run encode and train again" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_hidden_states_training_says_what_to_run(encoded: tuple[Project, Path]) -> None:
    project, _ = encoded
    facts = project.folder / "data/encoded/demo/encoder.json"
    stored = facts.read_bytes()
    (project.folder / "data/sums/demo/encode.json").unlink()  # as where the folder came from elsewhere
    with settings(project, {"model.kind": "linear"}):
        facts.write_text('{"encoder": null}')
        done = project.run("python", "-m", "stages.train", "--dataset", "demo", check=False)
        facts.write_bytes(stored)
    assert done.returncode == 1
    assert "run encode again" in done.stderr
