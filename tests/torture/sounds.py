"""Odd sound files, each from a seed: whole ones of many kinds, damaged ones, and files that are none."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zipfile
from collections.abc import Callable

import numpy as np
import soundfile as sf

FORMATS = (
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAV", "PCM_U8"),
    ("wav", "WAV", "PCM_24"),
    ("wav", "WAV", "FLOAT"),
    ("wav", "WAV", "DOUBLE"),
    ("wav", "WAV", "IMA_ADPCM"),
    ("wav", "WAV", "ULAW"),
    ("wav", "RF64", "PCM_16"),
    ("flac", "FLAC", "PCM_16"),
    ("flac", "FLAC", "PCM_24"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("aiff", "AIFF", "PCM_16"),
    ("aif", "AIFF", "PCM_S8"),
)
"""Suffix, and what soundfile calls format and subtype."""
RATES = (8000, 16000, 44100, 48000)
NAMES = (
    "plain",
    "two words",
    "ünïcödé",
    "日本語",
    "emoji 🙂",
    "=1+1",
    "-rf",
    "semi;colon",
    "quote'",
    'double"',
    "$(id)",
    "a\nline",
    "tab\there",
    "\u202egnp",
    "%s%n",
    "x" * 180,
    "#hash",
    "[set]",
    "star*",
    "back\\slash",
    "dot.dot",
    "CON",
    "\x1b[31mred",
    "\u00a0",
    "comma,name",
)
"""Stems of file names."""


def odd(seed_of: random.Random) -> tuple[str, bytes]:
    """Suffix and bytes of a file."""
    kind = seed_of.choice(list(KINDS))
    suffix, data = KINDS[kind](seed_of)
    return suffix, data


def name_of(chosen: random.Random, number: int, suffix: str) -> str:
    """An odd name that no other number has."""
    return f"{chosen.choice(NAMES)} {number}.{suffix}" if chosen.random() < 0.5 else f"{number}.{suffix}"


def sound(chosen: random.Random, seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """A buzz that comes and goes, with noise, float64 (n, channels)."""
    time = np.arange(max(1, round(seconds * rate))) / rate
    buzz = sum(np.sin(2 * np.pi * chosen.uniform(90, 250) * harmonic * time) / harmonic for harmonic in range(1, 6))
    noise = np.random.default_rng(chosen.randrange(2**32)).normal(0, 0.01, len(time))
    return np.repeat((0.2 * buzz * (np.sin(2 * np.pi * 1.5 * time) > -0.3) + noise)[:, None], channels, axis=1)


def whole(chosen: random.Random, channels: int | None = None) -> tuple[str, bytes]:
    """A recording of some format, rate, length and number of channels that is what it says."""
    suffix, form, subtype = chosen.choice(FORMATS)
    rate = chosen.choice(RATES) if subtype != "OPUS" else 48000
    data = io.BytesIO()
    sf.write(data, sound(chosen, chosen.choice((0.01, 0.3, 1.0, 2.5)), rate, channels or chosen.choice((1, 2))), rate, subtype, format=form)
    return suffix, data.getvalue()


def _cut(chosen: random.Random) -> tuple[str, bytes]:
    suffix, data = whole(chosen)
    return suffix, data[: chosen.randrange(len(data))]


def _flipped(chosen: random.Random) -> tuple[str, bytes]:
    suffix, data = whole(chosen)
    broken = bytearray(data)
    for _ in range(chosen.choice((1, 4, 64))):
        broken[chosen.randrange(len(broken) if chosen.random() < 0.5 else min(64, len(broken)))] = chosen.randrange(256)
    return suffix, bytes(broken)


def _holed(chosen: random.Random) -> tuple[str, bytes]:
    suffix, data = whole(chosen)
    at = chosen.randrange(len(data))
    return suffix, data[:at] + bytes(chosen.choice((16, 4096))) + data[at + chosen.choice((0, 16, 4096)) :]


def _header(
    chosen: random.Random,
    channels: int = 1,
    rate: int = 16000,
    bits: int = 16,
    code: int = 1,
    claimed: int | None = None,
    body: bytes | None = None,
) -> bytes:
    """A WAV with any header."""
    data = body if body is not None else (sound(chosen, 1.0, 16000) * 20000).astype("<i2").tobytes()
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, (rate * block) & 0xFFFFFFFF, block & 0xFFFF, bits)
    size = len(data) if claimed is None else claimed
    return (
        b"RIFF"
        + struct.pack("<I", (36 + size) & 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
        + data
    )


def _lying(chosen: random.Random) -> tuple[str, bytes]:
    return "wav", _header(chosen, claimed=chosen.choice((0, 1, 7, 10**6, 2**31 - 1, 2**31, 2**32 - 1)))


def _rates(chosen: random.Random) -> tuple[str, bytes]:
    return "wav", _header(chosen, rate=chosen.choice((0, 1, 2, 7, 99, 10**7, 2**31 - 1, 2**32 - 1)))


def _channels(chosen: random.Random) -> tuple[str, bytes]:
    return "wav", _header(chosen, channels=chosen.choice((0, 3, 64, 255, 1024, 65535)))


def _many_channels(chosen: random.Random) -> tuple[str, bytes]:
    data = io.BytesIO()
    sf.write(data, sound(chosen, 1.0, 16000, chosen.choice((6, 8, 64))), 16000, "PCM_16", format="WAV")
    return "wav", data.getvalue()


def _bits(chosen: random.Random) -> tuple[str, bytes]:
    return "wav", _header(chosen, bits=chosen.choice((0, 1, 7, 12, 128, 65535)), code=chosen.choice((0, 1, 2, 3, 6, 17, 85, 0xFFFE)))


def _floats(chosen: random.Random) -> tuple[str, bytes]:
    values = sound(chosen, 1.0, 16000).astype("<f4").ravel()
    kind = chosen.choice(("nan", "inf", "huge", "all nan", "tiny"))
    if kind == "all nan":
        values[:] = np.nan
    elif kind == "tiny":
        values[:] = 1e-38
    else:
        values[chosen.randrange(len(values)) :: 97] = {"nan": np.nan, "inf": -np.inf, "huge": 3e38}[kind]
    return "wav", _header(chosen, bits=32, code=3, body=values.tobytes())


def _levels(chosen: random.Random) -> tuple[str, bytes]:
    shape = chosen.choice(("zeros", "constant", "clipped", "one click", "one sample"))
    pcm = np.zeros(1 if shape == "one sample" else 16000, "<i2")
    if shape == "constant":
        pcm[:] = 12345
    elif shape == "clipped":
        pcm[::2], pcm[1::2] = 32767, -32768
    elif shape != "zeros":
        pcm[len(pcm) // 2] = 32767
    return "wav", _header(chosen, body=pcm.tobytes())


def _foreign(chosen: random.Random) -> tuple[str, bytes]:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("a.wav", whole(chosen)[1])
    things = (
        b"",
        b"\0",
        b"RIFF",
        b"RIFF\xff\xff\xff\xffWAVE",
        b"fLaC",
        b"OggS",
        b"ID3",
        b"\xff\xfb",
        b"<!DOCTYPE html><html><body>404</body></html>",
        zipped.getvalue(),
        gzip.compress(b"x" * 10**6),
        b"%PDF-1.7\n",
        b"\x7fELF" + bytes(100),
        bytes(10**5),
        b"path,label\n",
        b"\xff" * 1000,
        chosen.randbytes(3000),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    )
    return chosen.choice(("wav", "flac", "ogg", "mp3", "opus", "aiff")), chosen.choice(things)


def _wrong_suffix(chosen: random.Random) -> tuple[str, bytes]:
    return chosen.choice(("wav", "flac", "ogg", "mp3")), whole(chosen)[1]


def _joined(chosen: random.Random) -> tuple[str, bytes]:
    suffix, data = whole(chosen)
    return suffix, data + whole(chosen)[1]


KINDS: dict[str, Callable[[random.Random], tuple[str, bytes]]] = {
    "whole": whole,
    "cut": _cut,
    "flipped": _flipped,
    "holed": _holed,
    "lying": _lying,
    "rates": _rates,
    "channels": _channels,
    "many channels": _many_channels,
    "bits": _bits,
    "floats": _floats,
    "levels": _levels,
    "foreign": _foreign,
    "wrong suffix": _wrong_suffix,
    "joined": _joined,
}
"""Kinds of odd files."""
