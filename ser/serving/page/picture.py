"""Waveform, log-mel and attention of a recording, small enough to be sent and drawn."""

from __future__ import annotations

import base64
from typing import IO

import numpy as np

from ser.serving.networks import SpeakerStatistics
from ser.serving.predict import Predictor
from ser.signal import vad
from ser.signal.clips import to_float
from ser.signal.preprocessing import applied
from ser.signal.stream import Part, parts
from ser.views import features

Json = dict[str, object]

COLUMNS = 1200
"""Columns of the picture at most; a screen shows hardly more."""
FINE = 0.002
"""Seconds of the stretches whose lowest and highest value are kept of the waveform."""
RANGE_DB = 80.0
"""From the loudest value down to where the picture is empty."""


def picture(predictor: Predictor, stream: IO[bytes]) -> Json:
    """Lowest and highest value of the waveform in each column, −1–1, its log-mel as one byte a value, and where the model looked.

    Args:
        predictor: the model, whose log-mel and attention it is.
        stream: the bytes of a recording, from the beginning; it can seek.

    Returns:
        ``seconds``; ``low`` and ``high`` of the waveform; ``log_mel`` with ``bands``, ``columns`` and ``values``: base64 of
        bytes (columns, bands), from the lowest band up, 0 for ``RANGE_DB`` below the loudest; ``attention``: for each side of the fusion
        how much each column weighs, 1 if all that was judged weighs the same, 0 where nothing was judged. Empty where the model has none.

    Raises:
        AudioError: if it cannot be decoded.
    """
    settings = predictor.bundle.preprocess
    sides = predictor.bundle.attention
    speaker = predictor.alone(stream) if sides else None
    waves, bands, seconds = [], [], 0.0
    looked: dict[str, list[np.ndarray]] = {side: [] for side in sides}
    for part in parts(stream, settings, predictor.minutes):
        seconds = part.start + part.seconds
        wave, levels = _frames(part, predictor)
        waves.append(wave)
        bands.append(levels)
        for side, weights in attention(part, len(levels), predictor, speaker).items():
            looked[side].append(weights)
    wave, levels = np.concatenate(waves), np.concatenate(bands)
    low, high = np.minimum.reduceat(wave[:, 0], _starts(len(wave))), np.maximum.reduceat(wave[:, 1], _starts(len(wave)))
    return {
        "seconds": round(seconds, 3),
        "low": [round(float(one), 3) for one in low],
        "high": [round(float(one), 3) for one in high],
        "log_mel": _packed(np.maximum.reduceat(levels, _starts(len(levels)))),
        "attention": {side: [round(float(one), 2) for one in _means(np.concatenate(weights))] for side, weights in looked.items()},
    }


def attention(part: Part, frames: int, predictor: Predictor, speaker: SpeakerStatistics) -> dict[str, np.ndarray]:
    """How much each frame of a part of a recording weighs for each side of the fusion, float64 (frames,).

    1 is the weight of each if all frames that were judged weighed the same; what voice activity detection left out has 0.

    Args:
        part: the part.
        frames: of all of it, silence included.
        predictor: the model.
        speaker: as of ``Predictor.attention``.
    """
    found = {side: np.zeros(frames) for side in predictor.bundle.attention}
    if not found or part.problem is not None:
        return found
    settings = predictor.bundle.preprocess
    places = np.arange(len(part.pcm))
    judged = places if settings.vad.keep == "mask" else vad.keep(places, part.speech, settings.vad.keep)
    hop = predictor.bundle.features.frames.hop_length
    for side, weights in predictor.attention(predictor.listen(applied(part.pcm, part.speech, settings)), speaker).items():
        middles = judged[np.minimum(np.arange(len(weights)) * hop, len(judged) - 1)]
        found[side][np.minimum(middles // hop, frames - 1)] = weights * len(weights)
    return found


def _frames(part: Part, predictor: Predictor) -> tuple[np.ndarray, np.ndarray]:
    """Extremes of the waveform (stretches, 2) and log-mel in dB (frames, bands) of a part; silence where it has no sound."""
    rate = predictor.bundle.preprocess.sample_rate
    own = predictor.bundle.features.model_copy(update={"backend": "native"})  # a picture needs no librosa
    signal = to_float(part.pcm) if len(part.pcm) else np.zeros(max(1, round(part.seconds * rate)), dtype=np.float32)
    size = round(FINE * rate)
    fine = np.pad(signal, (0, -len(signal) % size)).reshape(-1, size)
    levels = features.exact(signal, rate, own)["log_mel"][:, : own.log_mel.n_mels]
    return np.stack([fine.min(axis=1), fine.max(axis=1)], axis=1), levels


def _starts(count: int) -> np.ndarray:
    """Where the columns of a picture begin."""
    return np.unique(np.linspace(0, count, min(COLUMNS, count), endpoint=False).astype(np.int64))


def _means(values: np.ndarray) -> np.ndarray:
    """Mean of the values of each column of a picture."""
    starts = _starts(len(values))
    return np.add.reduceat(values, starts) / np.diff(starts, append=len(values))


def _packed(levels: np.ndarray) -> Json:
    shares = np.clip((levels - levels.max() + RANGE_DB) / RANGE_DB, 0, 1)
    values = np.round(255 * shares).astype(np.uint8)
    return {"bands": values.shape[1], "columns": len(values), "values": base64.b64encode(values.tobytes()).decode()}
