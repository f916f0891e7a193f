"""How a recording differs from the clips that a model learned from, by three plain measures of its sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser.serving.bundle import Typical

WINDOW = 0.032
"""Seconds of the windows whose spectra are averaged."""
BELOW = 50.0
"""dB below its strongest part down to which the averaged spectrum counts as heard."""
FRAME = 0.02
"""Seconds of a frame whose level is taken."""
FULL = 0.99
"""Magnitude from which a value counts as clipped."""
BLOCK = 4096
"""Windows whose spectra are in memory at once."""


@dataclass(frozen=True)
class Measured:
    """What is measured of a clip.

    Attributes:
        bandwidth_hz: highest frequency at which the averaged spectrum is within ``BELOW`` dB of its maximum.
        range_db: level of its loud frames (95th percentile) over that of its quiet ones (5th). Noise fills the gaps of speech: white noise
            at an SNR of 20 dB leaves about 25 dB, noise alone about 1 dB.
        clipped: share of values at full scale, 0–1.
    """

    bandwidth_hz: float
    range_db: float
    clipped: float


def measure(signal: np.ndarray, sample_rate: int) -> Measured:
    """Measure a mono clip, float in [−1, 1), shape (n,), n ≥ 1."""
    return Measured(_bandwidth(signal, sample_rate), _range(signal, round(FRAME * sample_rate)), float(np.mean(np.abs(signal) >= FULL)))


def unlike(measured: Measured, typical: Typical) -> tuple[str, ...]:
    """In what a clip is unlike the training clips, a phrase each; empty where it is like them."""
    found = []
    if measured.bandwidth_hz < typical.bandwidth_hz:
        found.append(
            f"heard up to {measured.bandwidth_hz / 1000:.1f} kHz only, the training clips to {typical.bandwidth_hz / 1000:.1f} kHz"
        )
    if measured.range_db < typical.range_db:
        found.append(f"noisy: loud over quiet parts {measured.range_db:.0f} dB, of the training clips at least {typical.range_db:.0f} dB")
    if measured.clipped > typical.clipped:
        found.append(
            f"clipped: {measured.clipped:.1%} of its values are at full scale, of the training clips at most {typical.clipped:.1%}"
        )
    return tuple(found)


def _bandwidth(signal: np.ndarray, sample_rate: int) -> float:
    size = round(WINDOW * sample_rate)
    padded = np.pad(signal, (0, max(0, size - len(signal))))
    cut = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2]
    power, window = np.zeros(size // 2 + 1), np.hanning(size)
    for start in range(0, len(cut), BLOCK):
        power += np.square(np.abs(np.fft.rfft(cut[start : start + BLOCK] * window, axis=1))).sum(axis=0)
    smooth = np.convolve(power, np.ones(9) / 9, mode="same")
    return float(np.flatnonzero(smooth >= smooth.max() * 10 ** (-BELOW / 10))[-1] * sample_rate / size)


def _range(signal: np.ndarray, frame: int) -> float:
    count = max(1, len(signal) // frame)
    framed = np.pad(signal, (0, max(0, frame - len(signal))))[: count * frame].reshape(count, frame)
    levels = 10 * np.log10(np.square(framed, dtype=np.float64).mean(axis=1) + 2.0**-32 / 12)  # the power of int16's rounding
    low, high = np.percentile(levels, [5, 95])
    return float(high - low)
