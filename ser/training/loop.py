"""The training loop, to be read from top to bottom: data, network, optimiser, epochs, validation, checkpoint.

Test clips are never touched here. The result of a fold depends on parameters, inputs and seed alone: the order of batches, augmentation
and dropout are keyed by (seed, epoch), so that an interrupted training ends in the same bytes as an undisturbed one.
Several processes may run it together (``ser.training.data_parallel``): each takes a share of every batch, the rest all do alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import recall_score
from torch import Tensor

from ser.model.baseline import Svm, clip_statistics, fit
from ser.model.losses import class_weights, loss
from ser.model.network import Network
from ser.params.train import Train
from ser.training import batches, checkpoint, data_parallel, inference
from ser.training.augment import Draws, augment, draw, mask, with_noisy_recordings
from ser.training.inference import Trained
from ser.training.noise import Recordings
from ser.views.features import VIEWS

HISTORY = ["fold", "seed", "epoch", "train_loss", "valid_loss", "valid_ua", "lr"]


@dataclass(frozen=True)
class Fold:
    """Clip numbers of one fold's training and validation part, and where its checkpoint lives."""

    number: int
    seed: int
    train: np.ndarray
    valid: np.ndarray
    checkpoint: Path


def train_fold(
    corpus: batches.Corpus, fold: Fold, trained: Trained, say: Callable[[str], None], recordings: Recordings | None = None
) -> tuple[dict[str, Tensor], list[dict]]:
    """Train one network.

    Args:
        corpus: frames and labels.
        fold: which clips to train and validate on.
        trained: classes and parameters.
        say: receives one line per epoch.
        recordings: of the corpus, to add noise to; None where that is not asked for.

    Returns:
        The kept weights (with the normalisation statistics) and one row of ``HISTORY`` per epoch.
    """
    params = trained.train
    torch.manual_seed(fold.seed)
    network = inference.new_network(trained).to(corpus.device)
    network.set_statistics(**_statistics(corpus, fold.train))
    averaged = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = _optimizer(network, params)
    target = corpus.target.cpu().numpy()
    counts = torch.from_numpy(np.bincount(target[fold.train], minlength=len(trained.classes)))
    weights = class_weights(counts, params).to(corpus.device)
    compiled = torch.compile(network, dynamic=True) if params.compile else network

    history: list[dict] = []
    best: dict[str, Tensor] = {}
    best_ua, since_best = -1.0, 0
    resumed = checkpoint.read(fold.checkpoint)
    if resumed is not None:
        tensors, facts = resumed
        network.load_state_dict(_named(tensors, "network."))
        for name, value in _named(tensors, "averaged.").items():
            averaged[name].copy_(value)
        best = _named(tensors, "best.")
        checkpoint.restore_optimizer(optimizer, tensors)
        history, best_ua, since_best = facts["history"], facts["best_ua"], facts["since_best"]
        say(f"fold {fold.number} seed {fold.seed}: resumes after epoch {len(history)} of {params.epochs}")
    data_parallel.check_same_start(len(history), corpus.device)

    began, epochs_before = time.monotonic(), len(history)
    for epoch in range(len(history) + 1, params.epochs + 1):
        if params.patience and since_best >= params.patience:
            break
        network.train()
        torch.manual_seed(_key(fold.seed, epoch) + data_parallel.rank())  # dropout
        draws = draw(params.augment, len(target), fold.seed, epoch, corpus.device)
        heard = corpus
        if recordings is not None:
            heard = with_noisy_recordings(corpus, recordings, fold.train, draws, params.augment, (fold.seed, epoch))
        balanced = target if params.sampling == "balanced" else None
        cut = batches.epoch_batches(fold.train, params.batch_size, balanced, (fold.seed, epoch))
        total = 0.0
        for step, rows in enumerate(cut):
            lr = learning_rate(params, (epoch - 1 + step / len(cut)) / params.epochs)
            for group in optimizer.param_groups:
                group["lr"] = lr
            log_mel, mfcc, lengths, soft = _mixed(heard, rows, draws, trained, network)  # all of the batch, for clips blend
            mine = data_parallel.share(len(rows))
            with torch.autocast(corpus.device.type, torch.bfloat16, enabled=params.precision == "bf16"):
                logits = compiled(log_mel[mine], mfcc[mine], lengths[mine])
            value = loss(logits.float(), soft[mine], params, weights) * _part(soft, mine, weights)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            data_parallel.sum_gradients(network.parameters())
            if params.clip_norm:
                torch.nn.utils.clip_grad_norm_(network.parameters(), params.clip_norm)
            optimizer.step()
            _average(averaged, network, params.ema)
            total += value.item() * len(rows)

        first = data_parallel.rank() == 0
        valid = _validate(network, averaged, corpus, fold.valid, trained) if first else (0.0, 0.0)
        total, valid_loss, valid_ua = data_parallel.summed(total, *valid, device=corpus.device)
        row = [fold.number, fold.seed, epoch, round(total / sum(map(len, cut)), 5), round(valid_loss, 5), round(valid_ua, 5), lr]
        history.append(dict(zip(HISTORY, row, strict=True)))
        better = valid_ua > best_ua
        best_ua, since_best = (valid_ua, 0) if better else (best_ua, since_best + 1)
        if better and params.keep == "best":
            best = {name: value.clone() for name, value in averaged.items()}
        states = {"network.": network.state_dict(), "averaged.": averaged, "best.": best}
        tensors = {prefix + name: value for prefix, state in states.items() for name, value in state.items()}
        facts = {"history": history, "best_ua": best_ua, "since_best": since_best}
        if first:
            checkpoint.write(fold.checkpoint, tensors | checkpoint.optimizer_tensors(optimizer), facts)
        say(_line(history[-1], params.epochs, len(fold.train), began, epoch - epochs_before))

    kept = best if params.keep == "best" and best else averaged
    return {name: value.cpu() for name, value in kept.items()}, history


