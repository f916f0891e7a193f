"""Fit the SVM and the regression, which have no epochs. Also shared by all trainings: ``Fold``, ``HISTORY`` and ``score``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import recall_score
from torch import Tensor

from ser.model import linear
from ser.model.baseline import clip_statistics, fit
from ser.training import batches, inference
from ser.training.inference import Machine, Trained

HISTORY = ["fold", "seed", "epoch", "train_loss", "valid_loss", "valid_ua", "lr"]


@dataclass(frozen=True)
class Fold:
    """Clip numbers of one fold's training and validation part, and where its checkpoint lives."""

    number: int
    seed: int
    train: np.ndarray
    valid: np.ndarray
    checkpoint: Path


def train_svm(corpus: batches.Corpus, fold: Fold, trained: Trained, say: Callable[[str], None]) -> tuple[dict[str, Tensor], list[dict]]:
    """The baseline in place of a network; takes and returns what ``train_fold`` does, with one row of history."""
    rows = torch.tensor(batches.with_copies(fold.train, corpus.clips, corpus.copies), device=corpus.device)
    known = _clip_statistics(corpus, rows) if corpus.functionals is None else corpus.functionals[rows]
    machine = fit(known.cpu().double().numpy(), corpus.target[rows].cpu().numpy(), len(trained.classes)).to(corpus.device)
    train_loss, _ = score(machine, corpus, fold.train, trained)
    valid_loss, valid_ua = score(machine, corpus, fold.valid, trained)
    row = [fold.number, fold.seed, 1, round(train_loss, 5), round(valid_loss, 5), round(valid_ua, 5), 0.0]
    say(f"fold {fold.number} seed {fold.seed}: SVM on {len(machine.support)} support clips, valid UA {valid_ua:.3f}")
    return {name: value.cpu() for name, value in machine.state_dict().items()}, [dict(zip(HISTORY, row, strict=True))]


def train_linear(corpus: batches.Corpus, fold: Fold, trained: Trained, say: Callable[[str], None]) -> tuple[dict[str, Tensor], list[dict]]:
    """The regression in place of a network; takes and returns what ``train_fold`` does, with one row of history."""
    assert trained.encoder is not None
    assert corpus.hidden is not None
    assert corpus.hidden.pooled is not None
    known, target = corpus.hidden.pooled.cpu().numpy(), corpus.target.cpu().numpy()
    heard = batches.with_copies(fold.train, corpus.clips, corpus.copies)
    found = linear.fit(known, target, heard, fold.valid, trained.encoder.layers, len(trained.classes), trained.model.linear)
    machine = found.machine.to(corpus.device)
    train_loss, _ = score(machine, corpus, fold.train, trained)
    valid_loss, valid_ua = score(machine, corpus, fold.valid, trained)
    row = [fold.number, fold.seed, 1, round(train_loss, 5), round(valid_loss, 5), round(valid_ua, 5), 0.0]
    say(f"fold {fold.number} seed {fold.seed}: regression on hidden states {list(found.layers)}, valid UA {valid_ua:.3f}")
    return {name: value.cpu() for name, value in machine.state_dict().items()}, [dict(zip(HISTORY, row, strict=True))]


def score(network: Machine, corpus: batches.Corpus, rows: np.ndarray, trained: Trained) -> tuple[float, float]:
    """Cross-entropy and UA on clips."""
    p = inference.probabilities(network, corpus, rows, trained.max_frames)
    actual = corpus.target.cpu().numpy()[rows]
    cross_entropy = -np.log(np.maximum(p[np.arange(len(rows)), actual], 1e-12)).mean()
    found = recall_score(actual, p.argmax(1), labels=np.unique(actual), average="macro", zero_division=0.0)
    return float(cross_entropy), float(found)


def _clip_statistics(corpus: batches.Corpus, rows: Tensor) -> Tensor:
    """What the baseline knows of clips where there are no functionals, (len(rows), S)."""
    pieces = []
    for part in rows.split(256):
        views, _ = batches.gather(corpus, part, torch.zeros_like(part), corpus.length[part])
        pieces.append(clip_statistics(views, corpus.length[part]))
    return torch.cat(pieces)
