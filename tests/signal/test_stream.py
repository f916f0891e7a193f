"""A recording in parts: a short one is what it always was, and of a long one little is in memory at once."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ser.params import load
from ser.signal import media
from ser.signal.audio import AudioError
from ser.signal.preprocessing import applied, prepare
from ser.signal.stream import parts

SETTINGS = load(Path(__file__).resolve().parents[2] / "params.yaml").preprocess
RATE = 16_000


def sound(seconds: float, rate: int = RATE, channels: int = 1) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    voice = 0.3 * np.sin(2 * np.pi * 150 * time) * (np.sin(2 * np.pi * 0.7 * time) > 0)
    noise = 0.001 * np.random.default_rng(0).standard_normal((len(time), channels))
    return np.asarray(voice[:, None] + noise)


def file(signal: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str = "PCM_16") -> io.BytesIO:
    out = io.BytesIO()
    sf.write(out, signal, rate, subtype, format=kind)
    out.seek(0)
    return out


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [(16_000, 1, "PCM_16"), (48_000, 2, "PCM_16"), (44_100, 1, "FLOAT"), (8_000, 3, "PCM_24")],
)
def test_a_short_recording_is_what_prepare_makes_of_it(rate: int, channels: int, subtype: str) -> None:
    data = file(sound(3, rate, channels), rate, subtype=subtype)
    (part,) = parts(data, SETTINGS)
    expected, found = prepare(data.getvalue(), SETTINGS), applied(part.pcm, part.speech, SETTINGS)
    np.testing.assert_array_equal(found.pcm, expected.pcm)
    assert (found.content, found.removed, found.source_seconds) == (expected.content, expected.removed, expected.source_seconds)


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2), (11_025, 1)])
def test_parts_follow_one_another_and_lose_nothing(rate: int, channels: int) -> None:
    found = list(parts(file(sound(10, rate, channels), rate), SETTINGS, seconds=3.0))
    assert [part.start for part in found] == pytest.approx([0, 3, 6, 9], abs=1e-3)
    assert sum(part.seconds for part in found) == pytest.approx(10, abs=1e-6)
    assert sum(len(part.pcm) for part in found) == pytest.approx(10 * RATE, abs=4)
    (whole,) = parts(file(sound(10, rate, channels), rate), SETTINGS)
    joined = np.concatenate([part.pcm for part in found])[: len(whole.pcm)]
    assert np.corrcoef(joined, whole.pcm[: len(joined)])[0, 1] > 0.999


@pytest.mark.parametrize(("seconds", "count"), [(3.0, 1), (3.001, 2), (6.0, 2)])
def test_the_ends_are_exact(seconds: float, count: int) -> None:
    assert len(list(parts(file(sound(seconds)), SETTINGS, seconds=3.0))) == count


def test_a_silent_part_is_a_problem_of_its_own() -> None:
    signal = sound(9)
    signal[3 * RATE : 6 * RATE] = 0
    found = list(parts(file(signal), SETTINGS, seconds=3.0))
    assert [part.problem is None for part in found] == [True, False, True]
    assert found[1].problem is not None
    assert found[1].problem.reason == "silent"


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "unreadable"), (b"RIFF", "unreadable"), (file(np.zeros((0, 1))).getvalue(), "empty"), (bytes(100), "unreadable")],
)
def test_what_is_no_recording_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(AudioError) as error:
        list(parts(io.BytesIO(data), SETTINGS))
    assert error.value.reason == reason


def test_the_limit_is_in_minutes() -> None:
    with pytest.raises(AudioError, match=r"too_long: longer than the 0.1 minutes"):
        list(parts(file(sound(6.1)), SETTINGS, minutes=0.1))
    assert list(parts(file(sound(6.0)), SETTINGS, minutes=0.1))
    reading = parts(file(sound(30)), SETTINGS, minutes=0.1, seconds=3.0)
    assert [part.start for part in itertools.islice(reading, 2)] == [0, 3]
    with pytest.raises(AudioError, match="too_long"):
        next(reading)


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "OPUS"), ("AIFF", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_24")])
def test_every_format_of_libsndfile_is_streamed(kind: str, subtype: str) -> None:
    found = list(parts(file(sound(7), kind=kind, subtype=subtype), SETTINGS, seconds=3.0))
    assert sum(part.seconds for part in found) == pytest.approx(7, abs=0.2)


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"\0\0\0\x20ftypM4A " + bytes(64), "MP4 or M4A"), (b"\x1aE\xdf\xa3" + bytes(64), "WebM"), (b"#!AMR\n" + bytes(64), "AMR")],
)
def test_without_the_extra_the_format_and_the_way_out_are_named(data: bytes, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "installed", lambda: False)
    with pytest.raises(AudioError) as error:
        list(parts(io.BytesIO(data), SETTINGS))
    assert says in str(error.value)
    assert "pip install 'ser[media]'" in str(error.value)
    assert "ffmpeg -i" in str(error.value)


@pytest.mark.parametrize("suffix", ["m4a", "webm", "mp4", "aac"])
def test_pyav_decodes_what_phones_and_browsers_record(suffix: str, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is optional: pip install 'ser[media]'")
    codec, name = ("libopus", "webm") if suffix == "webm" else ("aac", {"m4a": "mp4", "mp4": "mp4", "aac": "adts"}[suffix])
    signal = (sound(7, 48_000)[:, 0] * 32767).astype(np.int16)
    with av.open(tmp_path / f"x.{suffix}", "w", format=name) as out:
        track = out.add_stream(codec, rate=48_000)
        track.layout = "mono"
        frame = av.AudioFrame.from_ndarray(signal[None], "s16", "mono")
        frame.sample_rate = 48_000
        for packet in [*track.encode(frame), *track.encode(None)]:
            out.mux(packet)
    with (tmp_path / f"x.{suffix}").open("rb") as stream:
        found = list(parts(stream, SETTINGS, seconds=3.0))
    assert sum(part.seconds for part in found) == pytest.approx(7, abs=0.2)
    assert all(len(part.speech) for part in found[:2])
    data = (tmp_path / f"x.{suffix}").read_bytes()
    with pytest.raises(AudioError, match="unreadable"):
        list(parts(io.BytesIO(data[:40]), SETTINGS))
