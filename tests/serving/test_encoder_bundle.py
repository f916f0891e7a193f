"""A pretrained encoder in a bundle: the pipeline's own probabilities without torch, small files, and bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import soundfile as sf
import soxr
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from ser import SerError
from ser.encoders import encode, frozen, store, weights
from ser.encoders.pooled import own_tokens, pooled
from ser.model.linear import Linear, fit
from ser.params import Params, ParamsError
from ser.params.encoder import Encoder as EncoderParams
from ser.params.export import Export
from ser.serving import bundle
from ser.serving.bundle import BundleError
from ser.serving.export.encoder_graph import to_onnx
from ser.serving.export.refit import refit, shared_layers
from ser.serving.export.write import export
from ser.serving.graph import OPERATORS, operators
from ser.serving.predict import Predictor
from ser.signal.clips import COLUMNS, read_table
from ser.signal.preprocessing import prepare
from ser.training.inference import Trained, load_network, new_network, predict
from ser.views import extraction
from tests import made
from tests.encoders import tiny
from tests.serving import small
from tests.serving.test_predict import DEMO

CPU = torch.device("cpu")
RATE = 16_000
LENGTHS = (0.6, 1.3, 2.0, 2.7, 5.5, 9.0)
"""Seconds; with a second of silence the last has to be cut into pieces of the tiny encoder's 4 s."""


@dataclass(frozen=True)
class Pipeline:
    """What the stages leave before export."""

    root: Path
    params: Params
    encoder: frozen.Chosen
    recordings: list[Path]

    def trained(self, params: Params | None = None) -> Trained:
        chosen = params or self.params
        sections = {name: getattr(chosen, name) for name in ("preprocess", "features", "model", "train")}
        return Trained(corpus="demo", classes=made.CLASSES, folds=[1, 2], seeds=[0], notes={}, encoder=self.encoder.about, **sections)

    def expected(self, models: Path) -> pd.DataFrame:
        """Probabilities of every clip by both folds, as evaluate computes them."""
        table = read_table(self.root / "clips")
        assignment = pd.concat([pd.DataFrame({"clip": table["clip"], "fold": fold, "part": "test"}) for fold in (1, 2)])
        return predict(models, self.root / "features", table, assignment, CPU, self.root / "encoded")

    def export(self, models: Path, folder: Path, precision: str = "float16", measured: bool = True, model: str = "folds") -> bundle.Bundle:
        settings = Export.model_validate({"model": model, "precision": precision})
        clips = self.root / "clips" if measured else None
        return export(models, folder, DEMO, None, settings, self.encoder, clips, self.root / "encoded")


def pipeline(root: Path, weights_folder: Path, name: str, **changes: Any) -> Pipeline:
    """Recordings through preprocess, features and encode by their real code."""
    settings = EncoderParams(name=name, layers=[1, 2, 3], silence_seconds=1.0, path=str(weights_folder))
    params = made.params(
        features__encoder=settings.model_dump(),
        train__augment__speed=0.0,
        train__augment__shift_seconds=0.0,
        train__max_seconds=1.0,
        **changes,
    )
    (root / "recordings").mkdir(parents=True)
    recordings, pieces = [], []
    for seed, seconds in enumerate(LENGTHS):
        recordings.append(root / "recordings" / f"{seed}.wav")
        sf.write(recordings[-1], small.sound(seconds, seed), RATE, "PCM_16")
        pieces.append(prepare(recordings[-1].read_bytes(), params.preprocess).pcm)
    lengths = [len(piece) for piece in pieces]
    rows: dict[str, Any] = {column: [""] * len(pieces) for column in COLUMNS}
    rows |= {column: [0] * len(pieces) for column, kind in COLUMNS.items() if kind != "string"}
    rows |= {"clip": [path.name for path in recordings], "emotion": (made.CLASSES * 2)[: len(pieces)], "speaker": ["a"] * len(pieces)}
    rows |= {"samples": lengths, "offset": np.cumsum([0, *lengths])[:-1].tolist()}
    (root / "clips").mkdir()
    pd.DataFrame(rows).to_csv(root / "clips" / "clips.csv", index=False)
    np.save(root / "clips" / "audio.npy", np.concatenate(pieces))
    runtime = params.runtime.model_copy(update={"workers": 1})
    extraction.build(root / "clips", root / "features", RATE, params.features, runtime)
    found = weights.obtain(settings, mirror=None, cache=root / "cache")
    encode.build(root / "clips", root / "encoded", RATE, settings, found, runtime, root / "cache")
    about = store.about(root / "encoded", settings)
    assert about is not None
    return Pipeline(root, params, frozen.Chosen(found.folder.resolve(), about), recordings)


