"""The Python call: paths, samples, lists, iterators and threads, all with the command's own answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

import ser
from ser import load
from ser.serving.predict import Predictor
from ser.serving.prediction import Prediction
from ser.serving.recogniser import Recogniser
from ser.signal.audio import AudioError
from tests.serving import small

RATE = 16_000


@pytest.fixture(scope="module")
def model(folder: Path) -> Recogniser:
    return load(folder)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    sf.write(tmp_path / "x.wav", small.sound(), RATE, "PCM_16")
    return tmp_path / "x.wav"


def shares(prediction: Prediction) -> list[float]:
    return list(prediction.probabilities.values())


def test_a_file_gets_the_commands_own_answer(model: Recogniser, folder: Path, file: Path) -> None:
    found = model.predict(str(file))
    assert found == next(small.files(Predictor(folder), [file]))
    assert found == model.predict(file)
    assert list(found.probabilities) == model.classes == small.CLASSES
    assert found.emotion == max(found.probabilities, key=lambda name: found.probabilities[name])
    assert sum(shares(found)) == pytest.approx(1)
    assert max(shares(found)) > 0.4  # it does tell something
    assert found.seconds == pytest.approx(2.5)


def test_the_table_lists_the_most_probable_first() -> None:
    table = Prediction("a", {"sad": 0.25, "happy": 0.75}).table()
    assert table == f"happy  {'█' * 18}{'·' * 6}  75.0%\nsad    {'█' * 6}{'·' * 18}  25.0%"
    assert Prediction("a", {}, problem="silent: all zeros").table() == "silent: all zeros"


def test_samples_are_judged_as_the_file_that_holds_them(model: Recogniser, file: Path) -> None:
    expected = shares(model.predict(file))
    whole, _ = sf.read(file, dtype="int16")
    assert shares(model.predict(whole, RATE)) == expected
    wave, _ = sf.read(file, dtype="float64")
    for samples in (wave, wave.astype(np.float32), wave[:, None], np.stack([wave, wave], axis=1), wave[::-1][::-1]):
        assert shares(model.predict(samples, RATE)) == pytest.approx(expected, abs=1e-6)
    stereo = np.stack([whole, whole], axis=1)
    assert shares(model.predict(stereo, RATE)) == pytest.approx(expected, abs=1e-6)
    assert model.predict(whole, RATE).path == ""


def test_another_rate_is_resampled(model: Recogniser) -> None:
    high, low = (model.predict(small.sound(rate=rate), rate) for rate in (48_000, RATE))
    assert high.seconds == pytest.approx(low.seconds, abs=1e-3)
    assert shares(high) != shares(model.predict(small.sound(rate=48_000), RATE))


def test_a_list_gives_a_list_and_a_problem_leaves_the_others_alone(model: Recogniser, file: Path, tmp_path: Path) -> None:
    found = model.predict([file, tmp_path / "nowhere.wav", np.zeros(RATE), small.sound(seed=1)], RATE)
    assert isinstance(found, list)
    assert [bool(one.problem) for one in found] == [False, True, True, False]
    assert found[0] == model.predict(file)
    assert found[1].problem == "No such file or directory"
    assert found[2].problem.startswith("silent: ")
    assert model.predict([]) == []


def test_an_iterator_is_read_as_it_is_asked_for(model: Recogniser, file: Path) -> None:
    asked = []

    def recordings() -> Any:
        for number in range(3):
            asked.append(number)
            yield file

    found = model.predict(recordings())
    assert asked == []
    assert next(found) == model.predict(file)
    assert asked == [0]
    assert len(list(found)) == 2


def test_threads_share_a_model(model: Recogniser) -> None:
    waves = [small.sound(seed=seed) for seed in range(6)]
    alone = [model.predict(wave, RATE) for wave in waves]
    assert len({tuple(shares(one)) for one in alone}) == 6
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda wave: model.predict(wave, RATE), waves * 3)) == alone * 3


@pytest.mark.parametrize(
    ("recording", "rate", "kind", "message"),
    [
        (np.zeros(RATE), RATE, AudioError, "silent"),
        (np.zeros(0), RATE, AudioError, "empty: no samples"),
        (np.full(RATE, np.nan), RATE, AudioError, "nonfinite"),
        (np.ones(10) / 2, RATE, AudioError, "too_short"),
        (np.zeros(RATE), None, ValueError, "samples need a whole rate from 1000 to 768000 Hz"),
        (np.zeros(RATE), 10, ValueError, "sample_rate: found 10"),
        (np.zeros(RATE, dtype=np.int32), RATE, TypeError, "type int32; allowed: int16"),
        (np.zeros((2, RATE)), RATE, ValueError, r"shape \(2, 16000\); allowed: \(n,\) or \(n, channels\)"),
        (np.zeros((2, 2, 2)), RATE, ValueError, "shape"),
        (Path("nowhere.wav"), None, FileNotFoundError, "nowhere.wav"),
    ],
)
def test_a_single_recording_that_cannot_be_judged_raises(
    model: Recogniser, recording: Any, rate: int | None, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        model.predict(recording, rate)


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "folder", "", "a\0b", "\ud800"])
def test_what_is_no_regular_file_is_refused_at_once(
    model: Recogniser, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A pipe would block until somebody writes, and a device never ends."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("folder").mkdir()
    for ask in (model.predict, model.timeline):
        with pytest.raises(OSError, match=r"no regular file|a folder|No such file|no file can have this name"):
            ask(name)
    refused, judged = model.predict([name, file])
    assert refused.problem
    assert judged.emotion
    with pytest.raises(ser.SerError, match="found 0"):
        model.enroll([name] * 4)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (np.zeros(RATE, dtype=np.int32), "type int32"),
        (np.zeros((2, RATE)), "shape"),
        (np.zeros((2, 2, 2)), "shape"),
        (np.zeros(0), "no samples"),
    ],
)
def test_one_of_several_that_is_no_recording_leaves_the_others_alone(
    model: Recogniser, file: Path, wrong: np.ndarray, problem: str
) -> None:
    refused, judged = model.predict([wrong, file], RATE)
    assert problem in refused.problem
    assert judged == model.predict(file)
    without_rate, judged = model.predict([small.sound(), file])
    assert "samples need a whole rate" in without_rate.problem
    assert judged.emotion


@pytest.mark.parametrize(
    "numbers",
    [
        {"min_confidence": 2},
        {"min_confidence": -0.1},
        {"min_confidence": np.nan},
        {"max_minutes": np.nan},
        {"max_minutes": 0},
        {"max_minutes": np.inf},
    ],
)
def test_numbers_out_of_range_are_refused(folder: Path, numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(numbers))}: found"):
        load(folder, **numbers)


def test_names_of_another_type_are_refused(model: Recogniser, file: Path) -> None:
    with pytest.raises(TypeError, match="speaker: found 3; allowed: the name of an enrolled speaker, or a profile"):
        model.predict(file, speaker=3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="labels: found 1; allowed: names of emotions"):
        model.enroll([file] * 4, labels=["happy", None, 1, "sad"])  # type: ignore[list-item]


def test_a_rate_and_samples_of_other_types_of_the_same_value(model: Recogniser, file: Path) -> None:
    wave, _ = sf.read(file, dtype="int16")
    expected = model.predict(wave, RATE)
    assert model.predict(wave, float(RATE)) == expected  # type: ignore[call-overload]  # as librosa and torchaudio may give it
    assert model.predict(wave.astype(">i2"), RATE) == expected
    with pytest.raises(ValueError, match=r"sample_rate: found 16000.5; samples need a whole rate"):
        model.predict(wave, 16000.5)  # type: ignore[call-overload]


def test_with_speaker_normalisation_a_call_is_one_speaker(tmp_path: Path) -> None:
    features = small.facts(b"").features.model_copy(update={"normalise": "speaker"})
    model = load(small.write(tmp_path / "made", features=features))
    waves = [small.sound(seed=seed) for seed in range(3)]
    together, alone = model.predict(waves, RATE), [model.predict(wave, RATE) for wave in waves]
    assert shares(together[0]) != shares(alone[0])
    assert [shares(one) for one in model.predict(iter(waves), RATE)] == [shares(one) for one in together]


def test_without_a_name_the_only_bundle_is_taken(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load().bundle.corpus == "ravdess"  # the one in the package
    small.write(tmp_path / "exports" / "made")
    assert load().classes == small.CLASSES


def test_importing_ser_imports_nothing_else() -> None:
    code = (
        "import sys; import ser; from ser import SerError\n"
        "heavy = {'numpy', 'onnxruntime', 'pydantic'} & set(sys.modules); assert not heavy, heavy\n"
        "from ser import load; assert callable(load); assert 'onnxruntime' in sys.modules\n"
        "heavy = {'torch', 'transformers', 'pandas', 'dvc', 'onnx', 'sklearn', 'librosa'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = ser.lode


def test_the_documentation_runs_as_printed(tmp_path: Path) -> None:
    """All blocks of docs/python.md, one after the other, in a folder with two recordings and nothing else."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (small.ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 7
    for seed, name in enumerate(("x.wav", "y.wav")):
        sf.write(tmp_path / name, small.sound(seed=seed), RATE)
    environment = os.environ | {"PYTHONPATH": str(small.ROOT), "SER_SPEAKERS_DIR": str(tmp_path / "speakers")}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(load("ravdess").classes)  # the model that travels
    assert "silent: all zeros" in done.stdout
    assert "nowhere.wav No such file or directory" in done.stdout
