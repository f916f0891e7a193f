from __future__ import annotations

import errno
import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ser.signal import audio
from ser.signal.audio import AudioError
from ser.signal.clips import to_int16

RATE = 16000


def wav(channels: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    sf.write(stream, channels, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def tone(seconds: float, hertz: float, rate: int) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def level_db(signal: np.ndarray) -> float:
    return float(10 * np.log10(np.square(signal, dtype=np.float64).mean() + 1e-30))


@settings(max_examples=150)
@given(
    length=st.integers(1, 3000),
    rate=st.integers(8000, 96000),
    channels=st.integers(1, 8),
    subtype=st.sampled_from(["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]),
    sample_rate=st.sampled_from([8000, 16000, 32000, 48000]),
    seed=st.integers(0, 2**16),
)
def test_any_length_rate_channels_and_type_become_mono_float_at_the_working_rate(length, rate, channels, subtype, sample_rate, seed):
    data = wav(np.random.default_rng(seed).uniform(-1, 1, (length, channels)), rate, subtype=subtype)
    expected = length * sample_rate / rate
    assume(expected >= 1)
    signal = audio.decode(data, sample_rate)
    assert signal.dtype == np.float32
    assert signal.ndim == 1
    assert abs(len(signal) - expected) <= 1
    assert np.abs(signal).max() <= 1


class Failing(io.BytesIO):
    """A stream on a disk that fails from a place on."""

    good = 0

    def read(self, size=-1):
        if self.tell() >= self.good:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(min(size, self.good - self.tell()))

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@pytest.mark.parametrize("good", [0, 0.5])
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_error_of_the_disk_is_no_end_of_the_recording(kind, good):
    data = wav(np.random.default_rng(0).uniform(-0.5, 0.5, 200_000), kind=kind)
    stream = Failing(data)
    stream.good = int(good * len(data))
    with pytest.raises(OSError, match="Input/output error"):
        list(audio.blocks(stream))


@pytest.mark.parametrize(("subtype", "step"), [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-23), ("FLOAT", 1e-7)])
def test_values_survive_the_type(subtype, step):
    signal = np.random.default_rng(0).uniform(-0.9, 0.9, 2000)
    np.testing.assert_allclose(audio.decode(wav(signal, subtype=subtype), RATE), signal, atol=step)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_content_decides_the_format(kind):
    signal = 0.5 * tone(1, 440, RATE)
    decoded = audio.decode(wav(signal, kind=kind), RATE)
    assert len(decoded) == pytest.approx(RATE, abs=1200)  # MP3 pads to its frames
    spectrum = np.abs(np.fft.rfft(decoded[4000:12000]))
    assert np.argmax(spectrum) * 2 == 440


@settings(max_examples=50)
@given(
    length=st.integers(1, 500),
    rate=st.sampled_from([8000, RATE, 44100]),
    channels=st.integers(1, 3),
    subtype=st.sampled_from(["PCM_U8", "PCM_16", "PCM_24", "FLOAT"]),
    seed=st.integers(0, 99),
)
def test_16_bit_is_what_decode_gives_rounded(length, rate, channels, subtype, seed):
    data = wav(np.random.default_rng(seed).uniform(-1.2, 1.2, (length, channels)), rate, subtype=subtype)
    assume(length * RATE >= rate)
    pcm = audio.to_pcm(*audio.read(data), RATE)
    assert pcm.dtype == np.int16
    np.testing.assert_array_equal(pcm, to_int16(audio.decode(data, RATE)))


def test_channels_are_averaged():
    left, right = tone(0.1, 300, RATE) * 0.5, tone(0.1, 500, RATE) * 0.25
    np.testing.assert_allclose(audio.decode(wav(np.stack([left, right], 1), subtype="FLOAT"), RATE), (left + right) / 2, atol=1e-6)


def test_downsampling_keeps_speech_and_does_not_alias():
    kept = audio.decode(wav(0.5 * tone(1, 5000, 48000), 48000), RATE)
    folded = audio.decode(wav(0.5 * tone(1, 11000, 48000), 48000), RATE)  # would fold to 5 kHz
    middle = slice(1000, -1000)
    assert level_db(kept[middle]) == pytest.approx(level_db(0.5 * tone(1, 5000, RATE)), abs=0.1)
    assert level_db(folded[middle]) < -90


def test_peaks_beyond_full_scale_saturate_instead_of_wrapping_around():
    loud = np.array([0.5, 3.0, -3.0, 1e30, -1e30, -0.5], dtype=np.float32)
    np.testing.assert_array_equal(audio.decode(wav(loud, subtype="FLOAT"), RATE), [0.5, 1, -1, 1, -1, -0.5])
    square = np.sign(tone(0.2, 440, 48000))
    assert np.abs(audio.decode(wav(square, 48000, subtype="FLOAT"), RATE)).max() == 1  # the filter overshoots


def broken_header(claimed: int) -> bytes:
    """100 values of 16 bit whose header claims more."""
    data = b"\0\1" * 100
    return (
        b"RIFF"
        + struct.pack("<I", claimed)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
        + b"data"
        + struct.pack("<I", claimed)
        + data
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unreadable"),
        (b"RIFF", "unreadable"),
        (b"not audio at all" * 100, "unreadable"),
        (wav(np.zeros(0)), "empty"),
        (wav(np.array([0.1, np.nan, 0.2]), subtype="FLOAT"), "nonfinite"),
        (wav(np.array([0.1, np.inf]), subtype="DOUBLE"), "nonfinite"),
        (wav(np.zeros(100), rate=10), "unreadable"),
        (wav(np.zeros(1), rate=96000), "too_short"),
        (wav(np.random.default_rng(0).uniform(-1, 1, 4000), kind="FLAC")[:60], "unreadable"),
    ],
    ids=["nothing", "four bytes", "text", "no values", "nan", "inf", "10 Hz", "less than one value", "cut FLAC"],
)
def test_what_cannot_be_decoded_says_why(data, reason):
    with pytest.raises(AudioError) as caught:
        audio.decode(data, RATE)
    assert caught.value.reason == reason
    assert caught.value.detail
    assert " object at 0x" not in caught.value.detail  # rejected.csv is the same bytes in every run
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args  # it comes back from worker processes


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(99), "MP4 or M4A (AAC)"),
        (b"\x1aE\xdf\xa3" + bytes(99), "WebM"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 4\n", "`git lfs pull`"),
        (b"\x1f\x8b\x08" + b"a" * 99, "gzip"),
        (b"", "the file is empty"),
        (bytes(5000), "5000 zero bytes"),
        (b"#!AMR\n" + b"x" * 99, "AMR"),
        (b"\xff\xfb\x90\x64" + b"x" * 400, "damaged at its beginning"),
        (b"not audio at all" * 100, "format not recognised"),
    ],
    ids=["mp4", "webm", "page", "lfs", "gzip", "nothing", "zeros", "amr", "garbage mp3", "text"],
)
def test_what_is_no_audio_is_named_with_the_way_out(data, says):
    with pytest.raises(AudioError) as caught:
        audio.decode(data, RATE)
    assert caught.value.reason == "unreadable"
    assert says in caught.value.detail