def regressions(line: Pipeline, folder: Path) -> Path:
    """Two regressions with weights of their own, the second on fewer columns, both standardised on the clips."""
    folder.mkdir()
    encoded = store.read(line.root / "encoded")
    assert encoded is not None
    samples = read_table(line.root / "clips")["samples"].to_numpy()
    own = own_tokens(np.diff(encoded.offsets), samples, RATE, 50.0)
    vectors = np.stack([pooled(encoded.clip(row)[:count]) for row, count in enumerate(own)])
    for fold in (1, 2):
        random = np.random.default_rng(fold)
        columns = np.arange(vectors.shape[1])[: vectors.shape[1] // fold]
        scale = vectors.std(axis=0)[columns]
        scale[0] = np.inf  # as of a column that is constant
        state = {
            "columns": columns,
            "centre": vectors.mean(axis=0)[columns],
            "scale": scale,
            "weight": random.normal(0, 2 / np.sqrt(len(columns)), (3, len(columns))).astype(np.float32),
            "bias": random.normal(0, 0.1, 3).astype(np.float32),
        }
        save_file(
            {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in state.items()},
            folder / f"fold{fold}-seed0.safetensors",
        )
    line.trained().write(folder)
    return folder


def agree(line: Pipeline, models: Path, exported: Path, tolerance: float) -> None:
    """The bundle's probabilities of the recordings are the pipeline's."""
    predictor = Predictor(exported)
    expected = line.expected(models)
    columns = [f"p_{name}" for name in made.CLASSES]
    for recording in line.recordings:
        rows = expected[expected["clip"] == recording.name].sort_values("fold")[columns].to_numpy()
        speaker = None
        if predictor.bundle.features.normalise == "speaker":
            speaker = predictor.speaker([small.heard(predictor, path) for path in line.recordings])
        np.testing.assert_allclose(predictor.networks(small.heard(predictor, recording), speaker), rows, atol=tolerance)
    means = expected.groupby("clip")[columns].mean()
    assert means.std().max() > 0.02  # clips differ, so there was something to agree on


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    root = tmp_path_factory.mktemp("encoder")
    return pipeline(root / "line", tiny.whisper(root / "tiny", dtype=torch.float16), "tiny", model__kind="linear")


@pytest.fixture(scope="module")
def models(line: Pipeline) -> Path:
    return regressions(line, line.root / "models")


@pytest.fixture(scope="module")
def exported(line: Pipeline, models: Path) -> Path:
    line.export(models, line.root / "exports" / "demo")
    return line.root / "exports" / "demo"


def test_regressions_give_the_pipelines_own_probabilities(line: Pipeline, models: Path, exported: Path) -> None:
    agree(line, models, exported, 1e-3)
    facts = Predictor(exported).bundle
    assert (facts.kind, facts.reads) == ("linear", ["pooled"])
    assert facts.encoder is not None
    assert facts.encoder.weights_sha256 == line.encoder.about.sha256
    assert facts.encoder.parity is not None
    assert facts.encoder.parity.clips == len(LENGTHS)
    assert facts.encoder.parity.probabilities < 1e-3
    card = (exported / "README.md").read_text()
    assert "the encoder of tiny up to hidden state 3" in card
    assert "leaves commercial use unclear" in card
    assert "2 logistic regression(s)" in card


def test_with_the_speaker_known_they_still_do(line: Pipeline, tmp_path: Path) -> None:
    features = line.params.features.model_copy(update={"normalise": "speaker"})
    known = Pipeline(line.root, line.params.model_copy(update={"features": features}), line.encoder, line.recordings)
    models = regressions(known, tmp_path / "models")
    known.export(models, tmp_path / "demo")
    agree(known, models, tmp_path / "demo", 1e-3)


@pytest.mark.parametrize("changes", [{}, {"train__warm_start": "linear"}, {"features__normalise": "speaker"}])
def test_a_network_with_the_branch_gives_the_pipelines_own_probabilities(line: Pipeline, changes: dict[str, Any], tmp_path: Path) -> None:
    params = made.params(
        model__branches=["log_mel_cnn", "encoder"],
        features__encoder=line.params.features.encoder.model_dump() if line.params.features.encoder else None,
        train__augment__speed=0.0,
        train__augment__shift_seconds=0.0,
        train__max_seconds=1.0,
        **changes,
    )
    trained = line.trained(params)
    (tmp_path / "models").mkdir()
    for fold in (1, 2):
        torch.manual_seed(fold)
        network = new_network(trained)
        for name, values in network.named_buffers():
            if values.is_floating_point():
                values.copy_(torch.rand_like(values) + (0.5 if "scale" in name or "var" in name else 0.0))
        network.classifier.weight.data.normal_(0, 1)
        network.get_buffer("scale_log_mel").mul_(40.0)
        if network.linear is not None:
            network.linear.scale.mul_(100.0)
        save_file(network.state_dict(), tmp_path / "models" / f"fold{fold}-seed0.safetensors")
    trained.write(tmp_path / "models")
    found = line.export(tmp_path / "models", tmp_path / "demo", "float32", measured=False)
    assert found.reads == ["log_mel", "mfcc", "encoder", "lengths"]
    assert operators((tmp_path / "demo" / "model.onnx").read_bytes()) <= OPERATORS
    agree(line, tmp_path / "models", tmp_path / "demo", 1e-3)


def test_pieces_of_a_long_recording_pool_to_what_the_whole_pools_to(line: Pipeline, exported: Path) -> None:
    predictor = Predictor(exported)
    heard = small.heard(predictor, line.recordings[-1])
    assert heard.states is not None
    whole = np.concatenate(list(heard.states.pieces()))
    assert len(whole) == heard.states.tokens > 200
    np.testing.assert_allclose(heard.pooled, pooled(whole), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(heard.states.part(190, 210), whole[190:210])
    np.testing.assert_array_equal(heard.states.part(len(whole) - 3, len(whole)), whole[-3:])


def test_recordings_of_any_rate_and_length_are_judged_or_refused(line: Pipeline, exported: Path, tmp_path: Path) -> None:
    """48 kHz gives what 16 kHz gives; a minute is heard in pieces; 0.1 s is judged, and what is shorter is refused with the reason."""
    sound = small.sound(2.0, 3)
    ramp = np.minimum(1, np.arange(len(sound)) / 800)
    sound = sound * ramp * ramp[::-1]  # random weights notice the echo of a resampler on a signal that begins at once
    signals = {
        "16k": (sound, RATE),
        "48k": (soxr.resample(sound, RATE, 48_000), 48_000),
        "minute": (np.tile(sound, 30), RATE),
        "shortest": (sound[RATE : RATE + 1600], RATE),
        "too short": (sound[RATE : RATE + 1500], RATE),
    }
    for name, (signal, rate) in signals.items():
        sf.write(tmp_path / f"{name}.wav", signal, rate, "PCM_16")
    judged = small.files(Predictor(exported), (tmp_path / f"{name}.wav" for name in signals))
    found = dict(zip(signals, judged, strict=True))
    assert found.pop("too short").problem.startswith("too_short")
    for one in found.values():
        assert one.problem == ""
        assert sum(one.probabilities.values()) == pytest.approx(1)
    difference = [abs(found["16k"].probabilities[name] - found["48k"].probabilities[name]) for name in made.CLASSES]
    assert max(difference) < 0.02
    assert found["minute"].speech_seconds > 30


def test_auto_takes_int8_only_where_nothing_moves(line: Pipeline, models: Path, tmp_path: Path) -> None:
    """Random weights as wide as these do move probabilities in 8 bit; a regression that reads next to nothing does not notice."""
    found = line.export(models, tmp_path / "demo", "auto")
    assert found.encoder is not None
    assert found.encoder.precision == "float16"
    coarse = line.export(models, tmp_path / "coarse", "int8")
    assert coarse.encoder is not None
    assert coarse.encoder.parity is not None
    assert coarse.encoder.parity.probabilities > 1e-3
    deaf = tmp_path / "deaf"
    deaf.mkdir()
    for fold in (1, 2):
        state = {name: torch.from_numpy(values) for name, values in _deaf(line).items()}
        save_file(state, deaf / f"fold{fold}-seed0.safetensors")
    line.trained().write(deaf)
    found = line.export(deaf, tmp_path / "small", "auto")
    assert found.encoder is not None
    assert found.encoder.precision == "int8"
    assert Predictor(tmp_path / "small").bundle == found


def test_auto_takes_float32_where_float16_moves_too_much(tmp_path: Path) -> None:
    """Large random weights in float32, which the published encoders do not have."""
    wild = pipeline(tmp_path / "line", tiny.whisper(tmp_path / "tiny"), "tiny", model__kind="linear")
    models = regressions(wild, tmp_path / "models")
    found = wild.export(models, tmp_path / "demo", "auto")
    assert found.encoder is not None
    assert found.encoder.precision == "float32"
    agree(wild, models, tmp_path / "demo", 1e-3)


def _deaf(line: Pipeline) -> dict[str, np.ndarray]:
    size = 2 * 3 * line.encoder.about.width
    values = {"centre": np.zeros(size), "scale": np.full(size, 1e6), "weight": np.full((3, size), 0.01), "bias": np.arange(3.0)}
    return {"columns": np.arange(size)} | {name: value.astype(np.float32) for name, value in values.items()}


def edit(folder: Path, **changes: Any) -> None:
    """Change facts of the encoder and make the checksum of the facts good again."""
    values = json.loads((folder / "bundle.json").read_text())
    values["encoder"] |= changes
    values["facts_sha256"] = bundle.checksum(values)
    (folder / "bundle.json").write_text(json.dumps(values))


def other_encoder(folder: Path, model: bytes, **changes: Any) -> None:
    (folder / "encoder.onnx").write_bytes(model)
    edit(folder, sha256=small.facts(model).model_sha256, **changes)


def looping(folder: Path) -> None:
    """An encoder that adds without end."""
    proto = onnx.load_from_string((folder / "encoder.onnx").read_bytes())
    value = helper.make_tensor_value_info
    names = ("round", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("a", TensorProto.FLOAT, None)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Identity", ["a"], ["b"])],
        "body", [value(*one) for one in names], [value("still", TensorProto.BOOL, []), value("b", TensorProto.FLOAT, None)],
    )  # fmt: skip
    proto.graph.node[-1].output[0] = "once"
    proto.graph.initializer.extend([numpy_helper.from_array(np.array(2**62), "rounds"), numpy_helper.from_array(np.array(True), "start")])
    proto.graph.node.append(helper.make_node("Loop", ["rounds", "start", "once"], ["states"], body=body))
    other_encoder(folder, proto.SerializeToString())


def elsewhere(folder: Path) -> None:
    """An encoder whose weights lie in another file."""
    proto = onnx.load_from_string((folder / "encoder.onnx").read_bytes())
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    other_encoder(folder, proto.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda at: (at / "encoder.onnx").unlink(), "encoder.onnx not found"),
        (lambda at: (at / "encoder.onnx").write_bytes(b"x"), "encoder.onnx does not belong to its bundle.json"),
        (lambda at: other_encoder(at, b"x"), "encoder.onnx is not an ONNX model"),
        (looping, "encoder.onnx uses the operator 'Loop'"),
        (elsewhere, "encoder.onnx keeps weights in another file"),
        (lambda at: edit(at, width=31), r"encoder.onnx has the output states of .* \(1, any, 3, 32\); its facts say .* \(1, any, 3, 31\)"),
        (lambda at: edit(at, layers=[1, 2]), r"its facts say .* \(1, any, 2, 32\)"),
        (lambda at: edit(at, mel_bands=128), r"has the input mel of .* \(1, 80, any\); its facts say .* \(1, 128, any\)"),
        (lambda at: edit(at, mel_bands=None), "whisper reads log-mel, and no other family does"),
        (lambda at: edit(at, family="hubert"), "whisper reads log-mel, and no other family does"),
        (lambda at: edit(at, family="hubert", mel_bands=None), r"has the inputs mel; its facts say signal"),
        (lambda at: edit(at, positions=1501), "positions"),
        (lambda at: edit(at, silence_seconds=1e9), "silence_seconds"),
    ],
)
def test_a_spoilt_encoder_is_refused(exported: Path, spoil: Any, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    for path in exported.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    spoil(folder)
    with pytest.raises(BundleError, match=message):
        Predictor(folder)


def test_a_variant_that_nobody_published_is_described_and_not_exported(line: Pipeline, models: Path, tmp_path: Path) -> None:
    (tmp_path / "hubert").mkdir()
    (tmp_path / "hubert" / "config.json").write_text('{"model_type": "hubert", "conv_pos_batch_norm": true}')
    other = Pipeline(line.root, line.params, frozen.Chosen(tmp_path / "hubert", line.encoder.about), line.recordings)
    other.export(models, tmp_path / "demo")
    assert "of the encoder tiny: it has conv_pos_batch_norm, which cannot be exported" in (tmp_path / "demo" / "README.md").read_text()
    with pytest.raises(BundleError, match=r"holds no network \(of the encoder tiny: it has conv_pos_batch_norm"):
        Predictor(tmp_path / "demo")


def test_refit_fits_one_regression_on_all_clips(line: Pipeline, models: Path, tmp_path: Path) -> None:
    facts = line.export(models, tmp_path / "refitted", model="refit")
    assert facts.made == "refit"
    assert facts.networks == [bundle.Member(fold=None, seed=0, temperature=None)]
    assert bundle.read(tmp_path / "refitted") == facts
    encoded, table = store.read(line.root / "encoded"), read_table(line.root / "clips")
    assert encoded is not None
    own = own_tokens(np.diff(encoded.offsets), table["samples"].to_numpy(), RATE, 50.0)
    vectors = np.stack([pooled(encoded.clip(row)[:count]) for row, count in enumerate(own)])
    target, rows = np.array([made.CLASSES.index(name) for name in table["emotion"]]), np.arange(len(table))
    machine = fit(vectors, target, rows, rows, [1, 2, 3], 3, line.params.model.linear.model_copy(update={"layers": [1, 2, 3]})).machine
    expected = machine.decisions(torch.from_numpy(vectors)).softmax(1).numpy()
    predictor = Predictor(tmp_path / "refitted")
    found = np.concatenate([predictor.networks(small.heard(predictor, path)) for path in line.recordings])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (found.argmax(1) == target).all()  # it heard them all
    card = (tmp_path / "refitted" / bundle.CARD).read_text(encoding="utf-8")
    assert "fitted on all clips of the corpus" in card


def test_a_refit_hears_the_spoilt_copies_too(line: Pipeline, models: Path, tmp_path: Path) -> None:
    encoded, table = store.read(line.root / "encoded"), read_table(line.root / "clips")
    assert encoded is not None
    states = np.concatenate([encoded.states, encoded.states + np.float16(0.5)])
    offsets = np.concatenate([[0], np.cumsum(np.tile(np.diff(encoded.offsets), 2))])
    (tmp_path / "encoded").mkdir()
    np.save(tmp_path / "encoded/states.npy", states)
    np.save(tmp_path / "encoded/offsets.npy", offsets)
    store.write_facts(tmp_path / "encoded", encoded.facts, copies=1)
    own = own_tokens(np.diff(offsets), np.tile(table["samples"].to_numpy(), 2), RATE, 50.0)
    vectors = np.stack([pooled(states[start : start + count]) for start, count in zip(offsets, own, strict=False)])
    target, every = np.tile([made.CLASSES.index(name) for name in table["emotion"]], 2), np.arange(2 * len(table))
    machine = load_network(models, line.trained(), 1, 0, CPU)
    assert isinstance(machine, Linear)
    found = refit([machine], line.trained(), line.root / "clips", tmp_path / "encoded")
    settings = line.params.model.linear.model_copy(update={"layers": shared_layers([machine], [1, 2, 3], encoded.facts["width"])})
    expected = fit(vectors, target, every, every[: len(table)], [1, 2, 3], 3, settings).machine
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in found.state_dict().items())