def train_svm(corpus: batches.Corpus, fold: Fold, trained: Trained, say: Callable[[str], None]) -> tuple[dict[str, Tensor], list[dict]]:
    """The baseline in place of a network; takes and returns what ``train_fold`` does, with one row of history."""
    rows = torch.tensor(fold.train, device=corpus.device)
    known = _view_statistics(corpus, rows) if corpus.functionals is None else corpus.functionals[rows]
    machine = fit(known.cpu().double().numpy(), corpus.target[rows].cpu().numpy(), len(trained.classes)).to(corpus.device)
    train_loss, _ = _score(machine, corpus, fold.train, trained)
    valid_loss, valid_ua = _score(machine, corpus, fold.valid, trained)
    row = [fold.number, fold.seed, 1, round(train_loss, 5), round(valid_loss, 5), round(valid_ua, 5), 0.0]
    say(f"fold {fold.number} seed {fold.seed}: SVM on {len(machine.support)} support clips, valid UA {valid_ua:.3f}")
    return {name: value.cpu() for name, value in machine.state_dict().items()}, [dict(zip(HISTORY, row, strict=True))]


def learning_rate(params: Train, progress: float) -> float:
    """Learning rate at a progress in [0, 1): linear warm-up, then constant, cosine to zero, or one-cycle (Smith & Topin 2018).

    One-cycle rises along a cosine from 1/25 of the peak and falls to 1/100,000 of it.
    """
    rising = progress < params.warmup
    along = progress / params.warmup if rising else (progress - params.warmup) / (1 - params.warmup)
    if params.schedule == "one_cycle":
        low, high = (params.lr / 25, params.lr) if rising else (params.lr, params.lr / 1e5)
        return high + (low - high) * (1 + math.cos(math.pi * along)) / 2
    if rising:
        return params.lr * max(along, 0.01)
    return params.lr * (1 + math.cos(math.pi * along)) / 2 if params.schedule == "cosine" else params.lr


def _key(seed: int, epoch: int) -> int:
    return int(np.random.default_rng((seed, epoch, 4)).integers(2**62))


def _statistics(corpus: batches.Corpus, rows: np.ndarray) -> dict[str, Tensor]:
    """The network's normalisation, from training clips only."""
    found = {}
    for name, view in batches.view_statistics(corpus, rows).items():
        found[f"mean_{name}"], found[f"scale_{name}"] = torch.from_numpy(view.mean), torch.from_numpy(view.scale)
    return found


