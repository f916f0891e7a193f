"""Waveform and log-mel of a recording, small enough to be sent and drawn."""

from __future__ import annotations

import base64
from typing import IO

import numpy as np

from ser.serving.predict import Predictor
from ser.signal.clips import to_float
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
    """Lowest and highest value of the waveform in each column, −1–1, and its log-mel as one byte a value.

    Args:
        predictor: the model, whose log-mel it is.
        stream: the bytes of a recording, from the beginning; it can seek.

    Returns:
        ``seconds``; ``low`` and ``high`` of the waveform; ``log_mel`` with ``bands``, ``columns`` and ``values``: base64 of
        bytes (columns, bands), from the lowest band up, 0 for ``RANGE_DB`` below the loudest.

    Raises:
        AudioError: if it cannot be decoded.
    """
    settings = predictor.bundle.preprocess
    waves, bands, seconds = [], [], 0.0
    for part in parts(stream, settings, predictor.minutes):
        seconds = part.start + part.seconds
        wave, levels = _frames(part, predictor)
        waves.append(wave)
        bands.append(levels)
    wave, levels = np.concatenate(waves), np.concatenate(bands)
    low, high = np.minimum.reduceat(wave[:, 0], _starts(len(wave))), np.maximum.reduceat(wave[:, 1], _starts(len(wave)))
    return {
        "seconds": round(seconds, 3),
        "low": [round(float(one), 3) for one in low],
        "high": [round(float(one), 3) for one in high],
        "log_mel": _packed(np.maximum.reduceat(levels, _starts(len(levels)))),
    }


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


def _packed(levels: np.ndarray) -> Json:
    shares = np.clip((levels - levels.max() + RANGE_DB) / RANGE_DB, 0, 1)
    values = np.round(255 * shares).astype(np.uint8)
    return {"bands": values.shape[1], "columns": len(values), "values": base64.b64encode(values.tobytes()).decode()}
