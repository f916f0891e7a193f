"""An enrolled speaker: what a few of their recordings change in a model's answers. It holds numbers only, and no audio."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from ser import SerError
from ser.params.base import Section
from ser.serving.bundle import Bundle, checksum
from ser.serving.speakers.adaptation import MOST_WEIGHTS, Adaptation, Reads

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
    clips: int = Field(ge=1, le=10**9)
    """Recordings that it was made from."""
    labelled: dict[str, Annotated[int, Field(ge=1, le=10**9)]]
    """How many of them had a label, by class; empty where none had."""
    reads: Reads
    """What the weights are multiplied with: pooled hidden states, or centred log probabilities."""
    shift: list[Weight]
    """Added to the logarithm of each class's probability."""
    weights: list[list[Weight]] = Field(max_length=1000)
    """One row for each class; empty without labels."""
    sha256: str = ""
    """Of all the rest; empty in profiles of earlier versions, of which it is not asked. It finds damage and careless edits."""

    @model_validator(mode="after")
    def belong_together(self) -> Profile:
        """Refuse numbers that do not fit each other."""
        if len(self.shift) != len(self.classes) or len(self.weights) not in (0, len(self.classes)):
            raise ValueError("shift and weights need one entry for each class")
        if len({len(row) for row in self.weights}) > 1 or sum(map(len, self.weights)) > MOST_WEIGHTS:
            raise ValueError(f"weights: rows of one length are allowed, {MOST_WEIGHTS} numbers in all")
        if self.reads == "answers" and any(len(row) != len(self.classes) for row in self.weights):
            raise ValueError("weights on answers need one column for each class")
        if self.sha256 and self.sha256 != _sum(self):
            raise ValueError("sha256: it was changed after it was made")
        return self

    def check(self, facts: Bundle) -> None:
        """Hold the profile against the model that it is used with.

        Raises:
            SerError: if it was made with another.
        """
        if self.bundle != identity(facts) or self.classes != facts.classes:
            raise SerError(f"the speaker's profile was made with another model (of {self.corpus}): enroll again with this one")

    @property
    def adaptation(self) -> Adaptation:
        """Its numbers, ready for use."""
        return Adaptation(np.array(self.shift), np.array(self.weights if self.weights else np.zeros((0, 0))), self.reads)


def profile(facts: Bundle, found: Adaptation, labels: np.ndarray) -> Profile:
    """What is kept of a speaker.

    Args:
        facts: of the model.
        found: adaptation to the speaker.
        labels: class number of each clip that it was found with, (clips,); −1 where it is not known.
    """
    counts = {name: int((labels == number).sum()) for number, name in enumerate(facts.classes)}
    made = Profile(
        version=1,
        bundle=identity(facts),
        corpus=facts.corpus[:200],
        classes=facts.classes,
        clips=len(labels),
        labelled={name: count for name, count in counts.items() if count},
        reads=found.reads,
        shift=_rounded(found.shift),
        weights=[_rounded(row) for row in found.weights],
    )
    return made.model_copy(update={"sha256": _sum(made)})


def identity(facts: Bundle) -> str:
    """Checksum that binds a profile to a model: of all its facts, those of its graphs among them."""
    return checksum(facts.model_dump(mode="json"))


def _sum(one: Profile) -> str:
    return checksum(one.model_dump(mode="json", exclude={"sha256"}))


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]
