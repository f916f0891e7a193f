"""A recording of any length, in parts of a few minutes, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from ser.params.preprocess import Preprocess
from ser.signal import audio, vad
from ser.signal.audio import AudioError
from ser.signal.preprocessing import checked

SECONDS = 120.0
"""Length of a part. A shorter recording is one part, decoded as ``preprocessing.prepare`` does it."""
MINUTES = 600.0
"""Longest recording that is read, unless another limit is asked for."""


@dataclass(frozen=True)
class Part:
    """Some minutes of a recording.

    Attributes:
        start: where it begins, in seconds.
        seconds: its length.
        pcm: int16 (n,) at the working rate; empty where there is a problem.
        speech: int64 (k, 2), start and end of each stretch of speech in values of ``pcm``; the detector hears each part on its own.
        problem: why it cannot be judged: silent, clipped or too short. None where it can.
    """

    start: float
    seconds: float
    pcm: np.ndarray
    speech: np.ndarray
    problem: AudioError | None = None


def parts(stream: IO[bytes], settings: Preprocess, minutes: float = MINUTES, seconds: float = SECONDS) -> Iterator[Part]:
    """Decode, resample and detect speech, part by part.

    Args:
        stream: the bytes of a recording, from the beginning; it can seek.
        settings: section ``preprocess``.
        minutes: limit of the recording's length.
        seconds: length of a part.

    Raises:
        AudioError: ``unreadable``, ``empty``, ``nonfinite`` or ``too_long``.
    """
    waiting: list[_Block] = []
    start, held, rate = 0.0, 0, 0
    for block, rate in audio.blocks(stream):
        size, rest = round(seconds * rate), block
        while len(rest):
            if held == size:
                if start + seconds > 60 * minutes:
                    raise AudioError("too_long", f"longer than the {minutes:g} minutes that are read; raise the limit, or cut it")
                yield _part(waiting, rate, start, settings)
                waiting, held, start = [], 0, start + size / rate
            piece, rest = rest[: size - held], rest[size - held :]
            waiting.append(_Block.of(piece))
            held += len(piece)
    if start + held / rate > 60 * minutes:
        raise AudioError("too_long", f"longer than the {minutes:g} minutes that are read; raise the limit, or cut it")
    yield _part(waiting, rate, start, settings)


@dataclass(frozen=True)
class _Block:
    """Mono values (n, 1), as ``audio.to_pcm`` takes them, and what only the channels tell: values at full scale, all values, any sound."""

    mono: np.ndarray
    full: float
    values: int
    sound: bool

    @classmethod
    def of(cls, channels: np.ndarray) -> _Block:
        if channels.dtype != np.int16 and not np.isfinite(channels).all():
            count = np.count_nonzero(~np.isfinite(channels))
            raise AudioError("nonfinite", f"{count} of {channels.size} values are NaN or infinite")
        mono = channels if channels.dtype == np.int16 and channels.shape[1] == 1 else audio.to_mono(channels)[:, None]
        return cls(mono, audio.clipped(channels) * channels.size, channels.size, bool(channels.any()))


def _part(blocks: list[_Block], rate: int, start: float, settings: Preprocess) -> Part:
    mono = blocks[0].mono if len(blocks) == 1 else np.concatenate([one.mono for one in blocks])
    share = sum(one.full for one in blocks) / sum(one.values for one in blocks)
    try:
        pcm = checked(mono, rate, share, settings, any(one.sound for one in blocks))
    except AudioError as error:
        return Part(start, len(mono) / rate, np.zeros(0, dtype=np.int16), np.zeros((0, 2), dtype=np.int64), error)
    return Part(start, len(mono) / rate, pcm, vad.segments(pcm, settings.sample_rate, settings.vad))
