"""Networks with the encoder branch through training: epoch 0 is the regression, masks and mixup reach the states."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from ser.training import augment, batches, hidden, inference, loop, without_epochs
from tests import made
from tests.training.test_loop import fold

BRANCHES = ["log_mel_cnn", "mfcc_cnn", "encoder"]


def params(**changes):
    quiet = {"train__augment__speed": 0.0, "train__augment__shift_seconds": 0.0, "features__encoder": {"name": "made", "layers": [1, 2, 4]}}
    return made.params(**{"model__branches": BRANCHES, "train__warm_start": "linear", "train__epochs": 2, **quiet, **changes})


def about(settings):
    return replace(made.trained(settings), encoder=made.ENCODER)


@pytest.mark.parametrize("fusion", ["parallel_coattention", "concat"])
def test_epoch_0_is_the_linear_model_and_a_candidate(tmp_path, fusion):
    settings = params(model__fusion=fusion, train__keep="best")
    state = loop.start(made.hearing(settings), fold(tmp_path), about(settings))
    corpus, parts = made.hearing(settings), fold(tmp_path)
    loop.warm_start(state, corpus, parts, about(settings))
    alone = params(model__kind="linear")
    pooled = made.hearing(alone)
    weights, history = without_epochs.train_linear(pooled, parts, about(alone), lambda line: None)
    machine = inference.Linear.shaped(weights)
    machine.load_state_dict(weights)
    expected = inference.probabilities(machine, pooled, np.arange(24), 1000)
    found = inference.probabilities(state.network, corpus, np.arange(24), 1000)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert state.history[0]["epoch"] == 0
    assert state.history[0]["valid_ua"] == history[0]["valid_ua"]
    assert state.best
    assert state.epochs == 0


def test_it_trains_after_it_and_epochs_are_counted_from_one(tmp_path):
    settings = params()
    corpus = made.hearing(settings)
    weights, history = loop.train_fold(corpus, fold(tmp_path), about(settings), lambda line: None)
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert weights["classifier.weight"].abs().sum() > 0
    assert weights["sides.encoder.weights"].abs().sum() > 0


def test_an_interrupted_training_ends_in_the_same_bytes(tmp_path):
    settings = params(train__augment__mixup_alpha=0.4, model__side_dropout=0.3)
    corpus = made.hearing(settings)
    whole, history = loop.train_fold(corpus, fold(tmp_path / "a"), about(settings), lambda line: None)

    def stop(line: str) -> None:
        if "epoch   1/" in line:
            raise KeyboardInterrupt

    parts = fold(tmp_path / "b")
    with contextlib.suppress(KeyboardInterrupt):
        loop.train_fold(corpus, parts, about(settings), stop)
    said = io.StringIO()
    again, second = loop.train_fold(corpus, parts, about(settings), lambda line: print(line, file=said))
    assert "resumes after epoch 1" in said.getvalue()
    assert [row["epoch"] for row in second] == [row["epoch"] for row in history] == [0, 1, 2]
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_an_encoder_alone_learns(tmp_path):
    settings = params(model__branches=["encoder"], train__warm_start="none", train__epochs=8, train__keep="best")
    corpus = made.hearing(settings)
    _, history = loop.train_fold(corpus, fold(tmp_path), about(settings), lambda line: None)
    assert history[0]["epoch"] == 1
    assert history[-1]["train_loss"] < history[0]["train_loss"]


@pytest.mark.parametrize("normalise", ["corpus", "speaker"])
def test_states_of_a_window_begin_where_its_frames_do(normalise):
    settings = params(features__normalise=normalise, features__frames__hop_length=512)
    corpus = made.hearing(settings)
    stored, _ = made.encoded(settings)
    rows, first, length = torch.tensor([3, 0]), torch.tensor([0, 7]), torch.tensor([11, 6])
    found = batches.gather_states(corpus, rows, first, length)["encoder"]
    assert found.shape[1] == 16  # ⌈10 · 1.6⌉
    expected = stored.clip(0)[11:19].astype(np.float32)  # ⌊7 · 1.6⌋ on, ⌈5 · 1.6⌉ tokens
    if normalise == "speaker":
        own = np.concatenate([stored.clip(row)[: int(corpus.hidden.length[row])] for row in range(0, 24, 4)]).astype(np.float64)
        expected = (expected - own.mean(0)) / own.std(0)
    np.testing.assert_allclose(found[1, :8], expected, atol=2e-3, rtol=1e-3)


def test_statistics_leave_out_the_silence_and_other_clips():
    settings = params()
    corpus = made.hearing(settings)
    stored, samples = made.encoded(settings)
    rows = np.array([2, 5])
    own = np.concatenate([stored.clip(row)[: -(-samples[row] // 320)] for row in rows]).astype(np.float64)
    found = hidden.state_statistics(corpus.hidden, rows, corpus.group)
    np.testing.assert_allclose(found.mean, own.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.scale, own.std(0), rtol=1e-4)


def test_masks_hide_the_same_shares_and_mixup_keeps_to_the_neighbours_tokens():
    settings = params(train__augment__time_masks=1, train__augment__time_width=0.5).train.augment
    uniform = torch.full((2, 20), 0.5)
    states, fill = torch.ones(2, 20, 3, 6), torch.zeros(3, 6)
    hidden_steps = augment.mask_time(states, torch.tensor([20, 8]), uniform, fill, settings)[:, :, 0, 0] == 0
    assert hidden_steps.sum(1).tolist() == [5, 2]
    values = torch.stack([torch.full((4, 1, 1), 1.0), torch.full((4, 1, 1), 3.0)])
    mixed = hidden.mixed(values, torch.tensor([4, 2]), torch.tensor([0.75, 0.5]))[:, :, 0, 0]
    assert mixed.tolist() == [[1.5, 1.5, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]]
