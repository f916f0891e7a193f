"""Whisper's log-mel in numpy, without torch: the stage encode and the exported predictor run this code.

Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022. The values are those of
``transformers``' WhisperFeatureExtractor without padding to 30 s.
"""

from __future__ import annotations

import functools

import numpy as np
import scipy.fft
from scipy.sparse import csr_array

from ser.signal.mel import log10, slaney_filters, sparse

RATE = 16_000
"""Sample rate of every Whisper model in Hz."""
N_FFT = 400
HOP = 160
"""10 ms, so 100 frames per second; the stride 2 of the stem makes 50 hidden states per second."""
LEAST = 1e-10
"""Floor of the mel power before the logarithm."""
RANGE = 8.0
"""Range below the loudest value, in powers of ten: 80 dB."""
_BLOCK = 64
"""Frames computed at once: the spectra stay in the cache, and memory does not grow with the clip."""


def log_mel(signal: np.ndarray, bands: int) -> np.ndarray:
    """Log-mel with Whisper's scaling, about −1.5 … 1.5 for speech.

    log10 of mel power, limited to 8 below its maximum, then (x + 4) / 4. **The maximum is over all bands and
    all frames of the signal.** So the caller passes the whole input, the clip and the appended silence, and
    cuts a long one into pieces afterwards. The level of a clip changes only the offset, down to the floor of
    1e-10.

    Args:
        signal: mono float at 16 kHz, shape (n,), n > 200 (the first and last frame mirror 200 samples).
        bands: 80, or 128 for large-v3 and its variants.

    Returns:
        float32 (bands, n // 160).
    """
    count = len(signal) // HOP
    padded = np.pad(np.asarray(signal, dtype=np.float32), N_FFT // 2, mode="reflect")
    cut = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    filters, window = _filters(bands), _window()
    levels = np.empty((bands, count), dtype=np.float32)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        spectrum = scipy.fft.rfft(cut[start:stop] * window, axis=1)  # (frames, 201), single precision
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        levels[:, start:stop] = log10(np.maximum(filters @ power.T, np.float32(LEAST)))
    np.maximum(levels, levels.max() - np.float32(RANGE), out=levels)
    levels += np.float32(4)
    levels /= np.float32(4)
    return levels


@functools.lru_cache(maxsize=2)
def _filters(bands: int) -> csr_array:
    return sparse(slaney_filters(RATE, N_FFT, bands, 0.0, RATE / 2))


@functools.lru_cache(maxsize=1)
def _window() -> np.ndarray:
    window: np.ndarray = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)  # periodic Hann
    window.flags.writeable = False
    return window
