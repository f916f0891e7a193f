"""What a bundle says about recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax

from ser import SerError
from ser.evaluation.adaptation import FEWEST, centred
from ser.runtime.text import percent
from ser.serving.bundle import Bundle

UNCERTAIN = "uncertain"
"""In place of an emotion, where no class is probable enough."""
Json = dict[str, object]
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
        warnings: how the recording differs from the training clips, one phrase each.
        least: probability below which no class is an answer, 0–1.
        damage: what is cut off or unreadable in it; empty where it is whole.
    """

    path: str
    probabilities: dict[str, float]
    seconds: float = 0.0
    speech_seconds: float = 0.0
    no_speech: bool = False
    problem: str = ""
    warnings: tuple[str, ...] = ()
    least: float = 0.0
    damage: str = ""

    @property
    def cautions(self) -> list[str]:
        """All that makes the answer doubtful, one phrase each, the damage first."""
        return [*([f"damaged: {self.damage}"] if self.damage else []), *self.warnings]

    @property
    def emotion(self) -> str:
        """The most probable class, or ``uncertain`` where its probability is below ``least``; empty where there is a problem."""
        return most_probable(self.probabilities, self.least)

    def table(self, top: int | None = None) -> str:
        """The ``top`` classes (None: all), most probable first, each with a bar and its share; the problem where there is one."""
        if not self.probabilities:
            return self.problem
        wide = max(len(name) for name in self.probabilities)
        lines = []
        for name, p in sorted(self.probabilities.items(), key=lambda entry: -entry[1])[:top]:
            full = round(p * _BAR)
            lines.append(f"{name:<{wide}}  {'█' * full}{'·' * (_BAR - full)} {percent(p) + '%':>6}")
        return "\n".join(lines)


def most_probable(probabilities: Mapping[str, float], least: float = 0.0) -> str:
    """The most probable class, ``UNCERTAIN`` where its probability is below ``least``; empty where there are none."""
    if not probabilities:
        return ""
    name = max(probabilities, key=lambda one: probabilities[one])
    return name if probabilities[name] >= least else UNCERTAIN


def as_entry(prediction: Prediction, top: int | None = None) -> Json:
    """A prediction as plain values, for JSON; of the probabilities the ``top`` greatest (None: all, in the bundle's order)."""
    shares = sorted(prediction.probabilities.items(), key=lambda entry: -entry[1])[:top] if top else prediction.probabilities.items()
    return {
        "path": prediction.path,
        "emotion": prediction.emotion or None,
        "probabilities": {name: round(p, 6) for name, p in shares},
        "seconds": round(prediction.seconds, 3),
        "speech_seconds": round(prediction.speech_seconds, 3),
        "no_speech": prediction.no_speech,
        "problem": prediction.problem or None,
        "warnings": list(prediction.cautions),
    }


def as_document(bundle: Bundle, entries: list[Json]) -> Json:
    """Which model it was, and its predictions as plain values: what ``ser predict --json`` prints."""
    about = {"corpus": bundle.corpus, "notice": bundle.notice, "protocol": bundle.protocol, "normalise": bundle.features.normalise}
    return {"bundle": about, "predictions": entries}


def centred_on_speaker(predictions: list[Prediction], average: np.ndarray) -> list[Prediction]:
    """The same predictions, each judged by how it differs from the others, all being of one speaker (``ser.evaluation.adaptation``).

    Recordings that could not be judged stay as they are.

    Args:
        predictions: of one speaker.
        average: logarithm of what the model says of the average clip of its training, (classes,), to which the mean is moved; zeros where
            it is not known (``ser.serving.model_graph.Standard``).

    Raises:
        SerError: if fewer than ``FEWEST`` could.
    """
    judged = [found for found in predictions if found.probabilities]
    if len(judged) < FEWEST:
        raise SerError(f"--one-speaker needs at least {FEWEST} usable recordings; found {len(judged)}")
    names = list(judged[0].probabilities)
    relative = centred(np.array([[found.probabilities[name] for name in names] for found in judged]), np.zeros(len(judged)))
    adapted = iter(softmax(np.log(relative) + average, axis=1))
    return [
        replace(found, probabilities=dict(zip(names, next(adapted).tolist(), strict=True))) if found.probabilities else found
        for found in predictions
    ]