def _view_statistics(corpus: batches.Corpus, rows: Tensor) -> Tensor:
    """What the baseline knows of clips where there are no functionals, (len(rows), S)."""
    pieces = []
    for part in rows.split(256):
        views = []
        for name in VIEWS:
            frames, inside = batches.cut(corpus, name, part, torch.zeros_like(part), corpus.length[part])
            views.append(batches.standardise(corpus, name, frames, part, inside))
        pieces.append(clip_statistics(views[0], views[1], corpus.length[part]))
    return torch.cat(pieces)


def _optimizer(network: Network, params: Train) -> torch.optim.Optimizer:
    """Weight decay acts on matrices and kernels only, not on biases and norms."""
    decayed = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": params.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if params.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=params.lr)
    return torch.optim.SGD(groups, lr=params.lr, momentum=params.momentum)


def _mixed(
    corpus: batches.Corpus, rows: np.ndarray, draws: Draws, trained: Trained, network: Network
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Augmented views, lengths and soft targets of a batch; mixup (Zhang et al. 2018) blends each clip with its neighbour in the batch."""
    params = trained.train.augment
    at = torch.from_numpy(rows).to(corpus.device)
    log_mel, mfcc, lengths = augment(corpus, at, draws, params, trained.max_frames, trained.frames_per_second)
    soft = torch.nn.functional.one_hot(corpus.target[at], len(trained.classes)).float()
    if params.mixup_alpha > 0:
        weight = draws.mix[at]
        log_mel, mfcc = (torch.lerp(view.roll(1, 0), view, weight[:, None, None]) for view in (log_mel, mfcc))
        soft = torch.lerp(soft.roll(1, 0), soft, weight[:, None])
    uniform = draws.uniform[at]
    log_mel = mask(log_mel, lengths, uniform, network.mean_log_mel, params)
    mfcc = mask(mfcc, lengths, uniform, network.mean_mfcc, params)
    return log_mel, mfcc, lengths, soft


def _part(soft: Tensor, mine: slice, weights: Tensor) -> Tensor:
    """What the mean loss of a share counts in that of the batch: its part of the weight that ``loss`` divides by."""
    weight = soft @ weights
    return weight[mine].sum() / weight.sum()


def _average(averaged: dict[str, Tensor], network: Network, decay: float) -> None:
    """Exponential moving average of the weights; batch-norm statistics are averages already and are copied."""
    weights = dict(network.named_parameters())
    for name, value in network.state_dict().items():
        if name in weights and decay > 0:
            averaged[name].lerp_(value, 1 - decay)
        else:
            averaged[name].copy_(value)


def _validate(
    network: Network, averaged: dict[str, Tensor], corpus: batches.Corpus, rows: np.ndarray, trained: Trained
) -> tuple[float, float]:
    """Cross-entropy and UA of the averaged weights on the validation clips."""
    current = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(averaged)
    found = _score(network, corpus, rows, trained)
    network.load_state_dict(current)
    return found


def _score(network: Network | Svm, corpus: batches.Corpus, rows: np.ndarray, trained: Trained) -> tuple[float, float]:
    """Cross-entropy and UA on clips."""
    p = inference.probabilities(network, corpus, rows, trained.max_frames)
    actual = corpus.target.cpu().numpy()[rows]
    cross_entropy = -np.log(np.maximum(p[np.arange(len(rows)), actual], 1e-12)).mean()
    found = recall_score(actual, p.argmax(1), labels=np.unique(actual), average="macro", zero_division=0.0)
    return float(cross_entropy), float(found)


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _line(row: dict, epochs: int, clips: int, began: float, done: int) -> str:
    seconds = (time.monotonic() - began) / done
    left = seconds * (epochs - row["epoch"])
    return (
        f"fold {row['fold']} seed {row['seed']} epoch {row['epoch']:>3}/{epochs}  loss {row['train_loss']:.3f}  "
        f"valid {row['valid_loss']:.3f}  valid UA {row['valid_ua']:.3f}  {clips / seconds:,.0f} clips/s  {left:.0f} s left"
    )
