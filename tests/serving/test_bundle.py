"""A bundle is believed only as far as it can be checked: facts, graphs, and that they belong together."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile as sf
from onnx import helper, numpy_helper

from ser.serving import bundle
from ser.serving.bundle import BundleError
from ser.serving.predict import Predictor
from tests.serving import small

SCORE = {"ua": 0.5, "ua_interval": [0.4, 0.6], "confidence": 0.95, "wa": 0.5, "macro_f1": 0.5, "clips": 9, "chance_ua": 0.3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small.write(tmp_path / "made")


def edit(folder: Path, **changes: Any) -> None:
    """Change facts and nothing else, as an editor would."""
    values = json.loads((folder / "bundle.json").read_text()) | changes
    (folder / "bundle.json").write_text(json.dumps(values))


def reseal(folder: Path, **changes: Any) -> None:
    """Change facts and make their checksum good again, as whoever knows how would."""
    edit(folder, **changes)
    edit(folder, facts_sha256=bundle.checksum(json.loads((folder / "bundle.json").read_text())))


def exchange(folder: Path, model: bytes, **changes: Any) -> None:
    """Another model, with its checksums made good."""
    (folder / "model.onnx").write_bytes(model)
    reseal(folder, model_sha256=small.facts(model).model_sha256, **changes)


def fifo(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


def large(folder: Path) -> None:
    with (folder / "bundle.json").open("ab") as file:
        file.truncate(2 << 20)


def test_a_whole_bundle_opens_and_says_what_it_is(folder: Path) -> None:
    assert Predictor(folder).bundle == small.facts(small.network())


def test_spaces_and_the_order_of_keys_mean_nothing(folder: Path) -> None:
    values = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(dict(reversed(values.items()))))
    assert Predictor(folder).bundle.classes == small.CLASSES


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda at: edit(at, classes=["happy", "neutral", "sad"]), "bundle.json was changed after the export"),
        (lambda at: edit(at, max_frames=99), "bundle.json was changed after the export"),
        (lambda at: edit(at, facts_sha256=""), "bundle.json was changed after the export"),
        (lambda at: edit(at, classes=["happy", "happy", "sad"]), "a class is named twice"),
        (lambda at: edit(at, version=3), r"cannot be used \(version: "),
        (lambda at: (at / "bundle.json").write_text("[" * 100_000), "cannot be used"),
        (lambda at: reseal(at, classes=["a", "b"]), r"has the output probabilities of .* \(2, any, 3\); its facts say .* \(2, any, 2\)"),
        (lambda at: reseal(at, networks=[{"fold": 1, "seed": 0, "temperature": None}]), r"its facts say .* \(1, any, 3\)"),
        (lambda at: reseal(at, reads=["log_mel", "lengths"]), "has the inputs log_mel, mfcc, lengths; its facts say log_mel, lengths"),
        (lambda at: reseal(at, reads=["log_mel", "smell", "lengths"]), "reads 'smell', which is neither a view nor of an encoder"),
        (lambda at: reseal(at, reads=["encoder", "lengths"]), "there where the model reads hidden states, and only there"),
        (lambda at: reseal(at, kind="linear"), r"kind linear .*reads"),
        (lambda at: exchange(at, small.network(columns=63)), r"has the input log_mel of .* \(any, any, 63\); its facts say .* 64\)"),
        (lambda at: reseal(at, networks=[{"fold": 1, "seed": 0, "temperature": 1e-320}] * 2), r"cannot be used \(networks.0.temperature: "),
        (lambda at: reseal(at, score=SCORE | {"ua": 1e300}), r"cannot be used \(score.ua: "),
        (lambda at: reseal(at, score=SCORE | {"ua_interval": [0.5]}), r"cannot be used \(score.ua_interval: "),
        (lambda at: reseal(at, score=SCORE | {"chance_ua": -1.0}), r"cannot be used \(score.chance_ua: "),
        (lambda at: reseal(at, worse={"mp3": 1e300}), r"cannot be used \(worse.mp3: "),
        (lambda at: exchange(at, b"x"), "model.onnx is not an ONNX model"),
        (lambda at: (at / "model.onnx").write_bytes(b"x"), "does not belong to its bundle.json"),
        (lambda at: (at / "model.onnx").unlink(), "model.onnx not found"),
        (fifo, "model.onnx is not a regular file"),
        (large, "bundle.json has 2097152 bytes, and at most 1048576 are read"),
    ],
)  # fmt: skip
def test_what_was_changed_is_refused(folder: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder)
    with pytest.raises(BundleError, match=message):
        Predictor(folder)


def test_a_bundle_of_version_1_is_still_read(folder: Path) -> None:
    values = json.loads((folder / "bundle.json").read_text()) | {"version": 1}
    for name in ("kind", "reads", "encoder", "not_exported", "facts_sha256"):
        del values[name]
    (folder / "bundle.json").write_text(json.dumps(values))
    found = Predictor(folder).bundle
    assert (found.kind, found.reads, found.encoder) == ("network", ["log_mel", "mfcc", "lengths"], None)
    assert found.classes == small.CLASSES


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 7.0])
def test_what_is_no_probability_is_no_answer(folder: Path, value: float) -> None:
    """A graph gives any numbers; NaN would end in a traceback, or be printed as an answer."""
    model = onnx.ModelProto.FromString((folder / "model.onnx").read_bytes())
    model.graph.node[-1].output[0] = "inner"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(value), "value"))
    model.graph.node.append(helper.make_node("Add", ["inner", "value"], ["probabilities"]))
    exchange(folder, model.SerializeToString())
    predictor = Predictor(folder)
    for one in predictor.recordings([("a", _sound), ("b", _sound)]):
        assert one.probabilities == {}
        assert "model.onnx gives no probabilities" in one.problem


def _sound() -> io.BytesIO:
    file = io.BytesIO()
    sf.write(file, 0.3 * np.sin(np.arange(16000) * 0.1), 16000, format="WAV")
    file.seek(0)
    return file
