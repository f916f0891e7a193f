"""Export and prediction: the bundle gives the pipeline's own probabilities, without torch, for any length, or says what is wrong."""

import csv
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import soundfile as sf
import torch
from safetensors.torch import save_file

import ser.serving.export.write
from ser import SerError
from ser.download import fetch
from ser.evaluation.adaptation import FEWEST, centred
from ser.evaluation.calibration import softmax_at
from ser.evaluation.result import Result
from ser.params import Params, load, parse
from ser.params.corpora import Joint, Synthetic
from ser.params.export import Export
from ser.params.model import FUSIONS
from ser.serving import bundle, cli
from ser.serving.arguments import recordings
from ser.serving.bundle import BundleError
from ser.serving.export.card import licence
from ser.serving.export.write import export, to_onnx
from ser.serving.graph import OPERATORS, operators
from ser.serving.heard import Heard
from ser.serving.predict import Predictor
from ser.serving.prediction import Prediction, centred_on_speaker
from ser.signal import clips, preprocessing
from ser.signal.preprocessing import Prepared
from ser.training.inference import Trained, describe, load_network, new_network, predict
from ser.views import extraction
from ser.views.features import widths
from ser.views.normalise import statistics
from ser.views.windows import windows
from tests.serving import small
from tests.views.test_features import store

ROOT = Path(__file__).parents[2]
DEMO = Synthetic(kind="synthetic", seed=5, speakers=3, sentences=1, repetitions=1)
CPU = torch.device("cpu")
PACKED = Export(model="folds", precision="auto")


def shrunken(normalise: str = "corpus", **model: Any) -> Params:
    """The real parameters with a small network, and windows so short that every clip has several."""
    values = load(ROOT / "params.yaml").model_dump()
    values["corpora"]["demo"]["source"] = DEMO.model_dump()
    values["features"] |= {"normalise": normalise, "copies": None}
    values["train"]["max_seconds"] = 1.0
    values["model"]["cnn"]["channels"] = [4 for _ in values["model"]["cnn"]["channels"]]
    values["model"]["transformer"]["layers"] = 1
    values["model"] |= model
    return parse(values)


def trained_of(params: Params, folds: list[int], seeds: list[int]) -> Trained:
    classes = params.corpora["demo"].labels.classes
    sections = {"preprocess": params.preprocess, "features": params.features, "model": params.model, "train": params.train}
    return Trained(corpus="demo", classes=classes, folds=folds, seeds=seeds, notes={}, **sections)


