"""The mel spectrum that several views use, computed once for all of them.

The values equal librosa's ``melspectrogram(center=True, pad_mode="constant")`` and ``power_to_db(ref=1,
top_db=None)`` above a fixed floor. ``backend: librosa`` calls librosa itself; the tests compare the two.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.sparse import csr_array

from ser import SerError
from ser.params.features import Features, Frames
from ser.signal.mel import log10, slaney_filters, sparse

_BLOCK_POINTS = 1 << 15
"""FFT points computed at once: spectra stay in the cache (twice as fast), and memory stays small."""


@dataclass(frozen=True)
class Sound:
    """One clip, as input of the views.

    Attributes:
        signal: mono float in [−1, 1], shape (samples,).
        sample_rate: in Hz.
        levels: number of mel bands (``View.bands``) → levels in dB, float32 (frames, bands).
    """

    signal: np.ndarray
    sample_rate: int
    levels: dict[int, np.ndarray]


def frame_count(length: int, frames: Frames) -> int:
    """Number of frames of a signal of ``length`` samples.

    Frame k is centred on sample k · hop_length, within the signal.
    """
    return 1 + (length - frames.n_fft % 2) // frames.hop_length if length > 0 else 0


def sound(signal: np.ndarray, sample_rate: int, features: Features, bands: Iterable[int]) -> Sound:
    """A clip with its levels for each number of mel bands, all from one spectrum.

    Raises:
        SerError: when the bands do not fit under half the sample rate.
    """
    frames, log_mel = features.frames, features.log_mel
    filters = {n_mels: _sparse_filterbank(sample_rate, frames.n_fft, n_mels, log_mel.fmin, log_mel.fmax) for n_mels in bands}
    compute = _levels_by_librosa if features.backend == "librosa" else _levels
    return Sound(signal, sample_rate, compute(signal, sample_rate, features, filters))


def band_filters(sample_rate: int, features: Features, n_mels: int) -> np.ndarray:
    """``mel_filterbank`` with ``n_mels`` bands and these parameters."""
    return mel_filterbank(sample_rate, features.frames.n_fft, n_mels, features.log_mel.fmin, features.log_mel.fmax)


@functools.lru_cache(maxsize=16)
def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float | None) -> np.ndarray:
    """``ser.signal.mel.slaney_filters``, computed once; ``fmax`` None is half the sample rate.

    Raises:
        SerError: when ``fmin`` < ``fmax`` ≤ half the sample rate does not hold.
    """
    fmax = sample_rate / 2 if fmax is None else fmax
    if not fmin < fmax <= sample_rate / 2:
        raise SerError(
            f"features.log_mel: fmin {fmin:g} Hz < fmax {fmax:g} Hz ≤ {sample_rate / 2:g} Hz (half of preprocess.sample_rate) "
            "does not hold; lower fmax, or set it to null for half the sample rate"
        )
    return slaney_filters(sample_rate, n_fft, n_mels, fmin, fmax)


@functools.lru_cache(maxsize=16)
def _sparse_filterbank(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float | None) -> csr_array:
    return sparse(mel_filterbank(sample_rate, n_fft, n_mels, fmin, fmax))


def _levels(signal: np.ndarray, sample_rate: int, features: Features, filters: dict[int, csr_array]) -> dict[int, np.ndarray]:
    """Levels of the bands of each set of filters, by numpy and scipy."""
    frames, floor = features.frames, features.log_mel.floor_db
    window = _window(frames.window, frames.win_length)
    # A frame of n_fft values is zero outside the window, so only the values under the window are cut out. The
    # FFT pads them with zeros at the end, which changes the phase and not the power.
    before = frames.n_fft // 2 - (frames.n_fft - frames.win_length) // 2
    count = frame_count(len(signal), frames)
    span = (count - 1) * frames.hop_length + frames.win_length
    padded = np.zeros(max(span, before + len(signal)), dtype=np.float32)
    padded[before : before + len(signal)] = signal
    cut = np.lib.stride_tricks.sliding_window_view(padded, frames.win_length)[:: frames.hop_length]  # (count or more, win_length)
    levels = {n_mels: np.empty((count, n_mels), dtype=np.float32) for n_mels in filters}
    # In double precision: in single precision, rounding errors of a full-scale tone exceed the floor of
    # silent bands.
    block = np.zeros((min(count, max(1, _BLOCK_POINTS // frames.n_fft)), frames.n_fft))
    for start in range(0, count, len(block)):
        stop = min(start + len(block), count)
        windowed = block[: stop - start]
        np.multiply(cut[start:stop], window, out=windowed[:, : frames.win_length])
        spectrum = scipy.fft.rfft(windowed, axis=1)  # (frames, n_fft // 2 + 1)
        squares = np.square(spectrum.view(np.float64), out=spectrum.view(np.float64))  # real and imaginary parts side by side
        power = (squares[:, ::2] + squares[:, 1::2]).astype(np.float32)
        for n_mels, weights in filters.items():
            levels[n_mels][start:stop] = _decibels(weights @ power.T, floor).T
    return levels


def _levels_by_librosa(signal: np.ndarray, sample_rate: int, features: Features, filters: dict[int, csr_array]) -> dict[int, np.ndarray]:
    """The same by librosa."""
    import librosa  # slow to import and to compile, so only on demand

    frames, floor = features.frames, features.log_mel.floor_db
    levels = {}
    for n_mels in filters:
        power = librosa.feature.melspectrogram(
            y=np.asarray(signal, dtype=np.float32),
            sr=sample_rate,
            n_fft=frames.n_fft,
            win_length=frames.win_length,
            hop_length=frames.hop_length,
            window=frames.window,
            center=True,
            pad_mode="constant",
            power=2.0,
            n_mels=n_mels,
            fmin=features.log_mel.fmin,
            fmax=features.log_mel.fmax,
        )
        levels[n_mels] = np.ascontiguousarray(librosa.power_to_db(power, ref=1.0, amin=10 ** (floor / 10), top_db=None).T)
    return levels


def _decibels(power: np.ndarray, floor_db: float) -> np.ndarray:
    levels: np.ndarray = np.maximum(np.float32(10) * log10(np.maximum(power, np.float32(1e-30))), np.float32(floor_db))
    return levels


@functools.lru_cache(maxsize=4)
def _window(shape: str, length: int) -> np.ndarray:
    offset = 0.5 if shape == "hann" else 0.54
    window: np.ndarray = offset - (1 - offset) * np.cos(2 * np.pi * np.arange(length) / length)  # periodic
    window.flags.writeable = False
    return window