@pytest.mark.parametrize(
    ("read", "layers"), [([[0], [1]], [1, 2]), ([[0], [0, 1], [1]], [1, 2]), ([[2], [2], [0]], [3]), ([[0], [1], [2]], [1, 2, 3])]
)
def test_a_refit_reads_the_layers_of_half_the_folds(read: list[list[int]], layers: list[int]) -> None:
    folds = []
    for places in read:
        machine = Linear(4 * len(places), 3)
        machine.columns.copy_(torch.cat([torch.arange(4 * place, 4 * place + 4) for place in places]))
        folds.append(machine)
    assert shared_layers(folds, [1, 2, 3], 2) == layers


def test_a_refit_needs_hidden_states_and_a_regression(line: Pipeline, models: Path, tmp_path: Path) -> None:
    settings = Export(model="refit", precision="float16")
    with pytest.raises(SerError, match="needs the clips and hidden states"):
        export(models, tmp_path / "demo", DEMO, None, settings, line.encoder, line.root / "clips")
    (tmp_path / "none").mkdir()
    store.write_facts(tmp_path / "none", None)
    with pytest.raises(SerError, match="no hidden states of tiny"):
        export(models, tmp_path / "demo", DEMO, None, settings, line.encoder, line.root / "clips", tmp_path / "none")
    with pytest.raises(ParamsError, match="refit fits a regression, and"):
        made.params(export__model="refit")


