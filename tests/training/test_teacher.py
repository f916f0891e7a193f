"""The teacher answers out of fold, reads nothing but training clips, and its answers are what the network learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ser import SerError
from ser.encoders import store
from ser.params import ParamsError
from ser.params.encoder import Encoder
from ser.training import batches, jobs, loop, teacher
from tests import made
from tests.training.test_loop import fold

TAUGHT = {
    "features__encoder": {"name": "made", "layers": [1, 2, 4]},
    "model__linear__layers": [1, 2, 4],
    "train__teacher": "linear",
    "train__epochs": 2,
}
COPIES = {"count": 1, "room_share": 0.0, "noise_share": 1.0, "babble_share": 0.0, "snr_db": [0.0, 30.0], "line_share": 0.0}
CLIPS_ALONE = {
    "features__encoder": {"name": "made", "layers": [1, 2, 4], "copies": False},
    "features__copies": {**COPIES, "gain_db": 0.0, "seed": 0},
    "train__augment__noise_snr_db": None,
}
LINEAR = made.params(**TAUGHT).model.linear
CLASSES, SPEAKERS = 3, 12


def clips(count: int = 96, seed: int = 0):
    """Pooled states in which the class shows beneath differences between speakers, labels, speakers, and the training part."""
    random = np.random.default_rng(seed)
    target, speakers = np.arange(count) % CLASSES, np.arange(count) // CLASSES % SPEAKERS
    pooled = random.normal(0, 1, (count, 12)) + 30 * random.normal(0, 1, (SPEAKERS, 12))[speakers]
    pooled[np.arange(count), target] += 3
    train = np.flatnonzero(speakers < SPEAKERS - 3)
    return pooled.astype(np.float32), target, speakers, train


def answers(pooled, target, speakers, train):
    return teacher.soft_targets(pooled, target, speakers, train, [1, 2, 4], CLASSES, LINEAR)


def test_answers_are_probabilities_of_training_clips_alone_and_mostly_right():
    pooled, target, speakers, train = clips()
    found = answers(pooled, target, speakers, train)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[train].sum(1), 1, atol=1e-5)
    others = np.setdiff1d(np.arange(len(target)), train)
    assert np.isnan(found[others]).all()
    assert (found[train].argmax(1) == target[train]).mean() > 0.8  # although speakers differ by ten times as much as classes


def test_no_answer_depends_on_validation_or_test_clips():
    pooled, target, speakers, train = clips()
    others = np.setdiff1d(np.arange(len(target)), train)
    spoilt, wrong = pooled.copy(), target.copy()
    spoilt[others], wrong[others] = np.nan, 0
    np.testing.assert_array_equal(answers(spoilt, wrong, speakers, train), answers(pooled, target, speakers, train))


def test_a_test_clip_of_a_training_speaker_is_not_read_either():
    pooled, target, speakers, train = clips()
    fewer = train[::2]  # as in the random protocol
    spoilt = pooled.copy()
    spoilt[np.setdiff1d(np.arange(len(target)), fewer)] = np.nan
    np.testing.assert_array_equal(answers(spoilt, target, speakers, fewer), answers(pooled, target, speakers, fewer))


def test_nobody_is_answered_for_by_a_regression_that_knows_the_labels_of_the_same_speaker():
    pooled, target, speakers, train = clips()
    before = answers(pooled, target, speakers, train)
    for speaker in np.unique(speakers[train]):
        own = train[speakers[train] == speaker]
        wrong = target.copy()
        wrong[own] = (target[own] + 1) % CLASSES
        after = answers(pooled, wrong, speakers, train)
        np.testing.assert_array_equal(after[own], before[own])
        assert not np.array_equal(after[train], before[train])


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_few_speakers_make_fewer_groups(count):
    pooled, target, speakers, _ = clips()
    train = np.flatnonzero(speakers < count)
    assert np.isfinite(answers(pooled, target, speakers, train)[train]).all()


def test_one_speaker_cannot_be_taught():
    pooled, target, speakers, _ = clips()
    with pytest.raises(SerError, match=r"train\.teacher: all training clips are of one speaker"):
        answers(pooled, target, speakers, np.flatnonzero(speakers == 0))


def test_a_class_that_another_group_lacks_is_still_answered():
    pooled, target, speakers, train = clips()
    train = train[(target[train] != 2) | (speakers[train] == 0)]
    found = answers(pooled, target, speakers, train)
    own = train[speakers[train] == 0]
    assert (found[own, 2] < 1e-6).all()
    np.testing.assert_allclose(found[train].sum(1), 1, atol=1e-5)


def job(tmp_path, settings, encoded) -> jobs.Job:
    parts = fold(tmp_path)
    where = tmp_path / "features", tmp_path / "clips", tmp_path / "folds.csv"
    return jobs.Job(*where, made.trained(settings), 1, 0, parts.checkpoint, tmp_path / "out", encoded)


def stored(tmp_path, settings, copies: int = 0):
    states, samples = made.encoded(settings)
    folder = tmp_path / "encoded"
    folder.mkdir(parents=True)
    tokens, times = np.diff(states.offsets), 1 + copies
    noise = [np.full_like(states.states, np.nan)] * copies
    np.save(folder / "states.npy", np.concatenate([states.states, *noise]))
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(np.tile(tokens, times))]))
    teacher.store.write_facts(folder, made.ENCODER.model_dump(), copies)
    table = made.table()
    table["samples"] = samples
    return folder, table


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_targets_lie_between_label_and_answer_and_copies_have_those_of_their_clip(tmp_path, share):
    settings = made.params(**TAUGHT, train__teacher_share=share)
    folder, table = stored(tmp_path, settings, copies=1)
    train = fold(tmp_path).train
    corpus = replace(made.corpus(settings), copies=0)
    taught = jobs.taught(corpus, job(tmp_path, settings, folder), table, train)
    known = teacher.of_corpus(folder, table, corpus.target.numpy(), train, made.trained(settings))
    rows = torch.from_numpy(train)
    expected = share * known[train] + (1 - share) * np.eye(3)[corpus.target.numpy()[train]]
    np.testing.assert_allclose(batches.targets(taught, rows, 3).numpy(), expected, atol=1e-6)
    doubled = replace(taught, start=taught.start.repeat(2), copies=1)
    assert torch.equal(batches.targets(doubled, rows + 24, 3), batches.targets(taught, rows, 3))
    assert torch.equal(batches.targets(corpus, rows, 3), torch.nn.functional.one_hot(corpus.target[rows], 3).float())


def test_the_network_learns_what_it_is_told_and_has_no_encoder(tmp_path):
    settings = made.params(**TAUGHT, train__teacher_share=1.0)
    folder, table = stored(tmp_path, settings)
    corpus, parts = made.corpus(settings), fold(tmp_path / "a")
    plain, _ = loop.train_fold(corpus, parts, made.trained(settings), lambda line: None)
    taught = jobs.taught(corpus, job(tmp_path, settings, folder), table, parts.train)
    weights, history = loop.train_fold(taught, fold(tmp_path / "b"), made.trained(settings), lambda line: None)
    assert weights.keys() == plain.keys()
    assert any(not torch.equal(weights[name], plain[name]) for name in weights)
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert np.isfinite([row["train_loss"] for row in history]).all()
    assert not any("encoder" in name for name in weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features__encoder": None}, "train.teacher reads its hidden states"),
        ({"model__linear__layers": "auto"}, "which a teacher must not see"),
        ({"model__linear__layers": [3]}, "must be among features.encoder.layers"),
        ({"model__branches": ["log_mel_cnn", "encoder"]}, "take encoder out of model.branches"),
        (CLIPS_ALONE | {"train__teacher": "none", "model__kind": "linear"}, "set features.encoder.copies to true"),
    ],
)
def test_settings_that_make_no_teacher_are_refused(changes, message):
    with pytest.raises(ParamsError, match=message):
        made.params(**TAUGHT | changes)


def test_other_kinds_of_model_have_no_teacher():
    svm = made.params(**TAUGHT, model__kind="svm")
    assert not svm.trains_on_states
    assert made.params(**TAUGHT).trains_on_states
    assert made.params(**TAUGHT | CLIPS_ALONE).trains_on_states
    assert made.params(**TAUGHT).model.reads_encoder is None


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, None),
        ({"name": "whisper-base"}, r"layers \[1, 2, 4\] of whisper-base, clips with 1 s of silence"),
        ({"layers": [1]}, r"layers \[1\] of made, clips with 1 s of silence"),
        ({"silence_seconds": 0.5}, r"layers \[1, 2, 4\] of made, clips with 0.5 s of silence"),
        (None, "none"),
    ],
    ids=["those", "another encoder", "fewer layers", "less silence", "none"],
)
def test_states_of_another_encoder_than_asked_for_are_refused(tmp_path, changes, wanted):
    """A teacher or a model would learn from them, and params.yaml would say otherwise."""
    folder, _ = stored(tmp_path, made.params(**TAUGHT))
    name, layers = made.ENCODER.name, made.ENCODER.layers
    asked = None if changes is None else Encoder.model_validate({"name": name, "layers": layers, "path": "x"} | changes)
    if wanted is None:
        assert store.about(folder, asked) == made.ENCODER
        return
    with pytest.raises(
        SerError,
        match=rf"holds layers \[1, 2, 4\] of made, clips with 1 s of silence, and features.encoder asks for {wanted}: run encode again",
    ):
        store.about(folder, asked)
