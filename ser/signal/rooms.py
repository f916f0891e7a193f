"""Impulse responses of rooms: noise that decays, for training, and mirrored sources in a box, for measuring.

They are two models on purpose: what a network has heard of the one says little about the details of the other.
"""

from __future__ import annotations

import numpy as np
import scipy.signal

SPEED_OF_SOUND = 343.0
"""m/s at 20 °C."""
_DIRECT = 0.0025
"""Seconds around the direct sound that count as direct (ISO 3382 takes the same for a dry source)."""


def decaying_noise(seconds: float, direct_db: float, sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """Direct sound, then Gaussian noise that falls by 60 dB (Polack's model of late reverberation).

    Args:
        seconds: reverberation time RT60, > 0.
        direct_db: energy of the direct sound over that of the tail, in dB.
        sample_rate: in Hz.
        random: generator of the noise.

    Returns:
        float64 (samples,), as long as the reverberation time; the first value is 1.
    """
    length = max(2, round(seconds * sample_rate))
    fall = np.exp(-np.log(1000.0) * np.arange(length) / length)
    tail = random.standard_normal(length) * fall
    tail[: max(1, round(_DIRECT * sample_rate))] = 0.0
    energy = float(np.sum(np.square(tail)))
    response = tail * np.sqrt(10 ** (-direct_db / 10) / energy) if energy > 0 else tail
    response[0] = 1.0
    return response


def box(
    size: tuple[float, float, float],
    source: tuple[float, float, float],
    listener: tuple[float, float, float],
    reflection: float,
    seconds: float,
    sample_rate: int,
) -> np.ndarray:
    """The image method of Allen and Berkley (1979) in a room with six equal walls.

    Args:
        size: of the room, in m.
        source: place of the voice, in m.
        listener: place of the microphone, in m.
        reflection: share of the pressure that a wall returns, 0 ≤ reflection < 1.
        seconds: length of the response.
        sample_rate: in Hz.

    Returns:
        float64 (samples,); the direct sound is its first value, and is 1.
    """
    reach = seconds * SPEED_OF_SOUND + float(np.linalg.norm(np.subtract(source, listener)))
    axes = []
    for edge, at, heard in zip(size, source, listener, strict=True):
        number = np.arange(-int(reach / edge) - 2, int(reach / edge) + 3)
        images = np.where(number % 2 == 0, number * edge + at, (number + 1) * edge - at)
        axes.append((images - heard, np.abs(number)))
    (x, nx), (y, ny), (z, nz) = axes
    distance = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2)
    strength = reflection ** (nx[:, None, None] + ny[None, :, None] + nz[None, None, :]) / distance
    nearest = float(distance.min())
    place = np.round((distance - nearest) / SPEED_OF_SOUND * sample_rate).astype(np.int64)
    response = np.zeros(max(1, round(seconds * sample_rate)))
    inside = place < len(response)
    np.add.at(response, place[inside], (strength * nearest)[inside])
    return response


def reverberant(signal: np.ndarray, response: np.ndarray) -> np.ndarray:
    """A signal in the room: convolved, as loud (mean power) as before, and as long; what rings on after its end is cut."""
    wet = scipy.signal.fftconvolve(signal.astype(np.float64), response)[: len(signal)]
    before, after = (float(np.sum(np.square(one, dtype=np.float64))) for one in (signal, wet))
    return wet * np.sqrt(before / after) if after > 0 else wet
