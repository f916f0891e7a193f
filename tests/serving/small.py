"""Bundles made by hand, without training and without torch: small graphs that do tell recordings apart."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
import soundfile as sf
from onnx import TensorProto, helper, numpy_helper

from ser.params import load
from ser.serving import bundle
from ser.serving.heard import Heard
from ser.serving.predict import Predictor
from ser.serving.prediction import Prediction
from ser.views.features import widths

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["neutral", "happy", "sad"]


def facts(model: bytes, **changes: Any) -> bundle.Bundle:
    """Facts of a network over log-mel and MFCC."""
    params = load(ROOT / "params.yaml")
    values: dict[str, Any] = {
        "version": 2, "corpus": "made", "classes": CLASSES, "kind": "network", "not_exported": "", "reads": ["log_mel", "mfcc", "lengths"],
        "encoder": None,
        "networks": [bundle.Member(fold=1, seed=0, temperature=None), bundle.Member(fold=2, seed=0, temperature=2.0)],
        "preprocess": params.preprocess, "features": params.features, "max_frames": 100, "notice": "", "licence": "none", "edition": "",
        "protocol": "", "speaker_independent": None, "score": None, "model_sha256": hashlib.sha256(model).hexdigest(),
    }  # fmt: skip
    return bundle.sealed(bundle.Bundle(**{**values, **changes}))


def files(predictor: Predictor, paths: Iterable[Path]) -> Iterator[Prediction]:
    """What a predictor says of files."""
    return predictor.recordings((str(path), functools.partial(path.open, "rb")) for path in paths)


def network(classes: int = len(CLASSES), columns: int = 64, attention: Sequence[str] = ()) -> bytes:
    """Two networks that weigh the mean of each band of log-mel over time; they ignore MFCC. Attention goes to loud frames."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("ReduceMean", ["log_mel", "time"], ["mean"], keepdims=0),
        *(helper.make_node("MatMul", ["mean", f"w{number}"], [f"logits{number}"]) for number in (0, 1)),
        *(helper.make_node("Softmax", [f"logits{number}"], [f"p{number}"], axis=1) for number in (0, 1)),
        *(helper.make_node("Unsqueeze", [f"p{number}", "first"], [f"stacked{number}"]) for number in (0, 1)),
        helper.make_node("Concat", ["stacked0", "stacked1"], ["probabilities"], axis=0),
    ]
    tensors = [numpy_helper.from_array(np.array([value]), name) for name, value in (("time", 1), ("first", 0))]
    tensors += [numpy_helper.from_array(random.normal(0, 0.02, (columns, classes)).astype(np.float32), f"w{number}") for number in (0, 1)]
    rows = widths(load(ROOT / "params.yaml").features) | {"log_mel": columns}
    inputs = [helper.make_tensor_value_info(view, TensorProto.FLOAT, ["batch", "frames", count]) for view, count in rows.items()]
    inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]))
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [2, "batch", classes])]
    if attention:
        nodes += [
            helper.make_node("ReduceMean", ["log_mel", "band"], ["loudness"], keepdims=0),
            helper.make_node("Softmax", ["loudness"], ["weights"], axis=1),
            helper.make_node("Unsqueeze", ["weights", "first"], ["one"]),
            *(helper.make_node("Concat", ["one", "one"], [bundle.attention_of(side)], axis=0) for side in attention),
        ]
        tensors.append(numpy_helper.from_array(np.array([2]), "band"))
        outputs += [
            helper.make_tensor_value_info(bundle.attention_of(side), TensorProto.FLOAT, [2, "batch", "frames"]) for side in attention
        ]
    graph = helper.make_graph(nodes, "made", inputs, outputs, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def write(folder: Path, **changes: Any) -> Path:
    """A whole bundle of these networks."""
    folder.mkdir(parents=True)
    model = network(attention=changes.get("attention", ()))
    (folder / bundle.MODEL).write_bytes(model)
    (folder / bundle.FACTS).write_text(facts(model, **changes).model_dump_json(indent=1))
    return folder


def sound(seconds: float = 2.5, seed: int = 0, rate: int = 16_000) -> np.ndarray:
    """A voice-like buzz that comes and goes, float64 (n,)."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = 100 + 80 * random.random() + 20 * np.sin(2 * np.pi * 3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    buzz = np.asarray(sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 20)))
    return np.asarray(0.2 * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * time)) + 0.001 * random.standard_normal(len(time)))


def heard(predictor: Predictor, path: Path) -> Heard:
    """What the model reads of a recording of one part, on the way that ``ser predict`` takes."""
    with path.open("rb") as stream:
        (one,) = predictor.heard(stream)
    return one


def wav(signal: np.ndarray, rate: int = 16_000) -> IO[bytes]:
    """A recording as a file in memory, 16 bit."""
    file = io.BytesIO()
    sf.write(file, signal, rate, "PCM_16", format="WAV")
    file.seek(0)
    return file
