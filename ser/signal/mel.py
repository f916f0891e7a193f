"""Triangular filters on the mel scale, for all code that sums a spectrum into mel bands."""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse import csr_array


def slaney_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """Triangular filters on Slaney's mel scale, each of area 1 over Hz: float32 (n_mels, n_fft // 2 + 1),
    equal to librosa's.

    The scale is linear (3 mel per 200 Hz) below 1 kHz and logarithmic (27 mel per factor 6.4) above: Slaney,
    Auditory Toolbox, 1998.

    Args:
        sample_rate: in Hz.
        n_fft: FFT length in samples.
        n_mels: number of bands.
        fmin: lowest band edge in Hz, below ``fmax``.
        fmax: highest band edge in Hz, at most half the sample rate.
    """
    bins = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)  # Hz
    edges = _mel_to_hz(np.linspace(_hz_to_mel(fmin), _hz_to_mel(fmax), n_mels + 2))
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    area = (edges[2:] - edges[:-2])[:, None] / 2
    filters: np.ndarray = (np.maximum(0, np.minimum(rising, falling)) / area).astype(np.float32)
    filters.flags.writeable = False
    return filters


def sparse(filters: np.ndarray) -> csr_array:
    """Filters without their zeros, for sums over a spectrum: ``sparse(filters) @ power``.

    They are summed in one fixed order, bin after bin. So they are the same bytes on every processor, which a
    BLAS, that chooses its order by processor, does not promise. It is also three times as fast: of 64 filters
    over 257 bins, 3 % of the values are not zero.
    """
    return csr_array(filters)


def log10(values: np.ndarray) -> np.ndarray:
    """Base-10 logarithm of positive values, float32, rounded once from double precision.

    Libraries of mathematics differ in the last bit of a single-precision logarithm. This is faster, too.
    """
    logarithms: np.ndarray = (np.log(values, dtype=np.float64) * (1 / math.log(10))).astype(np.float32)
    return logarithms


def _hz_to_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.power(6.4, (mel - 15) / 27))
