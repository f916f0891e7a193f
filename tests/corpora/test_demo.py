"""The demo corpus: same bytes however it is made, names that parse back, signals a recording could have."""

import importlib.util
import io
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ser import SerError
from ser.corpora import demo, espeak
from ser.corpora.expression import RULES, Expression, colour, perturb, room
from ser.corpora.labels import Recording
from ser.corpora.listing import labels
from ser.params import load
from ser.params.corpora import Synthetic
from ser.signal.preprocessing import prepare

ROOT = Path(__file__).parents[2]
SMALL = Synthetic(kind="synthetic", seed=3, speakers=2, sentences=2, repetitions=1)
OTHER = Synthetic(kind="synthetic", seed=4, speakers=3, sentences=1, repetitions=1)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "demo.zip"
    demo.write_archive(path, SMALL)
    return path


def clips(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as packed:
        return {name: soundfile.read(io.BytesIO(packed.read(name)), dtype="int16")[0] for name in packed.namelist()}


def emotion_of(member: str) -> str:
    label = labels("demo", member)
    assert isinstance(label, Recording)
    return label.emotion


def test_the_same_source_gives_the_same_bytes_twice_and_after_another(archive: Path, tmp_path: Path) -> None:
    demo.write_archive(tmp_path / "other.zip", OTHER)
    demo.write_archive(tmp_path / "again.zip", SMALL)
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    assert (tmp_path / "other.zip").read_bytes() != archive.read_bytes()


def test_another_process_gives_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ser.corpora import demo; from ser.params.corpora import Synthetic;"
        "demo.write_archive(Path(sys.argv[1]), Synthetic.model_validate_json(sys.argv[2]))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "there.zip", SMALL.model_dump_json()], check=True, cwd=tmp_path)
    assert (tmp_path / "there.zip").read_bytes() == archive.read_bytes()


def test_every_take_is_there_once_and_differs(archive: Path) -> None:
    signals = clips(archive)
    assert list(signals) == sorted(take.member for take in demo.takes(SMALL))
    assert len(signals) == 2 * 6 * 2
    assert len({signal.tobytes() for signal in signals.values()}) == len(signals)


def test_clips_are_sound_recordings(archive: Path) -> None:
    for name, signal in clips(archive).items():
        seconds = len(signal) / espeak.SAMPLE_RATE
        assert 1.0 < seconds < 6.0, name
        assert 300 < np.abs(signal.astype(int)).max() < 32700, name
        envelope = np.sqrt(np.mean(np.square(signal[: len(signal) // 441 * 441].reshape(-1, 441).astype(float)), axis=1))
        # a pause of ≥ 150 ms on each side, with a background that is not digital silence
        assert 0 < envelope[:7].max() < 0.25 * envelope.max(), name
        assert 0 < envelope[-7:].max() < 0.25 * envelope.max(), name


def test_emotions_sound_as_their_rules_say(tmp_path: Path) -> None:
    """Averages over speakers: anger louder and brighter than sadness, which is longer; fear is the fastest."""
    demo.write_archive(tmp_path / "demo.zip", Synthetic(kind="synthetic", seed=7, speakers=6, sentences=2, repetitions=1))
    loud: dict[str, list[float]] = {emotion: [] for emotion in RULES}
    bright: dict[str, list[float]] = {emotion: [] for emotion in RULES}
    seconds: dict[str, list[float]] = {emotion: [] for emotion in RULES}
    for name, signal in clips(tmp_path / "demo.zip").items():
        emotion = emotion_of(name)
        frequencies, power = scipy.signal.welch(signal.astype(float), espeak.SAMPLE_RATE, nperseg=1024)
        loud[emotion].append(10 * np.log10(power.sum()))
        bright[emotion].append(10 * np.log10(power[frequencies > 1000].sum() / power.sum()))
        seconds[emotion].append(len(signal) / espeak.SAMPLE_RATE)
    assert np.mean(loud["angry"]) > np.mean(loud["neutral"]) + 4 > np.mean(loud["sad"]) + 8
    assert np.mean(bright["angry"]) > np.mean(bright["neutral"]) + 2 > np.mean(bright["sad"]) + 4
    assert np.mean(seconds["sad"]) > np.mean(seconds["neutral"]) > np.mean(seconds["fearful"])


def test_names_round_trip_and_counts_are_balanced() -> None:
    source = load(ROOT / "params.yaml").corpora["demo"].source
    assert isinstance(source, Synthetic)
    found = [labels("demo", take.member) for take in demo.takes(source)]
    assert all(isinstance(label, Recording) for label in found)
    each = source.sentences * source.repetitions  # takes of one emotion by one speaker
    assert Counter(label.emotion for label in found) == dict.fromkeys(RULES, source.speakers * each)
    assert set(Counter(label.speaker for label in found).values()) == {6 * each}
    assert Counter(label.gender for label in found) == dict.fromkeys(["male", "female"], source.speakers * 3 * each)
    assert {label.intensity for label in found if label.emotion == "neutral"} == {"normal"}
    assert len(set(found)) == len(found) == source.speakers * 6 * each


def test_without_espeak_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SerError, match="pip install espeakng-loader"):
        demo.write_archive(tmp_path / "demo.zip", SMALL)
    assert not list(tmp_path.iterdir())


def test_a_voice_that_espeak_refuses_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_ACCENTS", ("no-such-language",))
    with pytest.raises(SerError, match=r"espeak-ng stopped with status 1: .*could not speak.*no-such-language"):
        demo.write_archive(tmp_path / "demo.zip", SMALL)
    assert not list(tmp_path.iterdir())


def test_nobody_else_imports_espeak() -> None:
    code = "import sys, ser.corpora.demo; assert 'espeakng_loader' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_expressions_add_up() -> None:
    assert Expression(rate=1, level=2).plus(Expression(level=3, pauses=1), 2) == Expression(rate=1, level=8, pauses=2)


@given(st.floats(0.8, 1.25), st.integers(0, 1000))
def test_a_shorter_tract_raises_every_frequency_and_shortens(tract: float, seed: int) -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(8000) / 16000)
    shifted = perturb(tone, 16000, tract, 0.0, np.random.default_rng(seed))
    assert len(shifted) == int(8000 / tract)
    spectrum = np.abs(np.fft.rfft(shifted * np.hanning(len(shifted))))
    assert np.argmax(spectrum) * 16000 / len(shifted) == pytest.approx(500 * tract, abs=4)


def test_tilt_is_in_decibels_per_octave_around_1_khz() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(16000) / 16000
    for frequency, gain in ((500, -3.0), (1000, 0.0), (4000, 6.0)):
        tone = np.sin(2 * np.pi * frequency * time)
        tilted = colour(tone, 16000, 3.0, 0.0, rng)
        assert 20 * np.log10(tilted.std() / tone.std()) == pytest.approx(gain, abs=0.05)


def test_breath_follows_the_speech() -> None:
    speech = np.r_[np.zeros(8000), np.sin(2 * np.pi * 500 * np.arange(8000) / 16000)]
    breathy = colour(speech, 16000, 0.0, 0.5, np.random.default_rng(0))
    assert breathy[:7000].std() < 1e-6
    assert (breathy - speech)[9000:].std() == pytest.approx(0.5 * 2 / np.pi, rel=0.05)


@pytest.mark.parametrize("hum", [0.0, 0.5])
def test_the_room_has_unit_power(hum: float) -> None:
    assert room(22050, 22050, hum, np.random.default_rng(0)).std() == pytest.approx(1.0, rel=0.02)


def test_voice_activity_detection_has_work(archive: Path) -> None:
    """Pauses of a quiet room are cut off; no clip is all pause."""
    settings = load(ROOT / "params.yaml").preprocess
    with zipfile.ZipFile(archive) as packed:
        found = [prepare(packed.read(name), settings) for name in packed.namelist()]
    assert 0.05 < np.mean([clip.removed for clip in found]) < 0.4
    assert max(clip.removed for clip in found) < 0.6
    assert not any(clip.no_speech for clip in found)
