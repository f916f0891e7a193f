"""Samples in memory as a recording."""

from __future__ import annotations

import io
from typing import IO

import numpy as np
import soundfile as sf

from ser.runtime.signals import deferred
from ser.signal.audio import RATES, AudioError

MOST_CHANNELS = 64
"""More are samples whose axes were confused."""


def as_file(samples: np.ndarray, sample_rate: int | None) -> IO[bytes]:
    """Samples as an uncompressed file in memory, so that they are read and checked as all recordings are.

    Args:
        samples: float in [−1, 1] or int16, (n,) or (n, channels).
        sample_rate: in Hz.

    Raises:
        AudioError: if there are none.
        TypeError: if they have another type.
        ValueError: if they have another shape, or no rate or one out of range.
    """
    if sample_rate is None or not RATES[0] <= sample_rate <= RATES[1] or sample_rate != int(sample_rate):
        raise ValueError(f"sample_rate: found {sample_rate}; samples need a whole rate from {RATES[0]} to {RATES[1]} Hz")
    whole = samples.dtype.newbyteorder("=") == np.int16
    if not whole and not np.issubdtype(samples.dtype, np.floating):
        raise TypeError(f"samples of type {samples.dtype}; allowed: int16, and float in [−1, 1]")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= MOST_CHANNELS):
        raise ValueError(f"samples of shape {samples.shape}; allowed: (n,) or (n, channels) with 1 to {MOST_CHANNELS} channels")
    if not len(samples):
        raise AudioError("empty", "no samples")
    file = io.BytesIO()
    values = samples.astype(np.int16 if whole else np.float32, copy=False)
    with deferred():
        sf.write(file, values, int(sample_rate), "PCM_16" if whole else "FLOAT", format="WAV")
    file.seek(0)
    return file
