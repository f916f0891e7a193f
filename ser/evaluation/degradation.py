"""Ways to degrade a test clip: noise, babble, level, a small room, a telephone's band, MP3.

They are not those of ``features.copies`` (``ser/signal/spoiling.py``): another kind of room, voices of other speakers, fixed levels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ser.params.evaluate import Robustness
from ser.signal.clips import to_float, to_int16
from ser.signal.noise import with_noise
from ser.signal.rooms import box, reverberant
from ser.signal.spoiling import coded, mixed, telephone

TELEPHONE_BAND = (300.0, 3400.0)
"""Hz; the band of a voice channel (ITU-T G.712)."""
TELEPHONE_ORDER = 4
"""Of the Butterworth filter."""
ROOM = (4.0, 3.0, 2.5), (1.0, 1.0, 1.5), (3.0, 2.0, 1.2)
"""Size of the small room, place of the voice and of the microphone in it, in m."""
REFLECTION = 0.8
"""Of its walls, as a share of the pressure: a reverberation time of 0.26 s."""
ROOM_SECONDS = 0.4
VOICES = 4
"""Clips that are heard at once as babble."""
MP3_LEVEL = 0.9
"""libsndfile's compression level (0 best, 1 smallest); variable rate, about 20 kbit/s for speech at 16 kHz."""


@dataclass(frozen=True)
class Condition:
    """One way to spoil a recording: ``clean``, ``noise`` and ``babble`` (value: SNR in dB), ``gain`` (dB), ``room``, ``telephone``,
    ``mp3``.
    """

    kind: str
    value: float | None = None

    @property
    def name(self) -> str:
        """For people and tables."""
        if self.kind in ("noise", "babble"):
            return f"{self.kind} {self.value:g} dB SNR"
        if self.kind == "gain":
            return f"gain {self.value:+g} dB"
        return self.kind


def conditions(settings: Robustness) -> list[Condition]:
    """``clean`` first, then what the parameters ask for, noise from weak to strong."""
    return [
        Condition("clean"),
        *(Condition("noise", snr) for snr in sorted(set(settings.snr_db), reverse=True)),
        *(Condition("babble", snr) for snr in sorted(set(settings.babble_snr_db), reverse=True)),
        *(Condition("gain", gain) for gain in sorted(set(settings.gain_db))),
        *([Condition("room")] if settings.room else []),
        *([Condition("telephone")] if settings.telephone else []),
        *([Condition("mp3")] if settings.mp3 else []),
    ]


def perturb(
    signal: np.ndarray, condition: Condition, sample_rate: int, key: tuple[int, ...], voices: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """The signal under the condition, as it would be stored: int16 steps, saturated at full scale.

    Args:
        signal: mono float in [−1, 1), shape (samples,), not empty.
        condition: what to do.
        sample_rate: in Hz.
        key: of the random generator (seed, clip).
        voices: signals of which babble is made, like the first; none for other conditions.

    Returns:
        float32 in [−1, 1), shape (samples,).

    Raises:
        ValueError: for an empty signal or an unknown kind of condition.
    """
    if signal.ndim != 1 or len(signal) == 0:
        raise ValueError(f"signal must be a list of at least one value, has the shape {signal.shape}")
    if condition.kind == "clean":
        return signal.astype(np.float32)
    if condition.kind == "noise":
        return with_noise(signal, _value(condition), key)
    if condition.kind == "gain":
        spoilt = signal * 10 ** (_value(condition) / 20)
    elif condition.kind == "telephone":
        spoilt = telephone(signal, sample_rate, *TELEPHONE_BAND, TELEPHONE_ORDER)
    elif condition.kind == "mp3":
        spoilt = coded(signal, sample_rate, "MP3", "MPEG_LAYER_III", MP3_LEVEL, "VARIABLE")
    elif condition.kind == "room":
        spoilt = reverberant(signal, small_room(sample_rate))
    elif condition.kind == "babble":
        spoilt = mixed(signal.astype(np.float64), babble(len(signal), voices, key), _value(condition))
    else:
        raise ValueError(f"condition.kind must be clean, noise, babble, gain, room, telephone or mp3, is {condition.kind!r}")
    return to_float(to_int16(spoilt))


@functools.cache
def small_room(sample_rate: int) -> np.ndarray:
    """Impulse response of the study's room; another model of rooms than the one that ``features.copies`` is made with."""
    return box(*ROOM, REFLECTION, ROOM_SECONDS, sample_rate)


def voices_for(table: pd.DataFrame, seed: int) -> list[np.ndarray]:
    """In whose babble each clip is heard: clips of other speakers, or, where there are none, any other clips.

    Args:
        table: rows of ``clips.csv``; a clip's draw is keyed by its ``offset``.
        seed: of the study.

    Returns:
        For each row the numbers of at most ``VOICES`` other rows, int64, none twice.
    """
    speaker, every = np.unique(table["speaker"].to_numpy(str), return_inverse=True)[1], np.arange(len(table))
    found = []
    for row, start in enumerate(table["offset"].tolist()):
        others = every[speaker != speaker[row]]
        others = others if len(others) else every[every != row]
        found.append(np.random.default_rng((seed, start, 9)).permutation(others)[:VOICES])
    return found


def babble(samples: int, voices: Sequence[np.ndarray], key: tuple[int, ...]) -> np.ndarray:
    """Signals at once, each equally strong and repeated from a place of its own: float64 (samples,), silence without voices."""
    random = np.random.default_rng((*key, 8))
    total = np.zeros(samples)
    for signal in voices:
        voice = np.roll(signal.astype(np.float64), int(random.integers(len(signal))))
        power = float(np.mean(np.square(voice)))
        total += np.resize(voice, samples) / np.sqrt(power) if power > 0 else 0.0
    return total


def _value(condition: Condition) -> float:
    if condition.value is None:
        raise ValueError(f"condition.value is missing: {condition.kind} needs a level in dB")
    return condition.value
