"""An enrolled speaker: what a few of their recordings change in a model's answers. It holds numbers only, and no audio.

Two steps, both drawn towards no change where there are few recordings:

1. *Shift*, which needs no labels. The mean log probability of each class over the speaker's clips is moved to what the model says of the
   average clip it was trained on: a voice that always sounds angry to the model is judged by how angry it sounds for itself
   (``ser.evaluation.adaptation``). It assumes that the clips hold all moods about evenly.
2. *Weights*, from labels. A logistic regression on top of the shifted answers, with a Gaussian prior around no change (maximum a
   posteriori), reads what a linear model reads itself, standardised as in training; of other models it reads the answers.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.special import log_softmax, softmax

from ser import SerError
from ser.evaluation.adaptation import SMALLEST
from ser.params.base import Section
from ser.serving.bundle import Bundle, checksum
from ser.serving.model_graph import Standard

PSEUDO = 8.0
"""Clips that "no change" counts as, beside the speaker's (chosen on validation speakers: ``benchmarks/speakers.py``)."""
PENALTY = 0.05
"""Weight of the prior: the squared change of the weights costs half of this for each column read (chosen likewise)."""
SPREAD = 3.0
"""By which centred log probabilities are divided where they are what is read: about their standard deviation."""
MOST_WEIGHTS = 400_000
"""Weights of a profile at most: 24 layers of an encoder 1,024 wide, for 8 classes. For wider models answers are read."""
DIGITS = 7
"""Significant digits of stored numbers: float32's."""

Weight = Annotated[float, Field(ge=-1e9, le=1e9)]


class Profile(Section):
    """Content of a profile's file."""

    version: Literal[1]
    bundle: str = Field(pattern="^[0-9a-f]{64}$")
    """Checksum of the facts of the model that it was made with."""
    corpus: str = Field(max_length=200)
    """Of that model, for messages."""
    classes: list[str] = Field(min_length=2, max_length=1000)
    clips: int = Field(ge=1)
    """Recordings that it was made from."""
    labelled: dict[str, int]
    """How many of them had a label, by class; empty where none had."""
    reads: Literal["pooled", "answers"]
    """What the weights are multiplied with: pooled hidden states, or centred log probabilities."""
    shift: list[Weight]
    """Added to the logarithm of each class's probability."""
    weights: list[list[Weight]] = Field(max_length=1000)
    """One row for each class; empty without labels."""

    @model_validator(mode="after")
    def belong_together(self) -> Profile:
        """Refuse numbers that do not fit each other."""
        if len(self.shift) != len(self.classes) or len(self.weights) not in (0, len(self.classes)):
            raise ValueError("shift and weights need one entry for each class")
        if len({len(row) for row in self.weights}) > 1 or sum(map(len, self.weights)) > MOST_WEIGHTS:
            raise ValueError(f"weights: rows of one length are allowed, {MOST_WEIGHTS} numbers in all")
        if self.reads == "answers" and any(len(row) != len(self.classes) for row in self.weights):
            raise ValueError("weights on answers need one column for each class")
        return self

    def check(self, facts: Bundle) -> None:
        """Hold the profile against the model that it is used with.

        Raises:
            SerError: if it was made with another.
        """
        if self.bundle != identity(facts) or self.classes != facts.classes:
            raise SerError(f"the speaker's profile was made with another model (of {self.corpus}): enroll again with this one")

    def applied(self, probabilities: np.ndarray, pooled: np.ndarray | None) -> np.ndarray:
        """Answers for this speaker.

        Args:
            probabilities: the model's, (clips, classes), rows sum to 1.
            pooled: pooled hidden states, (clips, columns); needed only where they are read.

        Raises:
            SerError: if the profile reads other columns than these.
        """
        logs = np.log(np.maximum(probabilities, SMALLEST))
        changed = logs + np.array(self.shift)
        if self.weights:
            columns = pooled if self.reads == "pooled" else _centred(logs)
            if columns is None or columns.shape[1] != len(self.weights[0]):
                raise SerError(f"the speaker's profile reads {len(self.weights[0])} columns that this model does not have: enroll again")
            changed = changed + columns.astype(np.float64) @ np.array(self.weights).T
        return np.asarray(softmax(changed, axis=1))


def fitted(
    facts: Bundle,
    standard: Standard,
    probabilities: np.ndarray,
    pooled: np.ndarray | None,
    labels: np.ndarray,
    pseudo: float = PSEUDO,
    penalty: float = PENALTY,
) -> Profile:
    """The profile of a speaker.

    Args:
        facts: of the model.
        standard: what it knows of its training clips.
        probabilities: of the speaker's clips, (clips, classes), rows sum to 1; at least one clip.
        pooled: their pooled hidden states, (clips, columns), where the model reads them.
        labels: class number of each clip, (clips,); −1 where it is not known.
        pseudo, penalty: as ``PSEUDO`` and ``PENALTY``.
    """
    logs = np.log(np.maximum(probabilities, SMALLEST))
    share = len(logs) / (len(logs) + pseudo)
    shift = share * (standard.answer - logs.mean(axis=0))
    shift -= shift.mean()  # a number common to all classes changes nothing
    known = labels >= 0
    wide = pooled is not None and standard.scale is not None and pooled.shape[1] * len(facts.classes) <= MOST_WEIGHTS
    centre, scale = (standard.centre, standard.scale) if wide else (np.zeros(len(facts.classes)), np.full(len(facts.classes), SPREAD))
    values = pooled if wide else _centred(logs)
    assert centre is not None
    assert scale is not None
    assert values is not None
    weights = np.zeros((0, 0))
    if known.any():
        columns = (values.astype(np.float64) - centre) / scale
        middle = share * columns.mean(axis=0)
        read = max(1, int(np.isfinite(scale).sum()))
        found = _weights((columns - middle)[known], (logs + shift)[known], labels[known], read, penalty)
        shift = shift - found @ (middle + centre / scale)
        weights = found / scale
    return Profile(
        version=1,
        bundle=identity(facts),
        corpus=facts.corpus[:200],
        classes=facts.classes,
        clips=len(logs),
        labelled={name: int(count) for number, name in enumerate(facts.classes) if (count := (labels == number).sum())},
        reads="pooled" if wide else "answers",
        shift=_rounded(shift),
        weights=[_rounded(row) for row in weights],
    )


def identity(facts: Bundle) -> str:
    """Checksum that binds a profile to a model: of all its facts, those of its graphs among them."""
    return checksum(facts.model_dump(mode="json"))


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


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]
