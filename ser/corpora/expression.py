"""Acting of the demo's voices: emotions as rules for prosody and voice quality, and filters for the rest.

The rules follow the reviews of acted vocal emotion:

- I. R. Murray, J. L. Arnott (1993), *Toward the simulation of emotion in synthetic speech*, JASA 93(2), table
  of vocal emotion effects;
- R. Banse, K. R. Scherer (1996), *Acoustic profiles in vocal emotion expression*, J. Pers. Soc. Psychol.
  70(3);
- M. Schröder (2001), *Emotional speech synthesis: a review*, Eurospeech;
- K. R. Scherer (2003), *Vocal communication of emotion*, Speech Communication 40;
- P. N. Juslin, P. Laukka (2003), *Communication of emotions in vocal expression and music performance*,
  Psychological Bulletin 129(5).

They agree on the signs (anger and joy: louder, brighter, higher, wider; sadness: slower, lower, softer,
darker; fear: fast, high, uneven); the sizes here are chosen so that the demo is neither trivial nor
impossible. Nothing measured on it says anything about human emotion.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import scipy.fft


@dataclass(frozen=True)
class Expression:
    """Displacement from a speaker's neutral voice.

    The emotions' rules, a speaker's habits and a take's chance add up.
    """

    rate: float = 0.0  # log₂ of the ratio of speaking rates
    pitch: float = 0.0  # semitones of mean f0
    range: float = 0.0  # log₂ of the ratio of f0 ranges
    level: float = 0.0  # dB
    tilt: float = 0.0  # dB per octave above and below 1 kHz: effort makes the spectrum flatter
    breath: float = 0.0  # aspiration noise, in steps of 6 dB above the speaker's own
    tremor: float = 0.0  # semitones of slow and random f0 perturbation
    pauses: float = 0.0  # log₂ of the ratio of pause lengths

    def plus(self, other: Expression, weight: float = 1.0) -> Expression:
        """This displacement and ``weight`` times another."""
        return Expression(*(a + weight * b for a, b in zip(astuple(self), astuple(other), strict=True)))


RULES = {
    # anger, hot: f0 mean and range up, loud, strong high-frequency energy, slightly faster (Banse & Scherer;
    # Juslin & Laukka, tab. 7)
    "angry": Expression(rate=0.15, pitch=2.0, range=0.30, level=8.0, tilt=3.5, breath=-0.5, tremor=0.05, pauses=-0.8),
    # panic fear: much faster, very high f0 with little range (Juslin & Laukka), irregular voicing (Murray &
    # Arnott), breathy
    "fearful": Expression(rate=0.45, pitch=5.0, range=-0.60, level=-1.0, tilt=0.5, breath=1.5, tremor=0.45, pauses=0.0),
    # joy: faster, f0 mean and range up, louder, medium-high high-frequency energy (Scherer 2003, tab. 2),
    # breathy (Murray & Arnott)
    "happy": Expression(rate=0.20, pitch=4.0, range=0.60, level=3.5, tilt=1.2, breath=0.6, tremor=0.0, pauses=-0.5),
    "neutral": Expression(),
    # sadness: slow, low, narrow, soft, little high-frequency energy, many pauses, micro-irregular f0 (Juslin
    # & Laukka, tab. 7)
    "sad": Expression(rate=-0.35, pitch=-2.0, range=-0.70, level=-6.0, tilt=-3.0, breath=0.8, tremor=0.10, pauses=1.0),
    # surprise: very high and wide f0 with a final rise, tempo of neutral speech (Schröder 2001, tab. 1)
    "surprised": Expression(rate=-0.10, pitch=6.5, range=0.90, level=1.5, tilt=0.3, breath=0.6, tremor=0.0, pauses=0.6),
}
"""Emotion → displacement at full expressiveness, in alphabetical order."""

FINAL = {"angry": "!.", "happy": "!.", "surprised": "?!"}
"""Final punctuation to draw from, which is how espeak-ng is told the tune; elsewhere a full stop."""

SPREAD = Expression(rate=0.036, pitch=0.36, range=0.072, level=0.6, tilt=0.24, breath=0.12, tremor=0.018, pauses=0.18)
"""Standard deviation of the chance in one take."""

HABITS = Expression(rate=0.024, pitch=0.24, range=0.06, level=0.48, tilt=0.18, breath=0.12, tremor=0.012, pauses=0.12)
"""Standard deviation between speakers of the expression of an emotion: people differ in how they sound angry.
"""

OWN = Expression(rate=0.036, pitch=0.6, range=0.06, level=0.6, tilt=0.3, breath=0.24, tremor=0.012, pauses=0.12)
"""Standard deviation between speakers of the neutral voice, in addition to espeak-ng's own voices."""


