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
RANGE_DB = 80.0
"""From the loudest value down to where the picture is empty."""


def picture(predictor: Predictor, stream: IO[bytes]) -> Json:
    """Lowest and highest value of the waveform in each column, −1–1, and its log-mel as one byte a value.

    Args:
        predictor: the model, whose log-mel it is.
        stream: the bytes of a recording, from the beginning; it can seek.

    Returns:
        ``seconds``; ``low`` and ``high``, as many as there are columns; ``log_mel`` with ``bands``, ``columns`` and ``values``: base64 of
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
    starts = np.unique(np.linspace(0, len(wave), min(COLUMNS, len(wave)), endpoint=False).astype(np.int64))
    low, high = np.minimum.reduceat(wave[:, 0], starts), np.maximum.reduceat(wave[:, 1], starts)
    return {
        "seconds": round(seconds, 3),
        "low": [round(float(one), 3) for one in low],
        "high": [round(float(one), 3) for one in high],
        "log_mel": _packed(np.maximum.reduceat(levels, starts)),
    }


def _frames(part: Part, predictor: Predictor) -> tuple[np.ndarray, np.ndarray]:
    """Extremes of the waveform (frames, 2) and log-mel in dB (frames, bands); a frame each hop, silence where it has no sound."""
    rate, settings = predictor.bundle.preprocess.sample_rate, predictor.bundle.features
    hop = settings.frames.hop_length
    signal = to_float(part.pcm) if len(part.pcm) else np.zeros(max(1, round(part.seconds * rate)), dtype=np.float32)
    padded = np.pad(signal, (0, -len(signal) % hop)).reshape(-1, hop)
    wave = np.stack([padded.min(axis=1), padded.max(axis=1)], axis=1)
    own = settings.model_copy(update={"backend": "native"})  # a picture needs no librosa
    levels = features.exact(signal, rate, own)["log_mel"][:, : settings.log_mel.n_mels]
    return wave, np.pad(levels[: len(wave)], ((0, max(0, len(wave) - len(levels))), (0, 0)), mode="edge")


def _packed(levels: np.ndarray) -> Json:
    shares = np.clip((levels - levels.max() + RANGE_DB) / RANGE_DB, 0, 1)
    values = np.round(255 * shares).astype(np.uint8)
    return {"bands": values.shape[1], "columns": len(values), "values": base64.b64encode(values.tobytes()).decode()}
