"""Frames in memory and batches: every clip once, statistics by hand, standardisation per speaker and clip."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ser import SerError
from ser.training import batches
from ser.views import features
from ser.views.mfcc import dct_matrix
from tests import made


def clip(corpus, name, row):
    start, length = int(corpus.start[row]), int(corpus.length[row])
    return corpus.views[name][start : start + length].float()


@given(count=st.integers(1, 200), size=st.integers(2, 64), seed=st.integers(0, 99))
def test_every_clip_is_in_exactly_one_batch(count, size, seed):
    rows = np.arange(1000, 1000 + count)
    cut = batches.epoch_batches(rows, size, None, (seed, 1))
    assert sorted(np.concatenate(cut)) == rows.tolist()
    assert max(map(len, cut)) - min(map(len, cut)) <= 1
    assert max(map(len, cut)) <= 1.5 * size + 1


def test_the_order_is_keyed():
    rows = np.arange(50)
    first, again, other = (np.concatenate(batches.epoch_batches(rows, 8, None, key)) for key in ((0, 1), (0, 1), (0, 2)))
    assert first.tolist() == again.tolist() != other.tolist()


def test_balanced_sampling_shows_every_class_equally_often():
    target = np.array([0] * 90 + [1] * 9 + [2])
    rows = np.arange(100)
    drawn = np.concatenate(batches.epoch_batches(rows, 8, target, (0, 1)))
    assert np.bincount(target[drawn]).tolist() == [34, 34, 34]


def test_cut_gives_the_clips_frames_and_marks_padding():
    corpus = made.corpus(made.params())
    rows = torch.tensor([3, 0])
    frames, inside = batches.cut(corpus, "log_mel", rows, torch.tensor([0, 2]), torch.tensor([int(corpus.length[3]), 5]))
    assert frames.shape[:2] == inside.shape == (2, int(corpus.length[3]))
    torch.testing.assert_close(frames[0], clip(corpus, "log_mel", 3))
    torch.testing.assert_close(frames[1, :5], clip(corpus, "log_mel", 0)[2:7])
    assert inside[1].sum() == 5


@pytest.mark.parametrize("normalise", ["corpus", "clip"])
def test_gather_gives_all_views_cut_and_standardised(normalise):
    corpus = made.corpus(made.params(features__normalise=normalise))
    rows, first, length = torch.tensor([3, 0]), torch.tensor([0, 2]), torch.tensor([int(corpus.length[3]), 5])
    views, inside = batches.gather(corpus, rows, first, length)
    assert list(views) == list(features.VIEWS)
    assert inside.sum(1).tolist() == length.tolist()
    for name, frames in views.items():
        expected = clip(corpus, name, 0)[2:7]
        if normalise == "clip":
            expected = (expected - expected.mean(0)) / expected.std(0, correction=0)
        torch.testing.assert_close(frames[1, :5], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("normalise", ["corpus", "speaker", "clip"])
def test_view_statistics_by_hand(normalise):
    params = made.params(features__normalise=normalise)
    corpus = made.corpus(params)
    if normalise == "speaker":
        means = {}
        for name in features.VIEWS:
            frames = [torch.cat([clip(corpus, name, row) for row in range(24) if row % 4 == speaker]) for speaker in range(4)]
            means[name] = (torch.stack([f.mean(0) for f in frames]), torch.stack([f.std(0, correction=0) for f in frames]))
        corpus = type(corpus)(**{**vars(corpus), "group_statistics": means})
    rows = np.array([0, 1, 2, 5, 7])
    found = batches.view_statistics(corpus, rows)
    for name in features.VIEWS:
        pieces = []
        for row in rows:
            frames = clip(corpus, name, row)
            if normalise == "speaker":
                mean, scale = corpus.group_statistics[name]
                frames = (frames - mean[row % 4]) / scale[row % 4]
            if normalise == "clip":
                frames = (frames - frames.mean(0)) / frames.std(0, correction=0)
            pieces.append(frames)
        expected = torch.cat(pieces).double()
        np.testing.assert_allclose(found[name].mean, expected.mean(0), atol=1e-3)
        np.testing.assert_allclose(found[name].scale, expected.std(0, correction=0), rtol=1e-3)


def write(folder, corpus):
    for name in features.VIEWS:
        np.save(folder / f"{name}.npy", corpus.views[name].numpy())
    offsets = np.concatenate([[0], np.cumsum(corpus.length.numpy())]).astype(np.int64)
    np.save(folder / "offsets.npy", offsets)


@pytest.mark.parametrize("normalise", ["corpus", "speaker"])
def test_load_reads_what_the_features_stage_wrote(tmp_path, normalise):
    params = made.params(features__normalise=normalise)
    corpus = made.corpus(params)
    write(tmp_path, corpus)
    loaded = batches.load(str(tmp_path), made.table(), made.CLASSES, params.features, torch.device("cpu"))
    for name in ("views", "start", "length", "target", "group", "from_log_mel"):
        torch.testing.assert_close(getattr(loaded, name), getattr(corpus, name))
    assert loaded.silence["log_mel"].tolist() == [-100.0] * 16
    assert loaded.per_db["mfcc"].tolist() == [4.0] + [0.0] * 11
    if normalise == "speaker":
        frames = torch.cat([clip(corpus, "mfcc", row) for row in range(1, 24, 4)])
        torch.testing.assert_close(loaded.group_statistics["mfcc"][0][1], frames.mean(0), atol=1e-3, rtol=1e-4)


def test_features_in_memory_are_those_of_the_folder(tmp_path):
    params = made.params(features__normalise="speaker").features
    write(tmp_path, made.corpus(made.params()))
    opened = features.read(tmp_path, params)
    loaded, again = (batches.load(source, made.table(), made.CLASSES, params, torch.device("cpu")) for source in (str(tmp_path), opened))
    for name in ("views", "start", "length", "target", "group", "group_statistics"):
        torch.testing.assert_close(getattr(again, name), getattr(loaded, name), rtol=0, atol=0)
    with pytest.raises(SerError, match=r"24 clips, clips\.csv 23"):
        batches.load(opened, made.table()[:23], made.CLASSES, params, torch.device("cpu"))


def test_features_of_other_clips_are_refused(tmp_path):
    params = made.params()
    write(tmp_path, made.corpus(params))
    with pytest.raises(SerError, match=r"24 clips, clips\.csv 23"):
        batches.load(str(tmp_path), made.table()[:23], made.CLASSES, params.features, torch.device("cpu"))


def test_mfcc_can_be_computed_again_from_the_bands():
    params = made.params().features
    random = np.random.default_rng(0)
    views = features.extract(random.normal(0, 0.1, 8000).astype(np.float32), 16000, params)
    cosines = dct_matrix(params.log_mel.n_mels, params.mfcc.n_mfcc).T
    np.testing.assert_allclose(views["log_mel"].astype(np.float64) @ cosines, views["mfcc"].astype(np.float64), atol=0.3)


def test_an_epoch_hears_each_clip_once_as_it_is_or_as_one_of_its_copies():
    rows = np.array([0, 3, 4])
    drawn = np.array([batches.one_of_each(rows, 5, 2, 0.6, (0, epoch)) for epoch in range(200)])
    np.testing.assert_array_equal(drawn % 5, np.tile(rows, (200, 1)))
    assert set(np.unique(drawn // 5)) == {0, 1, 2}
    assert np.mean(drawn >= 5) == pytest.approx(0.6, abs=0.06)
    np.testing.assert_array_equal(drawn[7], batches.one_of_each(rows, 5, 2, 0.6, (0, 7)))
    np.testing.assert_array_equal(batches.one_of_each(rows, 5, 0, 0.6, (0, 1)), rows)
    np.testing.assert_array_equal(batches.one_of_each(rows, 5, 2, 0.0, (0, 1)), rows)