def draw(scale: Expression, rng: np.random.Generator) -> Expression:
    """A normally distributed displacement with the given standard deviations."""
    return Expression(*(rng.normal(0.0, value) for value in astuple(scale)))


def perturb(speech: np.ndarray, sample_rate: int, tract: float, tremor: float, rng: np.random.Generator) -> np.ndarray:
    """Read the waveform at an uneven pace: f0 wavers by ``tremor`` semitones (6–10 Hz and random), and f0 and
    formants shift by ``tract``.

    Args:
        speech: float, shape (samples,).
        sample_rate: in Hz.
        tract: ratio by which all frequencies rise; a shorter vocal tract.
        tremor: standard deviation of the perturbation in semitones; negative counts as none.
        rng: the take's generator.

    Returns:
        float, about ``samples / tract`` long.
    """
    count = int(len(speech) / tract)
    knots = np.arange(0, count + sample_rate // 50, sample_rate // 50)  # every 20 ms
    waver = np.sin(2 * np.pi * (rng.uniform(6, 10) * knots / sample_rate + rng.uniform())) + rng.normal(size=len(knots))
    pace = tract * 2.0 ** (max(tremor, 0.0) * waver / 12)
    positions = np.cumsum(np.interp(np.arange(count), knots, pace))
    return np.interp(positions, np.arange(len(speech)), speech)


def colour(speech: np.ndarray, sample_rate: int, tilt: float, breath: float, rng: np.random.Generator) -> np.ndarray:
    """Change the voice's quality: aspiration noise that follows the speech's envelope, then a tilt of the
    spectrum around 1 kHz.

    Args:
        speech: float, shape (samples,).
        sample_rate: in Hz.
        tilt: dB per octave; positive is brighter. Below 125 Hz it stays as it is at 125 Hz.
        breath: amplitude of the noise relative to the envelope, ≥ 0.
        rng: the take's generator.

    Returns:
        float, shape (samples,).
    """
    width = sample_rate // 50
    total = np.concatenate([np.zeros(1), np.cumsum(np.abs(np.pad(speech, (width // 2, width - width // 2))))])
    envelope = (total[width : width + len(speech)] - total[: len(speech)]) / width
    size = scipy.fft.next_fast_len(len(speech), real=True)
    spectrum = scipy.fft.rfft(speech + breath * envelope * rng.normal(size=len(speech)), size)
    octaves = np.log2(np.maximum(np.arange(len(spectrum)) * sample_rate / size, 125.0) / 1000.0)
    return scipy.fft.irfft(spectrum * 10 ** (tilt * octaves / 20), size)[: len(speech)]


def room(samples: int, sample_rate: int, hum: float, rng: np.random.Generator) -> np.ndarray:
    """Background of a recording: noise of 1/f power and a mains hum at ``hum`` times its amplitude; float,
    shape (samples,), RMS 1.
    """
    size = scipy.fft.next_fast_len(samples, real=True)
    bins = size // 2 + 1
    spectrum = (rng.normal(size=bins) + 1j * rng.normal(size=bins)) / np.sqrt(np.maximum(np.arange(bins), size * 40 / sample_rate))
    noise = scipy.fft.irfft(spectrum, size)[:samples]
    noise = noise / noise.std() + hum * np.sqrt(2) * np.sin(2 * np.pi * (50 * np.arange(samples) / sample_rate + rng.uniform()))
    return noise / np.sqrt(1 + hum**2)
