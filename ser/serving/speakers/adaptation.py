"""How a few recordings of a speaker change a model's answers to others of theirs.

Two steps, both drawn towards no change where there are few recordings:

1. *Shift*, which needs no labels. The mean log probability of each class over the speaker's clips is moved to what the model says of the
   average clip it was trained on: a voice that always sounds angry to the model is judged by how angry it sounds for itself
   (``ser.evaluation.adaptation``). It assumes that the clips hold all moods about evenly.
2. *Weights*, from labels. A logistic regression on top of the shifted answers, with a Gaussian prior around no change (maximum a
   posteriori), reads what a linear model reads itself, standardised as in training; of other models it reads the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import log_softmax, softmax

from ser import SerError
from ser.evaluation.adaptation import SMALLEST
from ser.serving.model_graph import Standard

PSEUDO = 8.0
"""Clips that "no change" counts as, beside the speaker's (chosen on validation speakers: ``benchmarks/speakers.py``)."""
PENALTY = 0.02
"""Weight of the prior: the squared change of the weights costs half of this for each column read (chosen likewise)."""
SPREAD = 3.0
"""By which centred log probabilities are divided where they are what is read: about their standard deviation."""
MOST_WEIGHTS = 400_000
"""Weights at most: 24 layers of an encoder 1,024 wide, for 8 classes. For wider models answers are read."""

Reads = Literal["pooled", "answers"]


@dataclass(frozen=True)
class Adaptation:
    """Changes of log probabilities.

    Attributes:
        shift: added to the log probability of each class, (classes,).
        weights: each class's log probability grows by their product with what is read, (classes, columns); (0, 0) without labels.
        reads: pooled hidden states, or centred log probabilities.
    """

    shift: np.ndarray
    weights: np.ndarray
    reads: Reads

    def applied(self, probabilities: np.ndarray, pooled: np.ndarray | None) -> np.ndarray:
        """Answers for this speaker, (clips, classes).

        Args:
            probabilities: the model's, (clips, classes), rows sum to 1.
            pooled: pooled hidden states, (clips, columns); needed only where they are read.

        Raises:
            SerError: if other columns are read than these.
        """
        logs = np.log(np.maximum(probabilities, SMALLEST))
        changed = logs + self.shift
        if self.weights.size:
            columns = pooled if self.reads == "pooled" else _centred(logs)
            if columns is None or columns.shape[1] != self.weights.shape[1]:
                raise SerError(f"the speaker's profile reads {self.weights.shape[1]} columns that this model does not have: enroll again")
            changed = changed + columns.astype(np.float64) @ self.weights.T
        return np.asarray(softmax(changed, axis=1))


def adapted(
    standard: Standard,
    probabilities: np.ndarray,
    pooled: np.ndarray | None,
    labels: np.ndarray,
    pseudo: float = PSEUDO,
    penalty: float = PENALTY,
) -> Adaptation:
    """Adapt to a speaker.

    Args:
        standard: what the model knows of its training clips.
        probabilities: of the speaker's clips, (clips, classes), rows sum to 1; at least one clip.
        pooled: their pooled hidden states, (clips, columns), where the model reads them.
        labels: class number of each clip, (clips,); −1 where it is not known.
        pseudo, penalty: as ``PSEUDO`` and ``PENALTY``.
    """
    logs = np.log(np.maximum(probabilities, SMALLEST))
    share = len(logs) / (len(logs) + pseudo)
    shift = share * (standard.answer - logs.mean(axis=0))
    shift -= shift.mean()  # a number common to all classes changes nothing
    reads: Reads = "answers"
    values, centre, scale = _centred(logs), np.zeros(logs.shape[1]), np.full(logs.shape[1], SPREAD)
    if pooled is not None and standard.centre is not None and standard.scale is not None and pooled.shape[1] * len(shift) <= MOST_WEIGHTS:
        reads, values, centre, scale = "pooled", pooled.astype(np.float64), standard.centre, standard.scale
    known = labels >= 0
    if not known.any():
        return Adaptation(shift, np.zeros((0, 0)), reads)
    columns = (values - centre) / scale
    middle = share * columns.mean(axis=0)
    read = max(1, int(np.isfinite(scale).sum()))
    found = _weights((columns - middle)[known], (logs + shift)[known], labels[known], read, penalty)
    return Adaptation(shift - found @ (middle + centre / scale), found / scale, reads)


def _weights(columns: np.ndarray, logits: np.ndarray, labels: np.ndarray, read: int, penalty: float) -> np.ndarray:
    """Change of weights, (classes, columns), that makes labels probable: the sum of the clips' columns, each times coefficients.

    The minimum of the penalised cross-entropy is such a sum, so that only (clips, classes) coefficients are sought.
    """
    from scipy.optimize import minimize  # a tenth of a second that a prediction does not need

    products = columns @ columns.T / read
    wanted = np.eye(logits.shape[1])[labels]

    def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = flat.reshape(wanted.shape)
        change = products @ coefficients
        found = log_softmax(logits + change, axis=1)
        slope = products @ (np.exp(found) - wanted + penalty * coefficients)
        return float(penalty / 2 * (coefficients * change).sum() - (found * wanted).sum()), slope.ravel()

    best = minimize(cost, np.zeros(wanted.size), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return np.asarray(best.reshape(wanted.shape).T @ columns / read)


def _centred(logs: np.ndarray) -> np.ndarray:
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))
