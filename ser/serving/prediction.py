"""What a bundle says about recordings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ser import SerError
from ser.evaluation.adaptation import FEWEST, centred
from ser.runtime.text import percent

_BAR = 24
"""Width of a full bar in characters."""


@dataclass(frozen=True)
class Prediction:
    """What a bundle says about one recording.

    Attributes:
        path: the recording, as it was named.
        probabilities: of each class, in the bundle's order, summing to 1; empty where there is a problem.
        seconds: length of the recording.
        speech_seconds: what voice activity detection left of it.
        no_speech: it found none, so the whole recording was judged.
        problem: why there is no prediction; empty otherwise.
    """

    path: str
    probabilities: dict[str, float]
    seconds: float = 0.0
    speech_seconds: float = 0.0
    no_speech: bool = False
    problem: str = ""

    @property
    def emotion(self) -> str:
        """The most probable class; empty where there is a problem."""
        return max(self.probabilities, key=lambda name: self.probabilities[name]) if self.probabilities else ""

    def table(self) -> str:
        """The classes, most probable first, each with a bar and its share in percent; the problem where there is one."""
        if not self.probabilities:
            return self.problem
        wide = max(len(name) for name in self.probabilities)
        lines = []
        for name, p in sorted(self.probabilities.items(), key=lambda entry: -entry[1]):
            full = round(p * _BAR)
            lines.append(f"{name:<{wide}}  {'█' * full}{'·' * (_BAR - full)} {percent(p) + '%':>6}")
        return "\n".join(lines)


def centred_on_speaker(predictions: list[Prediction]) -> list[Prediction]:
    """The same predictions, each judged by how it differs from the others, all being of one speaker (``ser.evaluation.adaptation``).

    Recordings that could not be judged stay as they are.

    Raises:
        SerError: if fewer than ``FEWEST`` could.
    """
    judged = [found for found in predictions if found.probabilities]
    if len(judged) < FEWEST:
        raise SerError(f"--one-speaker needs at least {FEWEST} usable recordings; found {len(judged)}")
    names = list(judged[0].probabilities)
    adapted = iter(centred(np.array([[found.probabilities[name] for name in names] for found in judged]), np.zeros(len(judged))))
    return [
        replace(found, probabilities=dict(zip(names, next(adapted).tolist(), strict=True))) if found.probabilities else found
        for found in predictions
    ]
