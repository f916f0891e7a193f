"""The training loop: it learns, repeats itself to the byte, goes on where it was killed, and never looks at test clips."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ser.model.baseline import fit
from ser.training import inference, loop, without_epochs
from ser.training.optimisation import learning_rate
from tests import made


def fold(folder: Path, clips: int = 24, seed: int = 0) -> without_epochs.Fold:
    rows = np.arange(clips)
    return without_epochs.Fold(1, seed, rows[rows % 4 != 3], rows[rows % 4 == 3], folder / "fold1.safetensors")


def train(params, folder: Path, **kwargs):
    lines: list[str] = []
    weights, history = loop.train_fold(made.corpus(params), fold(folder, **kwargs), made.trained(params), lines.append)
    return weights, history, lines


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_what_can_be_learned(tmp_path):
    params = made.params(train__epochs=25, train__lr=0.01, train__augment__mixup_alpha=0.0)
    weights, history, lines = train(params, tmp_path)
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    assert history[-1]["valid_ua"] == 1.0
    assert len(lines) == 25
    assert "valid UA 1.000" in lines[-1]
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    params = made.params()
    first, history, _ = train(params, tmp_path / "a")
    again, history_again, _ = train(params, tmp_path / "b")
    other, _, _ = train(params, tmp_path / "c", seed=1)
    assert same(first, again)
    assert history == history_again
    assert not same(first, other)


@pytest.mark.parametrize("changes", [{}, {"train__ema": 0.9, "train__keep": "best"}, {"train__optimizer": "sgd"}])
def test_a_resumed_training_ends_in_the_same_bytes(tmp_path, changes):
    params = made.params(train__epochs=5, **changes)
    whole, history, _ = train(params, tmp_path / "whole")

    class Killed(Exception):
        pass

    def killer(line: str) -> None:
        if "epoch   3/5" in line:
            raise Killed

    with pytest.raises(Killed):
        loop.train_fold(made.corpus(params), fold(tmp_path / "cut"), made.trained(params), killer)
    resumed, history_resumed, lines = train(params, tmp_path / "cut")
    assert "resumes after epoch 3 of 5" in lines[0]
    assert len(lines) == 3
    assert same(whole, resumed)
    assert history == history_resumed


def test_kill_9_and_rerun_give_the_same_bytes(tmp_path):
    script = textwrap.dedent("""
        import sys, pathlib, time, torch
        from safetensors.torch import save_file
        from ser.training import loop
        from tests import made
        from ser.training import loop
        from tests.training.test_loop import fold
        def say(line):
            print(line, flush=True)
            if "wait" in sys.argv and "epoch   7/" in line:
                time.sleep(600)  # until it is killed
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        params = made.params(train__epochs=40)
        folder = pathlib.Path(sys.argv[1])
        weights, _ = loop.train_fold(made.corpus(params), fold(folder), made.trained(params), say)
        save_file(weights, folder / "final.safetensors")
    """)
    run = [sys.executable, "-c", script]
    root = made.ROOT
    subprocess.run([*run, tmp_path / "whole"], cwd=root, check=True, capture_output=True)
    (tmp_path / "cut").mkdir()
    with subprocess.Popen([*run, tmp_path / "cut", "wait"], cwd=root, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if "epoch   7/" in line:
                os.kill(child.pid, signal.SIGKILL)
                break
    assert not (tmp_path / "cut/final.safetensors").exists()
    rerun = subprocess.run([*run, tmp_path / "cut"], cwd=root, check=True, capture_output=True, text=True)
    assert "resumes after epoch" in rerun.stdout
    assert (tmp_path / "whole/final.safetensors").read_bytes() == (tmp_path / "cut/final.safetensors").read_bytes()


def test_only_training_and_validation_clips_are_touched(tmp_path):
    params = made.params()
    corpus = made.corpus(params)
    rows = np.arange(24)
    parts = without_epochs.Fold(1, 0, rows[:12], rows[12:18], tmp_path / "x.safetensors")
    clean, _ = loop.train_fold(corpus, parts, made.trained(params), lambda line: None)
    poisoned = made.corpus(params)
    for frames in poisoned.views.values():
        frames[int(corpus.start[18]) :] = float("nan")
    (tmp_path / "x.safetensors").unlink()
    weights, _ = loop.train_fold(poisoned, parts, made.trained(params), lambda line: None)
    assert same(clean, weights)


def test_normalisation_statistics_are_those_of_the_training_clips(tmp_path):
    params = made.params(train__epochs=1)
    weights, _, _ = train(params, tmp_path)
    corpus = made.corpus(params)
    frames = np.concatenate([corpus.views["log_mel"][int(s) : int(s + n)] for s, n in zip(corpus.start, corpus.length, strict=True)])
    owner = np.repeat(np.arange(24), corpus.length)
    expected = frames[owner % 4 != 3].astype(np.float64)
    np.testing.assert_allclose(weights["mean_log_mel"], expected.mean(0), atol=1e-4)
    np.testing.assert_allclose(weights["scale_log_mel"], expected.std(0), atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"train__loss": "focal"},
        {"train__class_weight": "inverse"},
        {"train__class_weight": "effective"},
        {"train__sampling": "balanced"},
        {"train__schedule": "constant"},
        {"train__schedule": "cosine"},
        {"train__precision": "bf16"},
        {"train__clip_norm": 0.0},
        {"features__normalise": "clip"},
        {"train__max_seconds": 0.4},
        {"model__fusion": "concat"},
        {"features__mfcc__n_mels": 20, "train__augment__noise_snr_db": None, "train__augment__band_shift": 0},
    ],
    ids=str,
)
def test_every_way_to_train_runs(tmp_path, changes):
    _, history, _ = train(made.params(train__epochs=2, **changes), tmp_path)
    assert len(history) == 2
    assert all(np.isfinite(row["train_loss"]) and np.isfinite(row["valid_loss"]) for row in history)


def test_patience_stops_early_and_best_keeps_the_best(tmp_path):
    params = made.params(train__epochs=30, train__patience=2, train__keep="best", train__schedule="constant", train__warmup=0.0)
    weights, history, _ = train(params, tmp_path / "patient")
    uas = [row["valid_ua"] for row in history]
    best = int(np.argmax(uas)) + 1
    assert len(history) == best + 2 < 30
    until_best, _, _ = train(params.model_copy(update={"train": params.train.model_copy(update={"epochs": best})}), tmp_path / "best")
    assert same(weights, until_best)


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        ("constant", 0.0, 0.01), ("constant", 0.05, 0.5), ("constant", 0.1, 1.0), ("constant", 0.9, 1.0),
        ("cosine", 0.1, 1.0), ("cosine", 0.55, 0.5), ("cosine", 1.0, 0.0),
        ("one_cycle", 0.0, 0.04), ("one_cycle", 0.05, 0.52), ("one_cycle", 0.1, 1.0), ("one_cycle", 1.0, 1e-5),
    ],
)  # fmt: skip
def test_learning_rate_by_hand(schedule, progress, expected):
    params = made.params(train__schedule=schedule, train__warmup=0.1, train__lr=1.0).train
    assert learning_rate(params, progress) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("lengths", "limit", "windows"),
    [
        ([], 10, []),
        ([1], 10, [(0, 0, 1)]),
        ([10], 10, [(0, 0, 10)]),
        ([11], 10, [(0, 0, 10), (0, 1, 10)]),
        ([5, 25], 10, [(0, 0, 5), (1, 0, 10), (1, 7, 10), (1, 15, 10)]),
        ([30], 10, [(0, 0, 10), (0, 10, 10), (0, 20, 10)]),
    ],
)
def test_windows_cover_long_clips(lengths, limit, windows):
    found = inference.windows(np.array(lengths, dtype=np.int64), limit)
    assert list(zip(*(part.tolist() for part in found), strict=True)) == windows


def test_probabilities_do_not_depend_on_company_or_window_padding():
    params = made.params(train__max_seconds=0.4)
    corpus, about = made.corpus(params), made.trained(params)
    network = inference.new_network(about)
    together = inference.probabilities(network, corpus, np.arange(24), about.max_frames)
    alone = np.concatenate([inference.probabilities(network, corpus, np.array([row]), about.max_frames) for row in range(24)])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-9)
    assert inference.probabilities(network, corpus, np.array([], dtype=np.int64), 10).shape == (0, 3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["network", "functionals", "error"])
def test_probabilities_leave_the_mode_as_it_was(training, kind, monkeypatch):
    params = made.params()
    corpus, about = made.corpus(params), made.trained(params)
    network = inference.new_network(about)
    if kind == "functionals":
        corpus = replace(corpus, functionals=torch.randn(24, 7))
        network = fit(np.random.default_rng(0).normal(size=(24, 7)), corpus.target.numpy(), 3)
    if kind == "error":
        monkeypatch.setattr(inference.batches, "gather", lambda *_: {}["no such view"])
    network.train(training)
    with pytest.raises(KeyError) if kind == "error" else contextlib.nullcontext():
        inference.probabilities(network, corpus, np.arange(24), about.max_frames)
    assert network.training == training
