"""Multinomial logistic regression on pooled hidden states of a frozen encoder (``model.kind: linear``, and ``train.warm_start``).

A small baseline: mean and standard deviation over time of a few layers, standardised on training clips, and an L2 penalty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from ser.params.model import Linear as LinearParams
from ser.views.normalise import scales

ABSENT = -30.0
"""Logit of a class without training clips, so that its probability is practically 0."""


class Linear(nn.Module):
    """A fitted regression; it gives logits.

    Attributes:
        centre, scale: (S,) standardisation of the columns that it reads, from training clips; scale is ∞ where a column is constant.
        weight: (K, S), bias: (K,).
        columns: (S,) int64, which of a clip's pooled columns it reads.
    """

    centre: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    columns: Tensor

    def __init__(self, columns: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        for name, shape in (("centre", (columns,)), ("weight", (n_classes, columns)), ("bias", (n_classes,))):
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("scale", torch.ones(columns))
        self.register_buffer("columns", torch.arange(columns))

    @classmethod
    def shaped(cls, state: dict[str, Tensor]) -> Linear:
        """A regression of the shape of stored weights."""
        return cls(state["weight"].shape[1], state["weight"].shape[0])

    def decisions(self, pooled: Tensor) -> Tensor:
        """All pooled columns of clips (``ser.encoders.pooled``), (B, S_all) float32 → logits (B, K)."""
        return ((pooled[:, self.columns] - self.centre) / self.scale) @ self.weight.T + self.bias

    def widened(self, columns: int) -> Linear:
        """The same regression over ``columns`` input columns; a column that it does not read gets scale ∞ and weight 0."""
        wide = Linear(columns, self.n_classes).to(self.weight.device)
        wide.scale.fill_(torch.inf)
        for name in ("centre", "scale"):
            wide.get_buffer(name)[self.columns] = self.get_buffer(name)
        wide.weight[:, self.columns] = self.weight
        wide.bias.copy_(self.bias)
        return wide


@dataclass(frozen=True)
class Fit:
    """A regression with the layers that it reads and its UA on the validation clips."""

    machine: Linear
    layers: tuple[int, ...]
    valid_ua: float


def fit(
    pooled: np.ndarray,
    target: np.ndarray,
    train: np.ndarray,
    valid: np.ndarray,
    stored: Sequence[int],
    n_classes: int,
    params: LinearParams,
) -> Fit:
    """Fit on the training clips; with ``layers: auto`` the validation clips choose the layers. Other clips are never looked at.

    Args:
        pooled: (clips, S_all) of all clips.
        target: (clips,) class numbers.
        train: numbers of the training clips.
        valid: numbers of the validation clips.
        stored: layers in the order in which ``pooled`` holds them.
        n_classes: number of classes K; one that training lacks gets the logit ``ABSENT``.
        params: ``model.linear``.
    """
    candidates = runs(len(stored)) if params.layers == "auto" else [tuple(stored.index(layer) for layer in params.layers)]
    width = pooled.shape[1] // len(stored)
    best: Fit | None = None
    for places in candidates:  # fewer layers first: a tie keeps the smaller model
        columns = np.concatenate([np.arange(place * width, (place + 1) * width) for place in places])
        machine = _fit(pooled[np.ix_(train, columns)], target[train], n_classes, params.C)
        machine.columns.copy_(torch.from_numpy(columns))
        found = recall(machine, pooled[valid], target[valid])
        if best is None or found > best.valid_ua:
            best = Fit(machine, tuple(stored[place] for place in places), found)
    assert best is not None
    return best


def runs(count: int) -> list[tuple[int, ...]]:
    """Sets of layers that ``layers: auto`` tries: single layers, then two and three adjacent layers, then all.

    >>> runs(3)
    [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)]
    """
    tried = [tuple(range(first, first + length)) for length in (1, 2, 3) for first in range(count - length + 1)]
    return tried if count <= 3 else [*tried, tuple(range(count))]


def recall(machine: Linear, pooled: np.ndarray, target: np.ndarray) -> float:
    """UA on clips."""
    answers = machine.decisions(torch.from_numpy(pooled)).argmax(1).numpy()
    return float(recall_score(target, answers, labels=np.unique(target), average="macro", zero_division=0.0))


def _fit(vectors: np.ndarray, target: np.ndarray, n_classes: int, strength: float) -> Linear:
    """Standardise and fit in double precision, on one thread, whose sums have one order."""
    there = np.unique(target)
    weight, bias = np.zeros((n_classes, vectors.shape[1])), np.full(n_classes, ABSENT)
    bias[there] = 0.0
    with threadpool_limits(1):
        centre, scale = vectors.mean(axis=0, dtype=np.float64), scales(vectors)
        if len(there) > 1:
            x = (vectors.astype(np.float64) - centre) / scale
            found = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000).fit(x, target)
            # For two classes scikit-learn returns only the logit of the second class; that of the first is 0.
            rows = there if len(there) > 2 else there[1:]
            weight[rows], bias[rows] = found.coef_, found.intercept_
    machine = Linear(vectors.shape[1], n_classes)
    values = {"centre": centre, "scale": scale, "weight": weight, "bias": bias}
    for name, value in values.items():
        machine.get_buffer(name).copy_(torch.from_numpy(value.astype(np.float32)))
    return machine