def write_models(folder: Path, trained: Trained) -> None:
    """Untrained networks, each with weights and statistics of its own: what matters here is that they differ and say something."""
    folder.mkdir(parents=True, exist_ok=True)
    for fold in trained.folds:
        for seed in trained.seeds:
            torch.manual_seed(100 * fold + seed)
            network = new_network(trained)
            for name, buffer in network.named_buffers():
                buffer.copy_(torch.rand_like(buffer) + (0.5 if "scale" in name or "var" in name else 0.0))
            network.get_buffer("mean_log_mel").sub_(50.0).mul_(1.0)
            network.get_buffer("scale_log_mel").mul_(20.0)
            network.get_buffer("scale_mfcc").mul_(40.0)
            network.classifier.weight.data.mul_(4.0)  # far from uniform
            save_file(network.state_dict(), folder / f"fold{fold}-seed{seed}.safetensors")
    trained.write(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline up to the features, by its real code, on a small demo; and an export of two folds."""
    root = tmp_path_factory.mktemp("pipeline")
    params = shrunken()
    corpus = params.corpora["demo"]
    fetch.fetch("demo", corpus, root / "raw", mirror=None, cache=root / "cache")
    preprocessing.build("demo", corpus, root / "raw/demo", root / "clips", params.preprocess, params.runtime)
    extraction.build(root / "clips", root / "features", params.preprocess.sample_rate, params.features, params.runtime)
    with zipfile.ZipFile(root / "raw/demo/demo.zip") as packed:
        packed.extractall(root / "recordings")
    write_models(root / "models", trained_of(params, [1, 2], [0]))
    export(root / "models", root / "exports" / "demo", DEMO, None, PACKED)
    return root


@pytest.fixture(scope="module")
def predictor(made: Path) -> Predictor:
    return Predictor(made / "exports" / "demo")


def pipeline_probabilities(root: Path, models: str) -> pd.DataFrame:
    """What ``evaluate`` writes for all clips, every one of them in the test part of both folds."""
    table = clips.read_table(root / "clips")
    assignment = pd.concat([pd.DataFrame({"clip": table["clip"], "fold": fold, "part": "test"}) for fold in (1, 2)])
    return predict(root / models, root / "features", table, assignment, CPU)


def networks_of(predictor: Predictor, root: Path, clip: str, speaker: Any = None) -> np.ndarray:
    return predictor.networks(small.heard(predictor, root / "recordings" / clip), speaker)


def test_recordings_get_the_pipelines_own_probabilities(made: Path, predictor: Predictor) -> None:
    expected = pipeline_probabilities(made, "models")
    assert len(expected) == 2 * 18
    columns = [f"p_{name}" for name in predictor.bundle.classes]
    for clip, rows in expected.groupby("clip"):
        found = networks_of(predictor, made, str(clip))
        np.testing.assert_allclose(found, rows.sort_values("fold")[columns].to_numpy(), atol=1e-4)
    spread = expected.groupby("fold")[columns].mean()
    assert np.abs(spread.loc[1] - spread.loc[2]).max() > 0.01  # the folds are different networks, so their order was tested


def test_the_graph_computes_each_network_once(made: Path) -> None:
    graph = onnx.load(made / "exports/demo/model.onnx").graph
    network = new_network(describe(made / "models"))
    convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in network.modules())
    assert sum(node.op_type == "Conv" for node in graph.node) == 2 * convolutions > 0


def test_a_full_disk_is_not_hidden_by_the_exporter(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch takes any error for one of its own and asks for a report; a stage has a message for this one."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/torch")

    monkeypatch.setattr(torch.export, "export", full)
    with pytest.raises(OSError, match="/full/torch") as told:
        to_onnx([new_network(describe(made / "models"))])
    assert told.value.errno == errno.ENOSPC


@pytest.mark.parametrize("normalise", ["speaker", "clip"])
def test_other_normalisations_agree_with_the_pipeline_too(
    made: Path, normalise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = f"models-{normalise}"
    write_models(made / models, trained_of(shrunken(normalise), [1, 2], [0]))
    monkeypatch.setattr(
        ser.serving.export.write, "to_onnx", lambda networks: (made / "exports" / "demo" / "model.onnx").read_bytes()
    )  # the same networks
    export(made / models, tmp_path / normalise, DEMO, None, PACKED)
    predictor = Predictor(tmp_path / normalise)
    expected = pipeline_probabilities(made, models)
    table = clips.read_table(made / "clips").set_index("clip")
    columns = [f"p_{name}" for name in predictor.bundle.classes]
    for speaker in sorted(table["speaker"].unique()):
        own = table.index[table["speaker"] == speaker]
        files = [made / "recordings" / clip for clip in own]
        for clip, prediction in zip(own, small.files(predictor, files), strict=True):  # one speaker's at once
            rows = expected[expected["clip"] == clip].sort_values("fold")[columns].to_numpy()
            np.testing.assert_allclose([prediction.probabilities[name] for name in predictor.bundle.classes], rows.mean(0), atol=1e-4)


def test_speaker_normalisation_without_a_speaker_is_an_error(made: Path) -> None:
    predictor = Predictor(made / "exports" / "demo")
    predictor.bundle = predictor.bundle.model_copy(
        update={"features": predictor.bundle.features.model_copy(update={"normalise": "speaker"})}
    )
    with pytest.raises(ValueError, match="statistics of the speaker's clips"):
        networks_of(predictor, made, clips.read_table(made / "clips")["clip"].iloc[0])


def check_lengths(networks: list[Any], model: bytes) -> None:
    """The graph's probabilities and attention are the networks' own, and padding changes neither."""
    assert operators(model) <= OPERATORS
    session = onnxruntime.InferenceSession(model)
    rows = networks[0].widths
    assert [value.name for value in session.get_inputs()] == [*rows, "lengths"]
    rng = np.random.default_rng(0)
    for lengths in ([1], [7], [250], [61, 17, 3], [400, 399, 1, 128, 2]):
        views = {view: rng.normal(-20, 20, (len(lengths), max(lengths), count)).astype(np.float32) for view, count in rows.items()}
        counts = np.array(lengths, dtype=np.int64)
        found, *looked = session.run(None, {**views, "lengths": counts})
        with torch.no_grad():
            inputs = {view: torch.from_numpy(values) for view, values in views.items()}, torch.from_numpy(counts)
            expected = [network(*inputs).softmax(1).numpy() for network in networks]
            sides = [network.attention(*inputs) for network in networks]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert [value.name for value in session.get_outputs()][1:] == [f"attention_{side}" for side in sides[0]]
        for side, weights in zip(sides[0], looked, strict=True):
            np.testing.assert_allclose(weights, np.stack([one[side].numpy() for one in sides]), atol=1e-5)
            assert not weights[:, np.arange(max(lengths)) >= counts[:, None]].any()
        for clip, length in enumerate(lengths):  # padding changes nothing
            alone = {view: values[clip, None, :length] for view, values in views.items()} | {"lengths": counts[clip : clip + 1]}
            np.testing.assert_allclose(session.run(None, alone)[0][:, 0], found[:, clip], atol=1e-5)


def some_networks(params: Params, count: int) -> list[Any]:
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(new_network(trained_of(params, [1], [0])).eval())
        made[-1].classifier.weight.data.mul_(4.0)
    return made


def test_any_length_and_padding_through_onnx(made: Path) -> None:
    trained = describe(made / "models")
    model = (made / "exports" / "demo" / "model.onnx").read_bytes()
    check_lengths([load_network(made / "models", trained, fold, 0, CPU) for fold in (1, 2)], model)
    graph = onnx.load_from_string(model)
    assert str(ROOT).encode() not in model
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_every_fusion_through_onnx(fusion: str) -> None:
    networks = some_networks(shrunken(fusion=fusion), 2)
    check_lengths(networks, to_onnx(networks))


@pytest.mark.slow
@pytest.mark.parametrize("branches", [["transformer"], ["log_mel_cnn"], ["mfcc_cnn", "transformer"], ["log_mel_cnn", "mfcc_cnn"]])
def test_every_choice_of_branches_through_onnx(branches: list[str]) -> None:
    networks = some_networks(shrunken(branches=branches), 2)
    check_lengths(networks, to_onnx(networks))


def evaluated(method: str = "temperature") -> Result:
    """The committed result of the demo with scores and temperatures of its own."""
    values = json.loads((ROOT / "metrics/corpora/demo.json").read_text())
    values |= {"ua": 0.61, "wa": 0.62, "macro_f1": 0.6885}
    values["ci"]["ua"] = [0.5, 0.7]
    values["calibration"]["method"] = method
    values["calibration"]["temperatures"] = [
        {"fold": 1, "seed": 0, "temperature": 2.0, "valid_clips": 18},
        {"fold": 2, "seed": 0, "temperature": None, "valid_clips": 0},
    ]
    return Result.model_validate(values)


def test_temperatures_and_scores_travel_with_the_bundle(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ser.serving.export.write, "to_onnx", lambda networks: (made / "exports" / "demo" / "model.onnx").read_bytes())
    facts = export(made / "models", tmp_path / "demo", DEMO, evaluated(), PACKED)
    predictor = Predictor(tmp_path / "demo")
    assert predictor.bundle == facts
    plain = export(made / "models", tmp_path / "plain", DEMO, evaluated("none"), PACKED)
    assert [member.temperature for member in plain.networks] == [None, None]
    assert [member.temperature for member in facts.networks] == [2.0, None]
    rows = np.array([[0.7, 0.2, 0.1, 0.0, 0.0, 0.0], [0.1, 0.3, 0.1, 0.3, 0.1, 0.1]])
    np.testing.assert_allclose(predictor.average(rows), (softmax_at(rows[:1], 2.0)[0] + rows[1]) / 2)
    card = (tmp_path / "demo" / "README.md").read_text()
    assert "**synthetic: not a result about human emotion**" in card
    assert "UA 61.0% (95% interval by speaker 50.0% to 70.0%)" in card
    assert "macro-F1 68.9% on 144 clips" in card
    assert "no test speaker was heard in training" in card
    assert "Classes: neutral, happy, sad, angry, fearful, surprised." in card


@pytest.mark.slow
def test_the_stage_writes_the_same_bundle_in_another_process(made: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "demo").symlink_to(made / "models")
    clips = store(tmp_path / "data" / "clips" / "demo", [8000, 12_000])  # what is typical of the training clips is in the bundle
    export(made / "models", tmp_path / "here" / "demo", DEMO, None, PACKED, None, clips)
    command = [sys.executable, "-m", "stages.export", "--dataset", "demo"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert done.stdout == "exports/demo: 2 network(s); try `ser predict RECORDING --bundle exports/demo`\n"
    assert done.stderr == ""
    for name in ("model.onnx", "bundle.json", "README.md"):
        assert (tmp_path / "exports" / "demo" / name).read_bytes() == (tmp_path / "here" / "demo" / name).read_bytes()
    assert "Not evaluated." in (tmp_path / "exports" / "demo" / "README.md").read_text()


def test_the_stage_without_models_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    command = [sys.executable, "-m", "stages.export", "--dataset", "demo"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: models/demo/model.json not found: run `dvc repro train@demo` first\n"
    assert not (tmp_path / "exports").exists()


def test_licences_are_named() -> None:
    corpora = load(ROOT / "params.yaml").corpora
    assert "CC BY-NC-SA 4.0" in licence("ravdess", corpora["ravdess"].source)
    assert "espeak" in licence("demo", corpora["demo"].source)
    assert licence("folder", corpora["folder"].source) == "the user's own recordings"
    assert "ravdess: CC BY-NC-SA" in licence("joint", Joint(kind="joint", members=["demo", "ravdess"]))


def test_the_svm_baseline_is_described_and_not_exported(made: Path, tmp_path: Path) -> None:
    trained_of(shrunken(kind="svm"), [1], [0]).write(_new(tmp_path / "models"))
    export(tmp_path / "models", tmp_path / "exports" / "demo", DEMO, None, PACKED)
    assert not (tmp_path / "exports" / "demo" / "model.onnx").exists()
    with pytest.raises(BundleError, match=r"holds no network .*svm"):
        Predictor(tmp_path / "exports" / "demo")


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def run_ser(*arguments: str | Path, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ser.serving.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | environment)


def first_recording(made: Path) -> Path:
    return min((made / "recordings").rglob("*.flac"))


def test_nothing_is_imported_that_takes_long_and_is_not_needed(made: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom ser.serving.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'dvc', 'librosa', 'numba', 'sklearn', 'matplotlib'} & {name.partition('.')[0] for name in sys.modules}\n"
        "heavy |= {'scipy.optimize', 'scipy.signal', 'scipy.stats'} & sys.modules.keys()\n"
        "assert not heavy, heavy\nassert 'onnxruntime' in sys.modules"
    )
    command = [sys.executable, "-c", code, "predict", str(first_recording(made)), "--bundle", str(made / "exports" / "demo")]
    subprocess.run(command, check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)


@pytest.mark.parametrize("word", ["predict", "python"])
def test_nobody_is_told_that_a_model_was_used(tmp_path: Path, word: str) -> None:
    """onnxruntime reports its use to its maker unless it is told not to, and begins with a number for the device in the cache."""
    folder, recording = small.write(tmp_path / "made"), tmp_path / "x.wav"
    recording.write_bytes(small.wav(small.sound(1)).read())
    said = {"predict": ["-m", "ser", "predict", str(recording), "--bundle", str(folder)]}
    said["python"] = ["-c", f"from ser import load; load({str(folder)!r}).predict({str(recording)!r})"]
    others = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *said[word]], check=True, cwd=tmp_path, env=others | home, capture_output=True)
    assert [path.name for path in tmp_path.rglob("*Microsoft*")] == []


def test_table_of_a_recording(made: Path) -> None:
    recording = first_recording(made)
    done = run_ser("predict", "--bundle", "exports/demo", recording, cwd=made)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    seconds = sf.info(recording).duration
    assert lines[0].startswith(f"{recording}  {seconds:.1f} s, ")
    shares = [float(line.split()[-1].rstrip("%")) for line in lines[1:]]
    assert len(shares) == 6
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.4)
    assert {line.split()[0] for line in lines[1:]} == {"neutral", "happy", "sad", "angry", "fearful", "surprised"}
    assert all(line.count("█") == round(24 * share / 100) for line, share in zip(lines[1:], shares, strict=True))
    assert "exports/demo: demo, 2 network(s); synthetic: not a result about human emotion" in done.stderr


def test_a_terminal_that_has_no_letters_for_it_gets_them_written_out(made: Path) -> None:
    recording = made / "größe.flac"
    shutil.copy(first_recording(made), recording)
    done = run_ser("predict", "--bundle", "exports/demo", recording, cwd=made, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0)
    assert "gr\\xf6\\xdfe.flac" in done.stdout
    assert "\\u2588" in done.stdout


def test_csv_and_json_agree(made: Path) -> None:
    folder = first_recording(made).parent
    as_csv, as_json = (run_ser("predict", "--bundle", "exports/demo", folder, form, cwd=made) for form in ("--csv", "--json"))
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    facts = json.loads(as_json.stdout)
    assert facts["bundle"]["notice"] == "synthetic: not a result about human emotion"
    assert [row["path"] for row in rows] == sorted(map(str, folder.glob("*.flac")))
    for row, entry in zip(rows, facts["predictions"], strict=True):
        assert row["path"] == entry["path"]
        assert row["emotion"] == entry["emotion"] == max(entry["probabilities"], key=entry["probabilities"].get)
        assert row["no_speech"] == "false"
        for name, p in entry["probabilities"].items():
            assert float(row[f"p_{name}"]) == pytest.approx(p, abs=2e-6)


def test_recordings_of_one_speaker_are_judged_against_each_other(made: Path) -> None:
    folder = made / "recordings"
    alone, together = (
        json.loads(run_ser("predict", "--bundle", "exports/demo", folder, "--json", *how, cwd=made).stdout)["predictions"]
        for how in ([], ["--one-speaker"])
    )
    assert len(alone) >= FEWEST
    p, adapted = (np.array([list(entry["probabilities"].values()) for entry in entries]) for entries in (alone, together))
    assert adapted == pytest.approx(centred(p, np.zeros(len(p))), abs=1e-5)
    assert [entry["path"] for entry in together] == [entry["path"] for entry in alone]


def test_one_speaker_needs_more_than_one_recording(made: Path) -> None:
    done = run_ser("predict", "--bundle", "exports/demo", first_recording(made), "--one-speaker", cwd=made)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: --one-speaker needs at least 10 usable recordings; found 1"
    assert done.stdout == ""


def test_what_cannot_be_judged_is_left_out_of_the_speakers_mean() -> None:
    random = np.random.default_rng(0)
    judged = [Prediction(str(k), dict(zip("ab", p, strict=True))) for k, p in enumerate(random.dirichlet([1, 1], FEWEST).tolist())]
    broken = Prediction("broken", {}, problem="empty")
    unknown, average = np.zeros(2), np.log([0.9, 0.1])
    found = centred_on_speaker([*judged[:3], broken, *judged[3:]], unknown)
    assert found[3] is broken
    assert found[:3] + found[4:] == centred_on_speaker(judged, unknown)
    logs = np.log([[*one.probabilities.values()] for one in centred_on_speaker(judged, average)]).mean(axis=0)
    assert logs[0] - logs[1] == pytest.approx(np.log(9))  # the mean is that of the average clip
    with pytest.raises(SerError, match="at least 10 usable recordings; found 9"):
        centred_on_speaker([*judged[1:], broken], unknown)


def write(path: Path, signal: np.ndarray, rate: int, **how: str) -> Path:
    sf.write(path, signal, rate, **how)
    return path


def test_any_format_rate_and_channels(made: Path, predictor: Predictor, tmp_path: Path) -> None:
    signal, rate = sf.read(first_recording(made))
    files = [
        write(tmp_path / "a.wav", signal, rate),
        write(tmp_path / "b.ogg", signal, rate, format="OGG", subtype="VORBIS"),
        write(tmp_path / "c.mp3", signal, rate, format="MP3", subtype="MPEG_LAYER_III"),
        write(tmp_path / "d.wav", np.stack([signal, signal], axis=1), rate, subtype="FLOAT"),
        write(tmp_path / "e.bin", signal, rate, format="FLAC"),
    ]
    found = [[*prediction.probabilities.values()] for prediction in small.files(predictor, files)]
    assert all(sum(p) == pytest.approx(1, abs=1e-5) for p in found)
    np.testing.assert_allclose(found[3], found[0], atol=1e-4)
    np.testing.assert_allclose(found[4], found[0], atol=1e-6)
    assert small.heard(predictor, files[1]).prepared.source_seconds == pytest.approx(len(signal) / rate, abs=0.01)


def test_a_long_recording_is_the_mean_of_its_windows(predictor: Predictor) -> None:
    frames, longest = 10 * predictor.bundle.max_frames, predictor.bundle.max_frames
    rng = np.random.default_rng(0)
    rows = widths(predictor.bundle.features)
    views = {"log_mel": rng.normal(-40, 20, (frames, rows["log_mel"])).astype(np.float16)}
    views["mfcc"] = rng.normal(0, 40, (frames, rows["mfcc"])).astype(np.float16)
    parts = [
        predictor.networks(heard({name: values[start : start + longest] for name, values in views.items()}, predictor))
        for start in range(0, frames, longest)
    ]
    np.testing.assert_allclose(predictor.networks(heard(views, predictor)), np.mean(parts, axis=0), atol=1e-5)


def test_attention_of_a_clip_is_that_of_its_windows(predictor: Predictor, made: Path) -> None:
    assert predictor.bundle.attention == ["cnn", "transformer"]
    clip = small.heard(predictor, next(path for path in sorted((made / "recordings").rglob("*")) if path.is_file()))
    frames, longest = len(clip.views["log_mel"]), predictor.bundle.max_frames
    _, first, _ = windows(np.array([frames]), longest)
    assert len(first) > 2
    parts = [heard({name: values[start : start + longest] for name, values in clip.views.items()}, predictor) for start in first]
    for side, weights in predictor.attention(clip).items():
        expected = np.zeros(frames)
        for start, part in zip(first, parts, strict=True):
            expected[start : start + longest] += predictor.attention(part)[side] / len(parts)
        assert weights.sum() == pytest.approx(1)
        assert weights.std() > 0
        np.testing.assert_allclose(weights, expected, atol=1e-6)


def test_a_graph_that_gives_less_than_its_facts_say_is_refused(tmp_path: Path) -> None:
    folder = small.write(tmp_path / "made", attention=["cnn"])
    facts = bundle.read(folder)
    (folder / bundle.FACTS).write_text(bundle.sealed(facts.model_copy(update={"attention": ["cnn", "transformer"]})).model_dump_json())
    with pytest.raises(BundleError, match=r"attention_transformer"):
        Predictor(folder)


def heard(views: dict[str, np.ndarray], predictor: Predictor) -> Heard:
    """A recording of which only the views matter."""
    samples = (len(views["log_mel"]) - 1) * predictor.bundle.features.frames.hop_length + 1
    return Heard(Prepared(np.zeros(samples, dtype=np.int16), 1.0, 0.0, False, 0.0, ""), views)


def test_a_recording_without_speech_says_so(made: Path, tmp_path: Path) -> None:
    click = write(tmp_path / "click.wav", np.r_[np.zeros(8000), 0.5, np.zeros(7999)], 16000)
    done = run_ser("predict", click, "--bundle", made / "exports" / "demo", cwd=tmp_path)
    assert done.returncode == 0
    assert "no speech found: all of it was judged" in done.stdout


def test_a_damaged_recording_is_judged_with_a_warning(made: Path, predictor: Predictor, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.wav", 0.1 * np.random.default_rng(0).normal(size=32000), 16000)
    half = tmp_path / "half.wav"
    half.write_bytes(whole.read_bytes()[:32044])
    found = {Path(one.path).name: one for one in small.files(predictor, [whole, half])}
    assert found["whole.wav"].damage == ""
    assert found["half.wav"].damage == "1.00 of 2.00 s could be read: it ends before the size in its header"
    assert found["half.wav"].probabilities
    done = run_ser("predict", half, "--bundle", made / "exports/demo", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert f"warning: {half}: damaged: 1.00 of 2.00 s could be read" in done.stderr
    (one,) = json.loads(done.stdout)["predictions"]
    assert one["warnings"][0].startswith("damaged: 1.00 of 2.00 s")


def test_what_cannot_be_read_is_named_and_the_rest_is_judged(made: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "empty.mp3").write_bytes(b"")
    write(tmp_path / "short.wav", np.ones(10) / 2, 16000)
    write(tmp_path / "zeros.wav", np.zeros(16000), 16000)
    good = write(tmp_path / "zz.flac", *sf.read(first_recording(made)))
    done = run_ser("predict", tmp_path, "--csv", "--bundle", made / "exports" / "demo", cwd=tmp_path)
    assert done.returncode == 1
    rows = {Path(row["path"]).name: row for row in csv.DictReader(io.StringIO(done.stdout))}
    problems = {name: row["problem"].partition(":")[0] for name, row in rows.items()}
    assert problems == {"empty.mp3": "unreadable", "short.wav": "too_short", "text.wav": "unreadable", "zeros.wav": "silent", "zz.flac": ""}
    assert rows[good.name]["emotion"]
    assert rows["text.wav"]["emotion"] == rows["text.wav"]["p_sad"] == ""
    assert done.stderr.count("error: ") == 4
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "bundle.json").unlink(), "is not an exported model .*: `ser bundles` lists those there are"),
        (lambda folder: (folder / "model.onnx").unlink(), "model.onnx not found"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"x"), "does not belong to its bundle.json"),
        (lambda folder: (folder / "bundle.json").write_text("{}"), r"cannot be used \(version: Field required\)"),
        (lambda folder: (folder / "bundle.json").write_text("["), "cannot be used"),
        (lambda folder: edit(folder, version=3), r"cannot be used \(version: .*export it again"),
        (lambda folder: edit(folder, more=1), "Extra inputs are not permitted"),
    ],
)
def test_a_broken_bundle_says_what_to_do(made: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    folder = _new(tmp_path / "demo")
    for path in (made / "exports" / "demo").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    spoil(folder)
    with pytest.raises(BundleError, match=message):
        Predictor(folder)


def edit(folder: Path, **changes: Any) -> None:
    facts = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(facts | changes))


def reseal(folder: Path, **changes: Any) -> None:
    """Change facts and make their checksum good again, as whoever knows it would."""
    facts = json.loads((folder / "bundle.json").read_text()) | changes
    edit(folder, **changes, facts_sha256=bundle.checksum(facts))


def test_a_model_that_is_no_onnx_says_so(made: Path, tmp_path: Path) -> None:
    folder = _new(tmp_path / "demo")
    (folder / "bundle.json").write_bytes((made / "exports" / "demo" / "bundle.json").read_bytes())
    (folder / "model.onnx").write_bytes(b"x")
    reseal(folder, model_sha256="2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")
    with pytest.raises(BundleError, match=r"model.onnx is not an ONNX model \(.*\): export the bundle again"):
        Predictor(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.wav"], "error: nowhere.wav: no such file or folder"),
        (["."], "error: .: no recording in this folder"),
        (["a.wav", "--bundle", "b"], "error: b is not an exported model"),
        (["a.wav", "--csv", "--json"], "not allowed with argument"),
        ([], "the following arguments are required: FILE"),
    ],
)
def test_wrong_arguments_end_in_one_message(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[:1] == ["a.wav"]:
        write(tmp_path / "a.wav", np.zeros(100), 16000)
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", *arguments])
    assert end.value.code not in (0, None)
    assert re.search(message, f"{end.value.code}\n{capsys.readouterr().err}")


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    for name in ("b/2.wav", "b/1.FLAC", "a.txt", "b/c/3.mp3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    inside = [str(tmp_path / name) for name in ("b/1.FLAC", "b/2.wav", "b/c/3.mp3")]
    assert recordings([str(tmp_path / "a.txt"), str(tmp_path)]) == [str(tmp_path / "a.txt"), *inside]
    with pytest.raises(SerError, match="no recording in this folder"):
        recordings([str(_new(tmp_path / "d"))])


def test_nothing_is_predicted_where_there_is_a_problem() -> None:
    assert Prediction("a", {}, problem="unreadable").emotion == ""
    assert Prediction("a", {"sad": 0.2, "angry": 0.8}).emotion == "angry"


def test_statistics_over_windows_are_those_of_one_array() -> None:
    """Why clips of a speaker may be normalised window by window."""
    frames = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    own = statistics(frames)
    np.testing.assert_array_equal(own.apply(np.stack([frames[:15], frames[15:]])).reshape(30, 4), own.apply(frames))
