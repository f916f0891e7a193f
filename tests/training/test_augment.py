"""Augmentation: each part by itself, keyed by clip, the same for both views, and nothing where it is switched off."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ser.training.augment import augment, draw, mask
from ser.views import features
from tests import made
from tests.training.test_batches import clip

OFF = {
    "train__augment__noise_snr_db": None,
    "train__augment__gain_db": 0.0,
    "train__augment__shift_seconds": 0.0,
    "train__augment__speed": 0.0,
    "train__augment__band_shift": 0,
    "train__augment__freq_masks": 0,
    "train__augment__time_masks": 0,
    "train__augment__mixup_alpha": 0.0,
}
FPS = 62.5
FLOOR = -100.0  # dB, features.log_mel.floor_db
CPU = torch.device("cpu")


def apply(rows, max_frames=1000, epoch=1, length=(20, 60), **changes):
    params = made.params(**{**OFF, **changes})
    corpus = made.corpus(params, length=length)
    draws = draw(params.train.augment, 24, 0, epoch, CPU)
    views, lengths = augment(corpus, torch.tensor(rows), draws, params.train.augment, max_frames, FPS)
    return corpus, draws, (views["log_mel"], views["mfcc"], lengths)


def test_switched_off_it_gives_the_clips_themselves():
    corpus, draws, (log_mel, mfcc, lengths) = apply([2, 5])
    for place, row in enumerate((2, 5)):
        torch.testing.assert_close(log_mel[place, : lengths[place]], clip(corpus, "log_mel", row))
        torch.testing.assert_close(mfcc[place, : lengths[place]], clip(corpus, "mfcc", row), atol=0.1, rtol=0.01)
    assert (log_mel[lengths.argmin(), lengths.min() :] == FLOOR).all()
    assert (draws.mix == 1).all()


EVERYTHING = {"train__augment__noise_snr_db": [0.0, 20.0], "train__augment__gain_db": 6.0, "train__augment__shift_seconds": 0.2,
              "train__augment__speed": 0.1, "train__augment__band_shift": 2}  # fmt: skip


def test_a_clip_looks_the_same_in_any_batch_of_an_epoch_and_different_in_the_next():
    _, _, (alone, _, length) = apply([7], **EVERYTHING)
    _, _, (among, _, lengths) = apply([3, 7, 1], **EVERYTHING)
    assert lengths[1] == length[0]
    torch.testing.assert_close(among[1, : lengths[1]], alone[0])
    _, _, (later, _, _) = apply([7], epoch=2, **EVERYTHING)
    assert later.shape != alone.shape or not torch.allclose(later, alone)


def test_both_views_show_the_same_altered_recording():
    corpus, _, (log_mel, mfcc, _) = apply([0, 4, 9], **EVERYTHING)
    torch.testing.assert_close(mfcc, log_mel @ corpus.from_log_mel["mfcc"])


def test_gain_moves_the_level_and_nothing_else():
    corpus, _, (log_mel, mfcc, lengths) = apply([6], train__augment__gain_db=10.0)
    change = log_mel[0, : lengths[0]] - clip(corpus, "log_mel", 6)
    assert change.std() < 1e-4
    assert 0.01 < abs(change.mean()) <= 10
    cepstral = (mfcc[0, : lengths[0]] - clip(corpus, "mfcc", 6)).mean(0)
    assert cepstral[0] == pytest.approx(float(change.mean()) * 4, abs=0.2)
    assert cepstral[1:].abs().max() < 0.05


def test_gain_reaches_mfcc_with_bands_of_their_own():
    params = made.params(**{**OFF, "train__augment__gain_db": 10.0, "features__mfcc__n_mels": 25})
    corpus = made.corpus(params)
    corpus = replace(corpus, from_log_mel={})
    draws = draw(params.train.augment, 24, 0, 1, CPU)
    views, lengths = augment(corpus, torch.tensor([6]), draws, params.train.augment, 1000, FPS)
    change = (views["log_mel"][0, : lengths[0]] - clip(corpus, "log_mel", 6)).mean()
    cepstral = (views["mfcc"][0, : lengths[0]] - clip(corpus, "mfcc", 6)).mean(0)
    assert float(cepstral[0]) == pytest.approx(float(change) * 5, abs=1e-2)
    assert cepstral[1:].abs().max() == 0


@pytest.mark.parametrize("deltas", [False, True])
def test_silence_of_shift_and_padding_is_silence_in_every_view_and_has_no_slope(deltas):
    params = made.params(**{**OFF, "train__augment__shift_seconds": 0.2, "features__mfcc__n_mels": 25, "features__deltas": deltas})
    silent = features.extract(np.zeros(8000, dtype=np.float32), 16_000, params.features)  # the oracle
    corpus = made.corpus(params)
    if deltas:
        corpus = replace(corpus, views={name: torch.cat([frames, 3 * torch.ones_like(frames)], 1) for name, frames in corpus.views.items()})
    corpus = replace(corpus, from_log_mel={})
    draws = draw(params.train.augment, 24, 0, 1, CPU)
    views, lengths = augment(corpus, torch.arange(24), draws, params.train.augment, 1000, FPS)
    silence = lengths - corpus.length
    assert len(silence.unique()) > 3
    steps = torch.arange(views["mfcc"].shape[1])
    quiet = (steps < silence[:, None]) | (steps >= lengths[:, None])
    for name, frames in views.items():
        np.testing.assert_allclose(frames[quiet], np.broadcast_to(silent[name][0], frames[quiet].shape), atol=0.01)
        assert (frames[~quiet][:, 1:] != torch.from_numpy(silent[name][0, 1:])).any(1).all()
        if deltas:
            assert (frames[quiet][:, frames.shape[2] // 2 :] == 0).all()
            assert (frames[~quiet][:, frames.shape[2] // 2 :] == 3).all()


def test_speed_changes_the_length_within_bounds_and_keeps_the_ends():
    corpus, _, (log_mel, _, lengths) = apply(list(range(24)), train__augment__speed=0.2)
    ratio = lengths / corpus.length
    assert ratio.min() >= 1 / 1.2 - 0.06
    assert ratio.max() <= 1 / 0.8 + 0.01
    assert len(ratio.unique()) > 10
    torch.testing.assert_close(log_mel[:, 0], torch.stack([clip(corpus, "log_mel", row)[0] for row in range(24)]))


def test_shift_puts_silence_before():
    corpus, _, (log_mel, _, lengths) = apply(list(range(24)), train__augment__shift_seconds=0.2)
    silence = (lengths - corpus.length).tolist()
    assert min(silence) >= 0
    assert max(silence) <= 0.2 * FPS
    assert len(set(silence)) > 3
    for row, frames in enumerate(silence):
        assert (log_mel[row, :frames] == FLOOR).all()
        torch.testing.assert_close(log_mel[row, frames : lengths[row]], clip(corpus, "log_mel", row))


def test_long_clips_are_cropped_at_different_places():
    corpus, _, (log_mel, _, lengths) = apply([0] * 1 + [1, 2, 3], max_frames=10)
    assert lengths.tolist() == [10] * 4
    for place, row in enumerate([0, 1, 2, 3]):
        whole = clip(corpus, "log_mel", row)
        assert any(torch.equal(whole[first : first + 10], log_mel[place]) for first in range(len(whole) - 9))


def test_noise_has_the_ratio_that_was_drawn():
    corpus, _, (log_mel, _, lengths) = apply(
        list(range(24)), train__augment__noise_snr_db=[10.0, 10.0], train__augment__noise_share=1.0, length=(200, 201)
    )
    for row in range(24):
        before = 10 ** (clip(corpus, "log_mel", row) / 10)
        after = 10 ** (log_mel[row, : lengths[row]] / 10)
        ratio = 10 * torch.log10(before.mean() / (after - before).mean())
        assert float(ratio) == pytest.approx(10, abs=0.5)


def test_noise_reaches_its_share_of_clips():
    corpus, _, (log_mel, _, lengths) = apply(list(range(24)), train__augment__noise_snr_db=[0.0, 5.0], train__augment__noise_share=0.5)
    noisy = [not torch.allclose(log_mel[row, : lengths[row]], clip(corpus, "log_mel", row), atol=1e-3) for row in range(24)]
    assert 4 < sum(noisy) < 20


def test_band_shift_moves_the_spectrum():
    corpus, draws, (log_mel, _, lengths) = apply(list(range(24)), train__augment__band_shift=3)
    for row in range(4):
        bands = 3 * (2 * float(draws.uniform[row, 6]) - 1)
        place = np.clip(np.arange(16) + bands, 0, 15)
        expected = np.stack([np.interp(place, np.arange(16), frame) for frame in clip(corpus, "log_mel", row).numpy()])
        np.testing.assert_allclose(log_mel[row, : lengths[row]], expected, atol=1e-3)


@pytest.mark.parametrize(("freq", "time"), [(2, 0), (0, 2), (1, 1), (0, 0)])
def test_masks_hide_whole_bands_and_stretches(freq, time):
    params = made.params(train__augment__freq_masks=freq, train__augment__time_masks=time, train__augment__time_width=0.3).train.augment
    draws = draw(params, 24, 0, 1, CPU)
    frames = torch.ones(24, 40, 16)
    lengths = torch.arange(17, 41)
    fill = torch.full((16,), -5.0)
    hidden = mask(frames, lengths, draws.uniform, fill, params) == -5
    assert hidden.any() == (freq + time > 0)
    rows, steps = hidden.all(1).sum(1), hidden.all(2).sum(1)
    assert rows.max() <= 4 * freq
    assert steps.max() <= 0.3 * 40 * time
    for clip_hidden, whole_rows, whole_steps in zip(hidden, hidden.all(1), hidden.all(2), strict=True):
        torch.testing.assert_close(clip_hidden, whole_rows[None, :] | whole_steps[:, None])


def test_mixup_weights_favour_the_clip_itself():
    params = made.params(train__augment__mixup_alpha=0.4).train.augment
    mix = draw(params, 5000, 0, 1, CPU).mix
    assert mix.min() >= 0.5
    assert mix.max() <= 1
    weights = np.random.default_rng(1).beta(0.4, 0.4, 100_000)
    assert float(mix.mean()) == pytest.approx(np.maximum(weights, 1 - weights).mean(), abs=0.01)
