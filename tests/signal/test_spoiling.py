"""Spoilt copies: as long as the clip, made of it alone, the same for the same key, and each kind does what its name says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser.params.features import Copies
from ser.signal import spoiling
from ser.signal.clips import to_float, to_int16
from ser.signal.heard import Heard

RATE = 16_000


def settings(**changes: object) -> Copies:
    base = {
        "count": 2,
        "room_share": 0.3,
        "noise_share": 0.7,
        "babble_share": 0.3,
        "snr_db": [0.0, 30.0],
        "line_share": 0.3,
        "gain_db": 6.0,
    }
    return Copies.model_validate({**base, "seed": 0, **changes})


def nothing(**changes: object) -> Copies:
    """No change at all, but for what is named."""
    return settings(**{"room_share": 0.0, "noise_share": 0.0, "line_share": 0.0, "gain_db": 0.0, **changes})


def speech(samples: int = RATE, rate: int = RATE) -> np.ndarray:
    time = np.arange(samples) / rate
    signal = 0.3 * np.sin(2 * np.pi * 200 * time) * (1 + np.sin(2 * np.pi * 3 * time)) / 2 + 0.02 * np.sin(2 * np.pi * 5000 * time)
    return to_float(to_int16(signal))


def decibels(signal: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(signal, dtype=np.float64)) + 1e-20)


@given(st.sampled_from([1, 2, 3, 7, 160, 1999]), st.sampled_from([8000, 16000, 22050, 44100, 48000]), st.integers(0, 5), st.floats(0, 0.99))
def test_any_clip_keeps_its_length_and_range(samples, rate, number, level):
    signal = (level * np.random.default_rng(samples).uniform(-1, 1, samples)).astype(np.float32)
    spoilt = spoiling.copy(signal, rate, settings(room_share=1.0, noise_share=1.0, line_share=1.0), (number, samples))
    assert (spoilt.shape, spoilt.dtype) == (signal.shape, np.float32)
    assert np.isfinite(spoilt).all()
    np.testing.assert_array_equal(spoilt, to_float(to_int16(spoilt)))  # as the store could hold it


def test_copies_are_keyed_by_number_clip_and_seed():
    clean = speech()
    first = spoiling.copy(clean, RATE, settings(), (1, 0))
    np.testing.assert_array_equal(first, spoiling.copy(clean, RATE, settings(), (1, 0)))
    for other in (spoiling.copy(clean, RATE, settings(), (2, 0)), spoiling.copy(clean, RATE, settings(), (1, 9))):
        assert not np.array_equal(first, other)
    assert not np.array_equal(first, spoiling.copy(clean, RATE, settings(seed=1), (1, 0)))


def test_with_all_shares_zero_a_copy_is_the_clip():
    np.testing.assert_array_equal(spoiling.copy(speech(), RATE, nothing(), (1, 0)), speech())


@pytest.mark.parametrize("kind", [{"room_share": 1.0}, {"noise_share": 1.0}, {"line_share": 1.0}, {"gain_db": 12.0}])
def test_silence_stays_silent(kind):
    spoilt = spoiling.copy(np.zeros(4000, np.float32), RATE, nothing(**kind), (1, 0))
    assert np.abs(spoilt).max() <= 1 / 32768  # a codec may leave one step


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("snr", [20.0, 5.0])
def test_noise_and_babble_have_the_asked_level(share, snr):
    clean = speech(4 * RATE)
    asked = nothing(noise_share=1.0, babble_share=share, snr_db=[snr, snr])
    for number in range(4):
        background = spoiling.copy(clean, RATE, asked, (number, 0)) - clean
        assert decibels(clean) - decibels(background) == pytest.approx(snr, abs=0.1)


def test_noise_is_between_white_and_brown():
    slopes = []
    for number in range(20):
        power = np.abs(np.fft.rfft(spoiling.coloured(1 << 15, np.random.default_rng(number)))) ** 2
        octaves = [np.mean(power[2**k : 2 ** (k + 1)]) for k in range(4, 14)]
        slopes.append(np.polyfit(np.arange(10), 10 * np.log10(octaves), 1)[0])
    assert -6.5 < min(slopes) < -4  # 6 dB an octave is brown
    assert -1 < max(slopes) < 0.5
    assert min(slopes) < -2 < max(slopes)


def test_levels_are_spread_over_the_range():
    clean = speech()
    gains = [decibels(spoiling.copy(clean, RATE, nothing(gain_db=6.0), (number, 0))) - decibels(clean) for number in range(40)]
    assert -6.1 < min(gains) < -3
    assert 3 < max(gains) < 6.1


def test_a_telephone_keeps_its_band_only():
    low, high = (0.3 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE) for hertz in (1000, 6000))
    assert decibels(spoiling.telephone(low, RATE, 300, 3400, 4)) > decibels(low) - 1
    assert decibels(spoiling.telephone(high, RATE, 300, 3400, 4)) < decibels(high) - 40


@pytest.mark.parametrize(("container", "codec"), [("MP3", "MPEG_LAYER_III"), ("OGG", "OPUS")])
def test_codecs_change_little_of_what_is_heard(container, codec):
    clean = speech(2 * RATE)
    received = spoiling.coded(clean, RATE, container, codec, 0.9)
    assert not np.array_equal(clean, received)
    assert np.corrcoef(clean[4000:-4000], received[4000:-4000])[0, 1] > 0.9


def test_rows_are_the_clips_and_then_their_copies(tmp_path):
    audio = to_int16(np.concatenate([speech(800), 0.5 * speech(1200)]))
    np.save(tmp_path / "audio.npy", audio)
    table = pd.DataFrame({"offset": [0, 800], "samples": [800, 1200]})
    every = Heard.every(tmp_path, table, RATE, settings())
    signals = list(every.signals())
    assert (len(every), every.copies, [len(signal) for signal in signals]) == (6, 2, [800, 1200] * 3)
    np.testing.assert_array_equal(signals[1], to_float(audio[800:]))
    np.testing.assert_array_equal(signals[5], spoiling.copy(to_float(audio[800:]), RATE, settings(), (2, 800)))
    parts = [signal for first in range(0, 6, 4) for signal in every.part(first, 4).signals()]
    for whole, part in zip(signals, parts, strict=True):
        np.testing.assert_array_equal(whole, part)
    alone = Heard.every(tmp_path, table, RATE, None)
    assert (len(alone), alone.copies) == (2, 0)
