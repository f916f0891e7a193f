"""What the perturbations do to a signal, and that the study scores the same clips under each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser.evaluation import degradation, robustness
from ser.evaluation.degradation import Condition, perturb
from ser.params.evaluate import Robustness
from ser.signal.clips import to_int16
from ser.views import features
from tests import predicted
from tests.made import params

RATE = 16000


def tone(hertz: float, seconds: float = 1.0, level: float = 0.25, rate: int = RATE) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def power(signal: np.ndarray) -> float:
    return float(np.mean(signal.astype(np.float64) ** 2))


@pytest.mark.parametrize("snr", [20.0, 10.0, 0.0])
def test_noise_has_the_asked_level(snr):
    clean = tone(440, 4)
    noise = perturb(clean, Condition("noise", snr), RATE, (0, 1)) - clean
    assert 10 * np.log10(power(clean) / power(noise)) == pytest.approx(snr, abs=0.1)


def test_noise_is_keyed():
    clean = tone(440)
    assert np.array_equal(perturb(clean, Condition("noise", 10), RATE, (0, 1)), perturb(clean, Condition("noise", 10), RATE, (0, 1)))
    assert not np.array_equal(perturb(clean, Condition("noise", 10), RATE, (0, 1)), perturb(clean, Condition("noise", 10), RATE, (0, 2)))


def test_silence_stays_silent_under_noise():
    assert not perturb(np.zeros(800, np.float32), Condition("noise", 0), RATE, (0,)).any()


@pytest.mark.parametrize("snr", [20.0, 0.0])
def test_babble_is_made_of_others_and_has_the_asked_level(snr):
    clean, others = (
        tone(440, 2, level=0.1),
        [tone(hertz, seconds) for hertz, seconds in ((300, 0.5), (700, 3), (900, 1), (1100, 1), (1300, 1))],
    )
    background = perturb(clean, Condition("babble", snr), RATE, (0, 1), others) - clean
    assert 10 * np.log10(power(clean) / power(background)) == pytest.approx(snr, abs=0.1)
    spectrum = np.abs(np.fft.rfft(background))
    heard = [hertz for hertz in (300, 700, 900, 1100, 1300) if spectrum[2 * hertz - 4 : 2 * hertz + 5].max() > 0.2 * spectrum.max()]
    assert heard == [300, 700, 900, 1100, 1300]
    np.testing.assert_allclose(perturb(clean, Condition("babble", snr), RATE, (0, 1), []), clean, atol=2e-5)  # nobody else is there


def test_a_room_rings_after_the_sound_and_is_as_loud():
    click = np.zeros(RATE, np.float32)
    click[100:200] = 0.5
    wet = perturb(click, Condition("room"), RATE, ())
    assert power(wet) == pytest.approx(power(click), rel=0.01)
    assert power(wet[200:2000]) > 0.01 * power(click)
    assert power(wet[:90]) == 0


def test_gain_changes_the_level_and_saturates_instead_of_wrapping():
    quiet = tone(440, level=0.1)
    assert 10 * np.log10(power(perturb(quiet, Condition("gain", 12), RATE, ())) / power(quiet)) == pytest.approx(12, abs=0.01)
    loud = perturb(tone(440, level=0.9), Condition("gain", 12), RATE, ())
    assert (loud.max(), loud.min()) == (32767 / 32768, -1.0)
    assert np.array_equal(loud > 0.1, (loud > 0.1) & (tone(440, level=0.9) > 0))


@pytest.mark.parametrize(("hertz", "low", "high"), [(1000, -1, 0.5), (50, -200, -25), (6000, -200, -40)])
def test_telephone_passes_its_band_only(hertz, low, high):
    change = 10 * np.log10(power(perturb(tone(hertz), Condition("telephone"), RATE, ())[2000:-2000]) / power(tone(hertz)) + 1e-20)
    assert low <= change <= high


@pytest.mark.parametrize("rate", [8000, 16000, 32000, 48000])
def test_mp3_keeps_time_and_sound(rate):
    clean = tone(440, rate=rate)
    coded = perturb(clean, Condition("mp3"), rate, ())
    middle = slice(rate // 4, 3 * rate // 4)
    assert np.corrcoef(clean[middle], coded[middle])[0, 1] > 0.97
    assert not np.array_equal(clean, coded)


@given(st.integers(1, 3000), st.sampled_from([*degradation.conditions(predicted.settings().robustness)]), st.floats(0, 0.99))
def test_any_clip_keeps_its_length_and_range(samples, condition, level):
    signal = (level * np.random.default_rng(samples).uniform(-1, 1, samples)).astype(np.float32)
    spoilt = perturb(signal, condition, RATE, (samples,))
    assert spoilt.shape == signal.shape
    assert spoilt.dtype == np.float32
    assert np.abs(spoilt).max() <= 1


@pytest.mark.parametrize(
    ("signal", "condition", "name"),
    [
        (np.zeros(0, np.float32), Condition("clean"), "signal"),
        (np.zeros((2, 2), np.float32), Condition("clean"), "signal"),
        (np.zeros(9, np.float32), Condition("reverb"), "condition.kind"),
        (np.zeros(9, np.float32), Condition("noise"), "condition.value"),
    ],
)
def test_wrong_inputs_are_named(signal, condition, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        perturb(signal, condition, RATE, ())


def test_conditions_are_those_asked_for():
    asked = Robustness(snr_db=[0.0, 20.0, 20.0], babble_snr_db=[5.0], gain_db=[12.0], room=True, telephone=False, mp3=True, max_clips=1)
    names = [condition.name for condition in degradation.conditions(asked)]
    assert names == ["clean", "noise 20 dB SNR", "noise 0 dB SNR", "babble 5 dB SNR", "gain +12 dB", "room", "mp3"]


def test_clips_are_drawn_by_seed():
    rows = np.arange(100)
    drawn = robustness.chosen_clips(rows, 10, 0)
    assert len(set(drawn)) == 10
    assert list(drawn) == sorted(drawn)
    assert list(drawn) == list(robustness.chosen_clips(rows, 10, 0))
    assert list(drawn) != list(robustness.chosen_clips(rows, 10, 1))
    assert robustness.chosen_clips(rows, 100, 0) is rows


@pytest.fixture
def store(tmp_path):
    """Clips of noise and their table, as preprocess writes them."""
    table = predicted.clips(speakers=4, takes=4)
    table["samples"] = 3000 + 10 * np.arange(len(table))
    table["offset"] = np.cumsum([0, *table["samples"][:-1]])
    audio = to_int16(np.random.default_rng(0).normal(0, 0.1, int(table["samples"].sum())))
    np.save(tmp_path / "audio.npy", audio)
    table.to_csv(tmp_path / "clips.csv", index=False)
    return tmp_path, table, audio


def test_study_goes_through_the_same_features_and_its_bar_to_its_end(store, monkeypatch, capsys):
    monkeypatch.setenv("SER_WORKERS", "1")
    folder, table, audio = store
    settings, everything = predicted.settings(), params()
    rows = np.array([1, 5, 6, 14])
    made = predicted.predictions(table, folds=4)
    seen = []

    def predict(views: features.Views, chosen: pd.DataFrame) -> pd.DataFrame:
        seen.append(views)
        assert chosen["clip"].tolist() == table["clip"].iloc[rows].tolist()
        return made[made["clip"].isin(chosen["clip"])]

    found = robustness.study(folder, rows, settings, everything.features, RATE, everything.runtime, predict)
    assert list(found) == degradation.conditions(settings.robustness)
    assert "robustness: 100%" in capsys.readouterr().err.split("\r")[-1]
    for number, row in enumerate(rows):
        signal = audio[table["offset"][row] : table["offset"][row] + table["samples"][row]].astype(np.float32) / 32768
        for view, got in seen[0].clip(number).items():
            np.testing.assert_array_equal(got, features.extract(signal, RATE, everything.features)[view])
    assert all(not np.array_equal(views.frames["log_mel"], seen[0].frames["log_mel"]) for views in seen[1:])


def test_babble_is_of_other_speakers_where_there_are_any():
    table = predicted.clips(speakers=3, takes=6)
    table["offset"] = 100 * np.arange(len(table))
    drawn = degradation.voices_for(table, 0)
    for row, others in enumerate(drawn):
        assert len(set(others)) == degradation.VOICES
        assert (table["speaker"].iloc[others] != table["speaker"].iloc[row]).all()
    assert {tuple(one) for one in drawn} != {tuple(drawn[0])}
    for lonely in ("the same", ""):
        for row, others in enumerate(degradation.voices_for(table.assign(speaker=lonely), 0)):
            assert len(set(others) - {row}) == degradation.VOICES
    assert [len(others) for others in degradation.voices_for(table.iloc[:1], 0)] == [0]


def test_the_study_lets_others_speak_in_babble_and_nowhere_else(store, monkeypatch):
    monkeypatch.setenv("SER_WORKERS", "1")
    folder, table, audio = store
    heard = []

    def noted(signal, condition, rate, key, voices):
        heard.append((condition.kind, key[1], [to_int16(voice) for voice in voices]))
        return perturb(signal, condition, rate, key, voices)

    monkeypatch.setattr(robustness, "perturb", noted)
    everything, made = params(), predicted.predictions(table, folds=4)
    robustness.study(folder, np.arange(16), predicted.settings(), everything.features, RATE, everything.runtime, lambda views, chosen: made)
    speaker_of = dict(zip(table["offset"], table["speaker"], strict=True))
    assert {kind for kind, _, voices in heard if voices} == {"babble"}
    for _, start, voices in (one for one in heard if one[0] == "babble"):
        found = [row for voice in voices for row in range(16) if np.array_equal(voice, audio[table["offset"][row] :][: len(voice)])]
        assert len(found) == degradation.VOICES
        assert all(table["speaker"][row] != speaker_of[start] for row in found)


def test_loss_is_against_the_same_clips_untouched():
    table = predicted.clips(speakers=6, takes=24)
    good, bad = predicted.predictions(table, skill=4), predicted.predictions(table, skill=0.2)
    found = robustness.scores({Condition("clean"): good, Condition("mp3"): good, Condition("noise", 0.0): bad}, table, predicted.settings())
    clean, same, worse = found["conditions"]
    assert (clean["lost"], clean["lost_ci"]) == (0, (0, 0))
    assert (same["lost"], same["lost_ci"]) == (0, (0, 0))
    assert worse["lost"] == pytest.approx(clean["ua"] - worse["ua"])
    assert 0 < worse["lost_ci"][0] < worse["lost"] < worse["lost_ci"][1]
    assert (found["clean_ua"], found["worst_ua"], found["n"]) == (clean["ua"], worse["ua"], 144)


@pytest.mark.parametrize("normalise", ["corpus", "speaker"])
def test_the_study_scores_the_clips_drawn_and_with_speakers_known_hears_all(store, monkeypatch, normalise):
    monkeypatch.setenv("SER_WORKERS", "1")
    folder, table, _ = store
    everything, heard, scored = params(features__normalise=normalise, features__copies=None), [], []
    folds = pd.DataFrame({"clip": table["clip"], "fold": 1, "part": ["test"] * 12 + ["valid"] * 4})

    def predict(views: features.Views, chosen: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
        assert len(views) == len(chosen)
        heard.append(len(chosen))
        scored.append(asked["clip"].tolist())
        made = predicted.predictions(table, folds=4)
        return made[made["clip"].isin(asked["clip"]) & (made["part"] == "test")]

    arguments = everything.features, RATE, everything.runtime, predict
    found = robustness.measure(folder, folds, predicted.settings(), *arguments)
    assert found is not None
    assert found["n"] == 8
    assert set(heard) == {8 if normalise == "corpus" else 16}
    assert all(clips == scored[0] for clips in scored)
    assert set(scored[0]) <= set(table["clip"][:12])
    off = predicted.settings(
        robustness=Robustness(snr_db=[], babble_snr_db=[], gain_db=[], room=False, telephone=False, mp3=False, max_clips=0)
    )
    assert robustness.measure(folder, folds, off, *arguments) is None
