from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soxr
from fixtures.archives import voices
from hypothesis import given, settings
from hypothesis import strategies as st

from ser import SerError
from ser.params import load
from ser.params.preprocess import Vad
from ser.signal import vad

DEFAULT = load(Path(__file__).parents[2] / "params.yaml").preprocess.vad
HAS_SILERO = importlib.util.find_spec("silero_vad") is not None


def rules(**changes) -> Vad:
    """The project's own rules with changes."""
    return Vad.model_validate(DEFAULT.model_dump() | changes)


BARE = {"min_silence_ms": 0, "min_speech_ms": 0, "hangover_ms": 0, "padding_ms": 0}
"""No rules after the decisions."""


def voice(seconds: float, rate: int, pitch: float = 120.0, seed: int = 0) -> np.ndarray:
    """A buzz with two formants that opens and closes four times a second: enough of a voice for any detector."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    source = sum(np.sin(2 * np.pi * pitch * k * time + random.uniform(0, 6)) / k for k in range(1, int(min(rate / 2, 4000) / pitch)))
    formants = np.abs(np.sin(2 * np.pi * 350 * time)) + 0.5 * np.abs(np.sin(2 * np.pi * 1100 * time))
    opening = 0.55 - 0.45 * np.cos(2 * np.pi * 4 * time)
    signal = source * formants * opening
    return (0.4 * signal / np.abs(signal).max()).astype(np.float32)


def in_noise(seconds: tuple[float, float, float], rate: int, noise: float = 1e-4, seed: int = 0) -> np.ndarray:
    """Silence, voice, silence of these lengths, in faint noise."""
    parts = [np.zeros(int(seconds[0] * rate)), voice(seconds[1], rate), np.zeros(int(seconds[2] * rate))]
    signal = np.concatenate(parts)
    return (signal + noise * np.random.default_rng(seed).standard_normal(len(signal))).astype(np.float32)


@settings(max_examples=150)
@given(
    length=st.integers(1, 20_000),
    rate=st.sampled_from(vad.WEBRTC_RATES),
    kind=st.sampled_from(["noise", "zeros", "voice", "clipped", "one click"]),
    method=st.sampled_from(["webrtc", "energy", "none"]),
    keep=st.sampled_from(["trim", "concatenate", "mask"]),
    frame_ms=st.sampled_from([10, 20, 30]),
    times=st.tuples(*[st.sampled_from([0, 20, 200])] * 4),
    seed=st.integers(0, 99),
)
def test_segments_are_sorted_disjoint_and_within_the_signal(length, rate, kind, method, keep, frame_ms, times, seed):
    random = np.random.default_rng(seed)
    signal = {
        "noise": random.uniform(-0.1, 0.1, length),
        "zeros": np.zeros(length),
        "voice": np.resize(voice(0.5, rate), length),
        "clipped": np.sign(random.standard_normal(length)),
        "one click": np.eye(1, length, random.integers(length))[0],
    }[kind].astype(np.float32)
    names = ("hangover_ms", "min_speech_ms", "min_silence_ms", "padding_ms")
    chosen = rules(method=method, keep=keep, frame_ms=frame_ms, **dict(zip(names, times, strict=True)))
    found = vad.segments(signal, rate, chosen)
    assert found.dtype == np.int64
    assert found.shape == (len(found), 2)
    edges = found.ravel()
    assert (np.diff(edges) > 0).all()
    assert len(found) == 0 or (edges[0] >= 0 and edges[-1] <= length)
    kept = vad.keep(signal, found, keep)
    removed = vad.removed(found, length, keep)
    assert 1 <= len(kept) <= length
    assert 0 <= removed < 1
    if keep != "mask":
        assert len(kept) == pytest.approx(length * (1 - removed))
    np.testing.assert_array_equal(found, vad.segments(signal, rate, chosen))  # no memory from one signal to the next


@pytest.mark.parametrize("rate", vad.WEBRTC_RATES)
@pytest.mark.parametrize("method", ["webrtc", "energy"])
def test_speech_is_found_and_the_silence_around_it_is_not(method, rate):
    signal = in_noise((1.0, 1.0, 1.0), rate)
    found = vad.segments(signal, rate, rules(method=method))
    start, end = found[0, 0] / rate, found[-1, 1] / rate
    assert 0.8 < start <= 1.0
    assert 2.0 <= end < 2.5


def test_none_takes_everything_for_speech():
    signal = np.zeros(1000, dtype=np.float32)
    found = vad.segments(signal, 16000, rules(method="none"))
    np.testing.assert_array_equal(found, [[0, 1000]])
    assert vad.keep(signal, found, "trim") is not None
    assert vad.removed(found, 1000, "trim") == 0


@pytest.mark.parametrize("method", ["webrtc", "energy"])
def test_silence_holds_no_speech_and_is_kept_whole(method):
    signal = np.zeros(16000, dtype=np.float32)
    found = vad.segments(signal, 16000, rules(method=method))
    assert found.shape == (0, 2)
    for how in ("trim", "concatenate", "mask"):
        assert len(vad.keep(signal, found, how)) == 16000
        assert vad.removed(found, 16000, how) == 0


def test_frames_far_below_the_loudest_are_silence_for_webrtc_too():
    signal = in_noise((0.5, 1.0, 0.5), 16000, noise=1e-5)
    early = vad.segments(signal, 16000, rules(energy_db=90.0))[0, 0]
    late = vad.segments(signal, 16000, rules(energy_db=50.0))[0, 0]
    assert early < 0.2 * 16000  # the detector takes the first frames for speech until it knows the noise
    assert late > 0.3 * 16000


def test_rumble_is_not_loud():
    rate = 16000
    signal = in_noise((1.0, 1.0, 1.0), rate)
    time = np.arange(len(signal)) / rate
    rumble = (0.1 * np.sin(2 * np.pi * 10 * time) * (time > 2.3)).astype(np.float32)
    expected = vad.segments(signal, rate, rules(method="energy", energy_db=25.0))
    np.testing.assert_array_equal(vad.segments(signal + rumble, rate, rules(method="energy", energy_db=25.0)), expected)


def levels_by_definition(signal: np.ndarray, rate: int, frame: int, step: int) -> np.ndarray:
    padded = np.pad(signal, (0, -len(signal) % frame))
    reach = round(rate / 160 / step)
    far = np.pad(padded, reach * step)
    drift = [far[i : i + (2 * reach + 1) * step].mean() for i in range(0, len(padded), step)]
    steady = padded - np.repeat(drift, step)
    power = np.square(steady).reshape(-1, frame).mean(axis=1)
    return 10 * np.log10(power / power.max())


@pytest.mark.parametrize(
    ("rate", "frame", "step"), [(16000, 320, 20), (16000, 512, 16), (8000, 80, 10), (44100, 882, 49), (48000, 1440, 60)]
)
@pytest.mark.parametrize("length", [1, 100, 5000])
def test_levels_equal_their_definition(length, rate, frame, step):
    signal = np.random.default_rng(length).uniform(-1, 1, length) + 0.2
    np.testing.assert_allclose(vad.levels_db(signal, rate, frame), levels_by_definition(signal, rate, frame, step), atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize(("hertz", "least", "most"), [(5, -70, -35), (10, -70, -28), (100, -1.5, 2.5), (300, -1.5, 2.5), (3000, -1.5, 2.5)])
def test_levels_of_rumble_and_of_voice(rate, hertz, least, most):
    time = np.arange(rate) / rate
    reference = np.sin(2 * np.pi * 1000 * time)
    signal = np.concatenate([reference, np.zeros(rate), np.sin(2 * np.pi * hertz * time)])
    levels = vad.levels_db(signal, rate, rate // 50)
    assert least < levels[105:145].mean() < most


@pytest.mark.parametrize(
    ("pattern", "changes", "expected"),
    [  # one character per 10 ms frame at 8 kHz: 80 values
        ("..###..", BARE, [(2, 5)]),
        ("#.....#", BARE, [(0, 1), (6, 7)]),
        ("#######", BARE, [(0, 7)]),
        (".......", BARE, []),
        ("#.#.###", BARE | {"min_silence_ms": 20}, [(0, 7)]),
        ("#..#.##", BARE | {"min_silence_ms": 20}, [(0, 1), (3, 7)]),
        ("#..###.", BARE | {"min_speech_ms": 20}, [(3, 6)]),
        ("#.#....", BARE | {"min_speech_ms": 30}, []),
        ("#.#....", BARE | {"min_speech_ms": 30, "min_silence_ms": 20}, [(0, 3)]),
        ("..#....", BARE | {"hangover_ms": 20}, [(2, 5)]),
        ("..#....", BARE | {"padding_ms": 10}, [(1, 4)]),
        ("#.....#", BARE | {"padding_ms": 10}, [(0, 2), (5, 7)]),
        ("#..#..#", BARE | {"padding_ms": 10}, [(0, 7)]),
        ("#...#..", BARE | {"hangover_ms": 20, "padding_ms": 10}, [(0, 7)]),
        ("..#....", BARE | {"hangover_ms": 20, "min_speech_ms": 20}, []),  # what the rules add does not count as speech
    ],
)
def test_rules_after_the_decisions(monkeypatch, pattern, changes, expected):
    decisions = np.array([one == "#" for one in pattern])
    monkeypatch.setattr(vad, "webrtc_decisions", lambda *_: decisions)
    signal = np.random.default_rng(0).uniform(-1, 1, 80 * len(pattern))
    found = vad.segments(signal, 8000, rules(method="webrtc", frame_ms=10, energy_db=90.0, **changes))
    assert [tuple(one) for one in found // 80] == expected
    assert (found % 80 == 0).all()


def test_keeping():
    signal = np.arange(10)
    found = np.array([[2, 4], [6, 9]])
    np.testing.assert_array_equal(vad.keep(signal, found, "trim"), [2, 3, 4, 5, 6, 7, 8])
    np.testing.assert_array_equal(vad.keep(signal, found, "concatenate"), [2, 3, 6, 7, 8])
    np.testing.assert_array_equal(vad.keep(signal, found, "mask"), [0, 0, 2, 3, 0, 0, 6, 7, 8, 0])
    assert [vad.removed(found, 10, how) for how in ("trim", "concatenate", "mask")] == pytest.approx([0.3, 0.5, 0.5])


def test_more_aggressive_keeps_no_more():
    signal = in_noise((1.0, 1.0, 1.0), 16000, noise=3e-3)
    kept = [1 - vad.removed(vad.segments(signal, 16000, rules(aggressiveness=level)), len(signal), "mask") for level in range(4)]
    assert kept == sorted(kept, reverse=True)


def test_webrtc_refuses_other_rates_and_says_which_it_takes():
    with pytest.raises(SerError, match=r"8000, 16000, 32000, 48000 Hz, not 44100"):
        vad.segments(np.zeros(44100, dtype=np.float32), 44100, rules(method="webrtc"))
    assert len(vad.segments(voice(1, 44100), 44100, rules(method="energy"))) > 0


@pytest.mark.skipif(HAS_SILERO, reason="silero-vad is installed")
def test_silero_says_what_to_install():
    with pytest.raises(SerError, match="pip install 'silero-vad"):
        vad.segments(np.zeros(16000, dtype=np.float32), 16000, rules(method="silero"))


@pytest.mark.skipif(not HAS_SILERO, reason="silero-vad, an optional package, is not installed")
@pytest.mark.parametrize("rate", [8000, 16000, 32000, 48000])
def test_silero_finds_speech_and_not_silence(rate):
    spoken = soxr.resample(np.concatenate(voices()[:3]), 16000, rate)
    signal = np.concatenate([np.zeros(rate), spoken, np.zeros(rate)]).astype(np.float32)
    found = vad.segments(signal, rate, rules(method="silero"))
    assert len(found) > 0
    assert found[0, 0] > 0.8 * rate
    assert found[-1, 1] < rate + len(spoken) + 0.5 * rate
    assert len(vad.segments(signal[:rate], rate, rules(method="silero"))) == 0
