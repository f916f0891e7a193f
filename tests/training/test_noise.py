"""Noise on the recordings of a training set: keyed, of the ratio that was drawn, on training clips only, and heard by the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from threadpoolctl import threadpool_info, threadpool_limits

from ser.signal.clips import read_table, to_int16
from ser.signal.noise import with_noise
from ser.training import batches, jobs, noise
from ser.training.augment import draw, with_noisy_recordings
from ser.views import features
from ser.views.spectrum import frame_count
from tests import made

CPU = torch.device("cpu")
RATE = 16000
SNR, TRAIN = (10.0, 20.0), np.arange(0, 24, 2)


def params(**changes):
    """Own mel bands for MFCC, which noise on mel power could not do."""
    asked = {
        "preprocess__sample_rate": RATE,
        "features__mfcc__n_mels": 20,
        "train__epochs": 2,
        "train__augment__band_shift": 0,
        "train__augment__noise_domain": "waveform",
        "train__augment__noise_snr_db": list(SNR),
    }
    return made.params(**{**asked, **changes})


def written(folder: Path, wanted) -> Path:
    """Voices of three classes on disk: the recordings, their table, their features and one fold."""
    random = np.random.default_rng(1)
    table = made.table()
    signals = [
        0.3 * np.sin(2 * np.pi * (300 + 400 * (row % 3)) * np.arange(samples) / RATE) * random.uniform(0.3, 1)
        for row, samples in enumerate(random.integers(3000, 8000, 24))
    ]
    table["samples"] = [len(signal) for signal in signals]
    table["offset"] = np.cumsum([0, *table["samples"][:-1]])
    (folder / "clips").mkdir(parents=True)
    table.to_csv(folder / "clips/clips.csv", index=False)
    np.save(folder / "clips/audio.npy", to_int16(np.concatenate(signals)))
    heard = noise.recordings(folder / "clips", table, RATE, wanted.features)
    found = [features.extract(signal_of(heard, row), RATE, wanted.features) for row in range(24)]
    for view in features.VIEWS:
        np.save(folder / f"clips/{view}.npy", np.concatenate([one[view] for one in found]))
    np.save(folder / "clips/offsets.npy", np.cumsum([0, *(len(one["mfcc"]) for one in found)]))
    part = ["train" if row in TRAIN else "valid" if row % 4 == 1 else "test" for row in range(24)]
    table.assign(fold=1, part=part)[["clip", "fold", "part"]].to_csv(folder / "folds.csv", index=False)
    return folder


def signal_of(heard: noise.Recordings, row: int) -> np.ndarray:
    return heard.audio[heard.start[row] : heard.start[row] + heard.samples[row]].astype(np.float32) / 32768


def opened(folder: Path, wanted) -> tuple[batches.Corpus, noise.Recordings]:
    table = read_table(folder / "clips")
    corpus = batches.load(str(folder / "clips"), table, made.CLASSES, wanted.features, CPU)
    return corpus, noise.recordings(folder / "clips", table, RATE, wanted.features)


def frames_of(corpus: batches.Corpus, row: int, view: str = "log_mel") -> np.ndarray:
    start = int(corpus.start[row])
    return corpus.views[view][start : start + int(corpus.length[row])].float().numpy()


def noisy(folder: Path, wanted, epoch: int = 1) -> tuple[batches.Corpus, batches.Corpus]:
    corpus, heard = opened(folder, wanted)
    draws = draw(wanted.train.augment, 24, 0, epoch, CPU)
    return corpus, with_noisy_recordings(corpus, heard, TRAIN, draws, wanted.train.augment, (0, epoch))


def changed(a: batches.Corpus, b: batches.Corpus) -> list[int]:
    return [row for row in range(24) if not np.array_equal(frames_of(a, row), frames_of(b, row))]


def test_frames_are_those_of_the_noisy_signal(tmp_path):
    wanted = params()
    _, heard = opened(written(tmp_path, wanted), wanted)
    clean = signal_of(heard, 5)
    spoilt = with_noise(clean, 10.0, (1, 2))
    expected = features.extract(spoilt, RATE, wanted.features)
    found = heard.noisy_frames(5, 10.0, (1, 2))
    assert 10 * np.log10(np.mean(clean**2) / np.mean((spoilt - clean) ** 2)) == pytest.approx(10, abs=0.2)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[view], expected[view]) for view in expected)
    assert len(found["mfcc"]) == frame_count(len(clean), wanted.features.frames)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 2, 10), (1.0, 12, 12)])
def test_a_share_of_the_training_clips_is_spoilt_and_no_other(tmp_path, share, least, most):
    wanted = params(train__augment__noise_share=share)
    before, after = noisy(written(tmp_path, wanted), wanted)
    assert set(changed(before, after)) <= set(TRAIN)
    assert least <= len(changed(before, after)) <= most
    assert np.array_equal(frames_of(before, 0, "mfcc"), frames_of(after, 0, "mfcc")) == (0 not in changed(before, after))


def test_the_ratio_is_within_the_range(tmp_path):
    """Told by the level of the noise where the tone is not, against the same clip at 15 dB."""
    wanted = params(train__augment__noise_share=1.0)
    before, after = noisy(written(tmp_path, wanted), wanted)
    _, heard = opened(tmp_path, wanted)
    ratios = []
    for row in TRAIN:
        known = 10 ** (heard.noisy_frames(row, 15.0, (9, row))["log_mel"].astype(np.float64) / 10)
        clean, spoilt = (10 ** (frames_of(corpus, row).astype(np.float64) / 10) for corpus in (before, after))
        quiet = clean.mean(0) < 1e-4 * clean.mean(0).max()
        ratios.append(15 + 10 * np.log10(known[:, quiet].mean() / spoilt[:, quiet].mean()))
    assert SNR[0] - 0.5 < min(ratios) < max(ratios) < SNR[1] + 0.5
    assert max(ratios) - min(ratios) > 3


def test_it_is_the_same_in_an_epoch_and_another_in_the_next(tmp_path):
    wanted = params(train__augment__noise_share=1.0)
    folder = written(tmp_path, wanted)
    _, first = noisy(folder, wanted)
    _, again = noisy(folder, wanted)
    _, later = noisy(folder, wanted, epoch=2)
    assert changed(first, again) == []
    assert changed(first, later) == list(TRAIN)


def test_it_does_not_depend_on_how_many_threads_blas_may_use(tmp_path, monkeypatch):
    wanted = params(train__augment__noise_share=1.0)
    folder = written(tmp_path, wanted)
    seen: set[int] = set()
    extract = features.extract

    def watched(*arguments):
        seen.update(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return extract(*arguments)

    monkeypatch.setattr(features, "extract", watched)
    with threadpool_limits(2):
        noisy(folder, wanted)
    assert seen == {1}


def weights(folder: Path, wanted) -> dict[str, torch.Tensor]:
    job = jobs.Job(folder / "clips", folder / "clips", folder / "folds.csv", made.trained(wanted), 1, 0, folder / "check", folder / "out")
    jobs.train([job], made.params(runtime__workers=1).runtime, folder / "log")
    return load_file(folder / "out")


def test_the_network_hears_the_noise_of_the_training_clips_and_no_other_recording(tmp_path, monkeypatch):
    monkeypatch.delenv("SER_WORKERS", raising=False)
    wanted = params()
    learned = weights(written(tmp_path / "a", wanted), wanted)
    assert all(torch.isfinite(value).all() for value in learned.values())

    other = written(tmp_path / "b", wanted)
    audio = np.load(other / "clips/audio.npy")
    table = read_table(other / "clips")
    for row in set(range(24)) - set(TRAIN):
        audio[table["offset"][row] : table["offset"][row] + table["samples"][row]] = 12345
    np.save(other / "clips/audio.npy", audio)
    again = weights(other, wanted)
    assert all(torch.equal(learned[name], again[name]) for name in learned)

    silent = written(tmp_path / "c", wanted)
    np.save(silent / "clips/audio.npy", np.zeros_like(audio))
    without = weights(silent, wanted)
    assert not all(torch.equal(learned[name], without[name]) for name in learned)
