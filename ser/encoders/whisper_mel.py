"""Whisper's log-mel in numpy, without torch: encoding and an exported predictor run this same code.

Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022. The values are those of ``transformers``'
WhisperFeatureExtractor on the same signal, when it is told not to pad to 30 s.
"""

from __future__ import annotations

import functools

import numpy as np
import scipy.fft

from ser.signal.mel import slaney_filters

RATE = 16_000
"""Sample rate of every Whisper model in Hz."""
N_FFT = 400
HOP = 160
"""10 ms, so 100 frames a second; the stem's stride of 2 makes 50 hidden states a second of them."""
LEAST = 1e-10
"""Mel power below this is raised to it before the logarithm."""
RANGE = 8.0
"""Powers of ten below the loudest value that are kept: 80 dB."""
_BLOCK = 64
"""Frames of the FFTs done at once: the spectra stay in the cache, and an hour needs no more memory than a second."""


def log_mel(signal: np.ndarray, bands: int) -> np.ndarray:
    """Log-mel of a signal as Whisper was trained on, about −1.5 … 1.5 for speech.

    log10 of mel power, raised to at least 8 below its maximum, then (x + 4) / 4. **The maximum is that of all bands and all frames of this
    signal**: the caller passes everything that the encoder will be fed, the clip and the silence behind it, and cuts a long one
    into pieces only afterwards. A clip's level changes nothing but the offset, down to the floor of 1e-10.

    Args:
        signal: mono float at 16 kHz, shape (n,), n > 200 (the spectrum of the first and last frame mirrors that much).
        bands: 80, or 128 for large-v3 and its kin.

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
        np.log10(np.maximum(filters @ power.T, np.float32(LEAST)), out=levels[:, start:stop])
    np.maximum(levels, levels.max() - np.float32(RANGE), out=levels)
    levels += np.float32(4)
    levels /= np.float32(4)
    return levels


@functools.lru_cache(maxsize=2)
def _filters(bands: int) -> np.ndarray:
    return slaney_filters(RATE, N_FFT, bands, 0.0, RATE / 2)


@functools.lru_cache(maxsize=1)
def _window() -> np.ndarray:
    window: np.ndarray = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)  # periodic Hann
    window.flags.writeable = False
    return window