def test_limits_are_said_in_minutes(monkeypatch):
    monkeypatch.setattr(audio, "MAX_POINTS", 3 << 20)
    with pytest.raises(AudioError, match="longer than the 3 minutes that are read at 16000 Hz"):
        audio.decode(wav(np.zeros((4 << 20, 1), dtype=np.int16), kind="FLAC"), RATE)
    monkeypatch.setattr(audio, "MAX_POINTS", 48000 * 60)
    with pytest.raises(AudioError, match="2 minutes; at most 1 are read at 48000 Hz"):
        audio.decode(wav(np.zeros(120 * 1000), rate=1000), 48000)


def test_a_header_that_claims_too_much_is_not_believed():
    assert len(audio.decode(broken_header(0xFFFFFFF0), RATE)) == 100


def test_what_unpacks_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(audio, "MAX_POINTS", 3 << 20)
    bomb = wav(np.zeros((4 << 20, 1), dtype=np.int16), kind="FLAC")
    assert len(bomb) < 100_000
    with pytest.raises(AudioError, match="too_long"):
        audio.decode(bomb, RATE)
    assert len(audio.decode(wav(np.zeros(2 << 20, dtype=np.int16), kind="FLAC"), RATE)) == 2 << 20


def test_what_grows_without_end_when_resampled_is_refused(monkeypatch):
    monkeypatch.setattr(audio, "MAX_POINTS", 100_000)
    with pytest.raises(AudioError, match="too_long"):
        audio.decode(wav(np.zeros(10_000), rate=1000), 48000)


@pytest.mark.parametrize(
    ("channels", "share"),
    [
        (np.zeros((10, 1)), 0),
        (np.array([[1.0], [-1.0], [0.5], [0.0]]), 0.5),
        (np.array([[1.0, 0.0], [0.0, 0.0]]), 0.25),
        (np.array([[0.989], [-0.989], [0.991], [-0.991]]), 0.5),
    ],
)
def test_share_at_full_scale(channels, share):
    assert audio.clipped(channels.astype(np.float32)) == share
    assert audio.clipped(to_int16(channels)) == share


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
def test_full_scale_is_found_in_every_type(subtype):
    channels, _ = audio.read(wav(np.clip(5 * tone(0.1, 200, RATE), -1, 1), subtype=subtype))
    assert 0.8 < audio.clipped(channels) < 0.95


@settings(max_examples=200)
@given(data=st.binary(max_size=300), position=st.integers(0, 400))
def test_damaged_bytes_either_decode_or_say_why(data, position):
    whole = wav(np.random.default_rng(0).uniform(-1, 1, 300), kind="FLAC")
    damaged = whole[:position] + data + whole[position + len(data) :]
    try:
        signal = audio.decode(damaged, RATE)
    except AudioError:
        return
    assert np.isfinite(signal).all()


def test_original_recordings_at_48_khz_one_of_them_stereo():
    folder = Path(os.environ.get("SER_MIRROR") or Path(__file__).parents[3] / "shared" / "data") / "ravdess_48k"
    if not folder.is_dir():
        pytest.skip(f"real recordings not found in {folder}; set SER_MIRROR")
    channels = set()
    for path in sorted(folder.glob("*.wav")):
        whole, rate = sf.read(path, always_2d=True)
        channels.add(whole.shape[1])
        signal = audio.decode(path.read_bytes(), RATE)
        assert abs(len(signal) - len(whole) * RATE / rate) <= 1
        assert level_db(signal) == pytest.approx(level_db(whole.mean(axis=1)), abs=0.3)
    assert channels == {1, 2}


@pytest.mark.parametrize("channels", [1, 2, 3, 255, 1024])
def test_a_block_holds_no_more_values_for_more_channels(channels):
    """A small file of many silent channels would otherwise take gigabytes before its length is looked at."""
    frames = 2 * (1 << 20) // channels + 5
    stream = io.BytesIO(wav(np.zeros((frames, channels), np.int16), subtype="PCM_16"))
    sizes = [block.shape for block, _ in audio.blocks(stream)]
    assert max(rows * columns for rows, columns in sizes) <= 1 << 20
    assert sum(rows for rows, _ in sizes) == frames
    assert {columns for _, columns in sizes} == {channels}
