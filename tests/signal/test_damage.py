"""Whether a recording is whole: cut, bored through and flipped, in every container; whole ones, and those that promise nothing."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile as sf

from ser.params import load
from ser.signal import audio
from ser.signal.audio import AudioError
from ser.signal.damage import Damage, damage
from ser.signal.preprocessing import prepare
from tests.made import ROOT

RATE, SECONDS = 16000, 4
KINDS = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip
CUT = [kind for kind in KINDS if kind[0] != "FLAC"]  # a cut FLAC is unreadable
SETTINGS = load(ROOT / "params.yaml").preprocess


def coded(kind: str, subtype: str, seconds: float = SECONDS) -> bytes:
    """A tone that comes and goes, in noise."""
    steps = np.arange(int(RATE * seconds))
    signal = 0.3 * np.sin(0.05 * steps) * np.sin(0.0005 * steps) + 0.01 * np.random.default_rng(0).normal(size=len(steps))
    data = io.BytesIO()
    sf.write(data, signal, RATE, format=kind, subtype=subtype)
    return data.getvalue()


def found_in(data: bytes) -> Damage | None:
    channels, rate = audio.read(data)
    return damage(io.BytesIO(data), len(channels) / rate)


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
@pytest.mark.parametrize("seconds", [0.15, SECONDS, 33])
def test_a_whole_recording_is_whole(kind, subtype, seconds):
    data = coded(kind, subtype, seconds)
    assert found_in(data) is None
    assert found_in(data + bytes(100)) is None, "zeros behind the end"


@pytest.mark.parametrize(("kind", "subtype"), CUT)
def test_half_a_recording_says_the_seconds_found_and_promised(kind, subtype):
    data = coded(kind, subtype)
    found = found_in(data[: len(data) // 2])
    assert found is not None
    assert 0.5 < found.found < 2.5
    assert found.missing > 0.4
    if kind != "OGG":  # which does not say its length in advance
        assert found.promised == pytest.approx(SECONDS, abs=0.15)
        assert " of 4." in str(found)


@pytest.mark.parametrize(("kind", "subtype"), CUT)
def test_a_recording_with_a_hole_is_not_whole(kind, subtype):
    data = coded(kind, subtype)
    assert found_in(data[: len(data) // 3] + data[len(data) // 2 :]) is not None


@pytest.mark.parametrize("seed", range(5))
def test_wrong_bytes_in_an_mp3_are_noticed_where_the_decoder_lost_frames(seed):
    data = bytearray(coded("MP3", "MPEG_LAYER_III"))
    for place in np.random.default_rng(seed).integers(2000, len(data), 200):
        data[place] ^= 0xFF
    try:
        found = found_in(bytes(data))
    except AudioError:
        return
    assert found is not None


@pytest.mark.parametrize("place", [0.3, 0.6, 0.95])
def test_one_wrong_byte_in_an_ogg_is_noticed(place):
    data = bytearray(coded("OGG", "VORBIS"))
    data[int(place * len(data))] ^= 1
    assert "checksum" in str(damage(io.BytesIO(bytes(data)), SECONDS))


@pytest.mark.parametrize(
    ("size", "whole"),
    [(0xFFFFFFFF, True), (0x7FFFFFFF, True), (4 * RATE * 2, True), (4 * RATE * 2 + 1, True), (5 * RATE * 2, False), (2 * RATE * 2, False)],
    ids=["open, as ffmpeg writes it", "open, as others do", "right", "a byte too many", "too large", "sound behind the end"],
)
def test_no_size_in_a_header_is_trusted_in_either_direction(size, whole):
    data = bytearray(coded("WAV", "PCM_16"))
    data[40:44] = struct.pack("<I", size)
    found = found_in(bytes(data))
    assert (found is None) == whole
    if found is not None:
        assert found.missing == pytest.approx(0.2 if size > 4 * RATE * 2 else 0.5, abs=0.01)


def test_chunks_behind_the_sound_are_no_damage():
    data = coded("WAV", "PCM_16") + b"LIST" + struct.pack("<I", 4) + b"INFO"
    assert found_in(data) is None


@pytest.mark.parametrize("data", [b"", b"R", b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff", b"RIFF1234WAVEdata", b"text" * 99])
def test_too_few_bytes_are_no_error(data):
    damage(io.BytesIO(data), 1.0)


def test_any_bytes_behind_a_good_beginning_are_no_error():
    random = np.random.default_rng(0)
    for kind, subtype in KINDS:
        data = coded(kind, subtype, 1)
        for _ in range(20):
            cut = int(random.integers(4, 400))
            damage(io.BytesIO(data[:cut] + random.bytes(500)), 1.0)


@pytest.mark.parametrize(("allowed", "rejected"), [(0.05, True), (0.49, True), (0.6, False), (1.0, False)])
def test_a_clip_of_a_corpus_is_rejected_beyond_max_missing_and_else_tells_the_share(allowed, rejected):
    data = coded("WAV", "PCM_16")
    settings = SETTINGS.model_copy(update={"max_missing": allowed})
    if rejected:
        with pytest.raises(AudioError, match=r"1\.99 of 4\.00 s could be read.*at most") as caught:
            prepare(data[: len(data) // 2], settings)
        assert caught.value.reason == "damaged"
        return
    prepared = prepare(data[: len(data) // 2], settings)
    assert prepared.damage is not None
    assert prepared.damage.missing == pytest.approx(0.5, abs=0.01)


def test_what_is_kept_is_what_was_kept_before():
    """The check reads; it changes nothing."""
    data = coded("WAV", "PCM_16")
    channels, _ = audio.read(data)
    whole = SETTINGS.model_copy(update={"vad": SETTINGS.vad.model_copy(update={"method": "none"})})
    np.testing.assert_array_equal(prepare(data, whole).pcm, channels[:, 0])


@pytest.mark.parametrize("length", [4, 36, 40, 47])
def test_a_first_frame_that_ends_within_its_count_says_nothing(length):
    """The count of frames stands behind the word Xing; of a file cut there, nothing more can be known."""
    data = coded("MP3", "MPEG_LAYER_III")
    at = max(data.find(b"Xing"), data.find(b"Info"))
    assert 0 < at < 48
    assert damage(io.BytesIO(data[: at + 4]), 4.0) is None
    assert damage(io.BytesIO(data[:length]), 4.0) is None


def test_a_million_empty_chunks_are_not_looked_through():
    class Counted(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            return super().read(size)

    stream = Counted(b"RIFF" + bytes(4) + b"WAVE" + (b"junk" + bytes(4)) * 1_000_000)
    assert damage(stream, 1.0) is None
    assert stream.reads < 20_000


def test_a_page_that_is_missing_in_an_ogg_is_noticed():
    """All that is left is right by its checksum."""
    data = coded("OGG", "VORBIS", 33)
    starts = [place for place in range(len(data)) if data.startswith(b"OggS", place)]
    assert len(starts) > 6
    assert "pages are missing" in str(damage(io.BytesIO(data[: starts[4]] + data[starts[5] :]), 30.0))