def test_without_the_encoder_nothing_is_exported(line: Pipeline, models: Path, tmp_path: Path) -> None:
    with pytest.raises(SerError, match="reads the encoder tiny, and none is given"):
        export(models, tmp_path / "demo", DEMO, None, Export(model="folds", precision="auto"))
    assert not (tmp_path / "demo").exists()


def test_prediction_imports_neither_torch_nor_transformers_nor_pandas(line: Pipeline, exported: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom ser.serving.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "heavy = {'torch', 'transformers', 'pandas', 'onnx', 'safetensors', 'sklearn', 'dvc'} & loaded\n"
        "assert not heavy, heavy\nassert 'onnxruntime' in sys.modules"
    )
    command = [sys.executable, "-c", code, "predict", str(line.recordings[2]), "--bundle", str(exported)]
    done = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    assert "2 regression(s); encoder tiny (licence unknown: a folder of one's own)" in done.stderr


@pytest.mark.parametrize(("name", "megabytes"), [("whisper-tiny.en", 13), ("whisper-base", 25)])
def test_real_encoders_are_small_and_exact(name: str, megabytes: int) -> None:
    if not (tiny.REAL / name / "model.safetensors").exists():
        pytest.skip(f"the real {name} is not on this machine")
    original: Any = frozen.load(tiny.REAL / name, [1, 2, 3])
    half, exact = to_onnx(original, "float16"), to_onnx(original, "float32")
    assert len(half) <= megabytes * 1_000_000
    mel = np.random.default_rng(0).normal(0, 0.5, (1, 80, 300)).astype(np.float32)
    found, truth = (onnxruntime.InferenceSession(model).run(None, {"mel": mel})[0] for model in (half, exact))
    with torch.inference_mode():
        np.testing.assert_allclose(truth, original.network(torch.from_numpy(mel)), atol=1e-3)
    assert np.abs(found - truth).max() < 0.01 * truth.std()


def test_the_real_encoder_gives_the_pipelines_own_probabilities(tmp_path: Path) -> None:
    if not (tiny.REAL / "whisper-tiny.en" / "model.safetensors").exists():
        pytest.skip("the real whisper-tiny.en is not on this machine")
    real = pipeline(tmp_path / "line", tiny.REAL / "whisper-tiny.en", "whisper-tiny.en", model__kind="linear")
    models = regressions(real, tmp_path / "models")
    found = real.export(models, tmp_path / "demo", "auto")
    agree(real, models, tmp_path / "demo", 1e-3)
    assert found.encoder is not None
    assert found.encoder.commercial == "yes"
    assert "Its licence: MIT; commercial use allowed" in (tmp_path / "demo" / "README.md").read_text()
    assert sum(path.stat().st_size for path in (tmp_path / "demo").iterdir()) <= 13_000_000
