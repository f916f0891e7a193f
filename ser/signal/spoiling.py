"""Copies of a recording as a bad room, line or microphone would have left it, for training (``features.copies``).

A copy is as long as its clip, so its frames and tokens lie at the same places. It is made of nothing but the clip itself and random
numbers: no other speaker's sound can leak into a training clip through its background.
"""

from __future__ import annotations

import io

import numpy as np
import scipy.fft
import scipy.signal
import soundfile
import soxr

from ser.params.features import Copies
from ser.runtime.signals import deferred
from ser.signal.clips import to_float, to_int16
from ser.signal.rooms import decaying_noise, reverberant

VOICES = 6
"""Of the babble."""
LINE_RATE = 8000
"""Hz, of a telephone's line."""
CODEC_RATE = 16000
"""Hz; a rate that MP3 and Opus know."""


def copy(signal: np.ndarray, sample_rate: int, settings: Copies, key: tuple[int, ...]) -> np.ndarray:
    """One spoilt copy: in a room or not, with noise or babble or neither, through a line or codec or neither, louder or softer.

    Args:
        signal: mono float in [−1, 1), shape (samples,), samples ≥ 1.
        sample_rate: in Hz.
        settings: section ``features.copies``.
        key: of the random numbers, e.g. (number of the copy, first sample of the clip).

    Returns:
        float32 in [−1, 1), shape (samples,), in steps of int16 as in the store.
    """
    random = np.random.default_rng((settings.seed, 7, *key))
    spoilt = signal.astype(np.float64)
    if random.random() < settings.room_share:
        spoilt = in_room(spoilt, sample_rate, random)
    if random.random() < settings.noise_share:
        snr_db = random.uniform(settings.snr_db[0], settings.snr_db[1])
        background = babble(spoilt, random) if random.random() < settings.babble_share else coloured(len(spoilt), random)
        spoilt = mixed(spoilt, background, snr_db)
    spoilt = spoilt * 10 ** (random.uniform(-settings.gain_db, settings.gain_db) / 20)
    if random.random() < settings.line_share:
        spoilt = through_line(to_float(to_int16(spoilt)), sample_rate, random)
    return to_float(to_int16(spoilt))


def in_room(signal: np.ndarray, sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """A small room of 0.1 to 0.6 s reverberation time, the voice near the microphone or not."""
    response = decaying_noise(random.uniform(0.1, 0.6), random.uniform(-3.0, 15.0), sample_rate, random)
    return reverberant(signal, response)


def coloured(samples: int, random: np.random.Generator) -> np.ndarray:
    """Gaussian noise whose power falls as 1/f^a, a drawn between 0 (white) and 2 (brown); float64 (samples,)."""
    length = scipy.fft.next_fast_len(samples, real=True)
    spectrum = scipy.fft.rfft(random.standard_normal(length))
    steepness = random.uniform(0.0, 2.0)
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** (-steepness / 2)
    return scipy.fft.irfft(spectrum, length)[:samples]


def babble(signal: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Voices made of the signal: played backwards or not, faster or slower, from other places on; float64, as long as the signal."""
    total = np.zeros(len(signal))
    for _ in range(VOICES):
        pace = random.uniform(0.8, 1.25)
        place = (random.uniform(0, len(signal)) + pace * np.arange(len(signal))) % len(signal)
        voice = np.interp(place, np.arange(len(signal)), signal)
        total += voice[::-1] if random.random() < 0.5 else voice
    return total


def mixed(signal: np.ndarray, background: np.ndarray, snr_db: float) -> np.ndarray:
    """Signal and background at a ratio of their mean powers; silence on either side leaves the signal as it is."""
    power, other = (float(np.mean(np.square(one))) for one in (signal, background))
    return signal + background * np.sqrt(power / other / 10 ** (snr_db / 10)) if other > 0 else signal


def through_line(signal: np.ndarray, sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """A telephone's band, or MP3 or Opus at few bits; float32, as long as before."""
    kind = random.integers(3)
    if kind == 0:
        return telephone(signal, sample_rate, random.uniform(150, 450), random.uniform(2800, 3800), int(random.integers(2, 7)))
    container, codec, least = ("MP3", "MPEG_LAYER_III", 0.7) if kind == 1 else ("OGG", "OPUS", 0.9)
    received = coded(_at(signal, sample_rate, CODEC_RATE), CODEC_RATE, container, codec, random.uniform(least, 0.99))
    return of_length(_at(received, CODEC_RATE, sample_rate), len(signal))


def telephone(signal: np.ndarray, sample_rate: int, low: float, high: float, order: int) -> np.ndarray:
    """A band in Hz below 4 kHz, at 8 kHz and back; as long as before."""
    narrow = _at(signal, sample_rate, LINE_RATE)
    band = scipy.signal.butter(order, (low, high), btype="bandpass", fs=LINE_RATE, output="sos")
    back = _at(scipy.signal.sosfilt(band, narrow), LINE_RATE, sample_rate)
    return of_length(back, len(signal))


def coded(signal: np.ndarray, sample_rate: int, container: str, codec: str, level: float, mode: str | None = None) -> np.ndarray:
    """Encoded and decoded by libsndfile at a compression level (0 best, 1 smallest) and mode of the bit rate; as long as before."""
    stored = io.BytesIO()
    with deferred():
        soundfile.write(stored, signal, sample_rate, format=container, subtype=codec, compression_level=level, bitrate_mode=mode)
        stored.seek(0)
        decoded, _ = soundfile.read(stored, dtype="float32")
    return of_length(decoded, len(signal))


def of_length(signal: np.ndarray, length: int) -> np.ndarray:
    """Cut, or silence appended."""
    return np.pad(signal[:length], (0, max(0, length - len(signal))))


def _at(signal: np.ndarray, rate: int, other: int) -> np.ndarray:
    """From one rate to another, in Hz; float32, at least one value."""
    values = signal.astype(np.float32)
    found = values if rate == other else soxr.resample(values, rate, other, quality="HQ")
    return found if len(found) else np.zeros(1, np.float32)
