"""Impulse responses: against what can be computed by hand, and the energy of what goes through them."""

from __future__ import annotations

import numpy as np
import pytest

from ser.signal.rooms import SPEED_OF_SOUND, box, decaying_noise, reverberant

RATE = 16_000


def fall(response: np.ndarray) -> np.ndarray:
    """Schroeder's curve: energy from each sample on, in dB of all energy."""
    left = np.cumsum(np.square(response[::-1]))[::-1]
    return 10 * np.log10(left / left[0] + 1e-30)


def test_without_reflections_a_box_is_the_direct_sound():
    response = box((4.0, 3.0, 2.5), (1.0, 1.0, 1.0), (2.0, 2.0, 1.0), 0.0, 0.1, RATE)
    assert response[0] == 1.0
    assert not response[1:].any()


def test_the_first_reflections_come_from_the_mirrored_sources():
    size, source, listener, reflection = (4.0, 3.0, 2.5), (1.0, 1.0, 1.0), (3.0, 1.0, 1.0), 0.5
    response = box(size, source, listener, reflection, 0.02, RATE)
    direct = 2.0
    floor = np.hypot(2.0, 2.0)  # the source mirrored at z = 0 and at y = 0 are equally far
    place = round((floor - direct) / SPEED_OF_SOUND * RATE)
    assert response[place] == pytest.approx(2 * reflection * direct / floor)
    assert not response[1:place].any()
    walls = 4.0  # mirrored at x = 0 and at x = 4 it is equally far, too
    assert response[round((walls - direct) / SPEED_OF_SOUND * RATE)] == pytest.approx(2 * reflection * direct / walls)


def test_a_smaller_or_softer_room_is_over_sooner():
    def ends(scale: float, reflection: float) -> int:
        size, source, listener = (tuple(scale * edge for edge in place) for place in ((5.0, 4.0, 3.0), (1.0, 1.0, 1.5), (3.0, 2.0, 1.0)))
        return int(np.argmax(fall(box(size, source, listener, reflection, 0.6, RATE)) < -20))

    assert ends(0.5, 0.8) < ends(1.0, 0.8)
    assert ends(1.0, 0.6) < ends(1.0, 0.8)


@pytest.mark.parametrize(("seconds", "direct_db"), [(0.2, 0.0), (0.5, 10.0), (0.001, 0.0)])
def test_noise_decays_as_asked(seconds, direct_db):
    response = decaying_noise(seconds, direct_db, RATE, np.random.default_rng(0))
    assert response[0] == 1.0
    tail = response[1:]
    if seconds >= 0.1:
        assert 10 * np.log10(1 / np.sum(tail**2)) == pytest.approx(direct_db, abs=1e-6)
        first, second = (np.sum(part**2) for part in np.array_split(tail[40:], 2))
        assert 10 * np.log10(first / second) == pytest.approx(30, abs=4)  # half of the time that 60 dB take
    else:
        assert not tail.any()  # shorter than what counts as direct


@pytest.mark.parametrize("samples", [1, 2, 100, 30_000])
def test_a_room_keeps_length_and_loudness(samples):
    signal = np.random.default_rng(0).standard_normal(samples)
    wet = reverberant(signal, decaying_noise(0.3, 3.0, RATE, np.random.default_rng(1)))
    assert wet.shape == signal.shape
    assert np.mean(wet**2) == pytest.approx(np.mean(signal**2))


def test_silence_stays_silent():
    assert not reverberant(np.zeros(100), np.ones(10)).any()
