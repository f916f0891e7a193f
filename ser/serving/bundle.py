"""What ``export`` writes and ``predict`` reads beside ``model.onnx``: everything that turns a recording into the networks' input.

This module and what it imports run without torch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from ser import SerError
from ser.params.base import Section
from ser.params.features import Features
from ser.params.preprocess import Preprocess

MODEL, FACTS, CARD = "model.onnx", "bundle.json", "README.md"
"""Files of a bundle."""


class BundleError(SerError):
    """A bundle that is missing, damaged or of another version."""


class Member(Section):
    """One of the networks in ``model.onnx``, in the order of its first output axis."""

    fold: int = Field(ge=1)
    seed: int = Field(ge=0)
    temperature: float | None = Field(gt=0)
    """Divides the logarithms of its probabilities; null: not calibrated."""


class Score(Section):
    """How good the networks were on clips that they had not heard."""

    ua: float
    ua_interval: list[float] | None
    """Lower and upper end at ``confidence``, clustered by speaker."""
    confidence: float
    wa: float
    macro_f1: float
    clips: int
    chance_ua: float


class Bundle(Section):
    """Content of ``bundle.json``."""

    version: Literal[1]
    corpus: str
    classes: list[str] = Field(min_length=2)
    networks: list[Member]
    """Empty where the model is no network (the SVM baseline), which is not exported."""
    preprocess: Preprocess
    features: Features
    """Includes ``normalise``: what the predictor has to do to the features before the networks do the rest."""
    max_frames: int = Field(ge=1)
    """Longer clips are cut into windows of equal length up to this, whose probabilities are averaged (``ser.views.windows``)."""
    notice: str
    """What must be said wherever the numbers appear; empty for recorded speech."""
    licence: str
    """Of the recordings that the networks learned from."""
    edition: str
    """Of these recordings; empty when not evaluated."""
    protocol: str
    """Of the score; empty when not evaluated."""
    speaker_independent: bool | None
    score: Score | None
    model_sha256: str
    """Of ``model.onnx``; empty where there is none."""


def read(folder: str | Path) -> tuple[Bundle, bytes]:
    """The facts of a bundle and its model as bytes, which were checked against their checksum.

    Raises:
        BundleError: if it is missing, damaged, of another version, or holds no network.
    """
    folder = Path(folder)
    try:
        text = (folder / FACTS).read_bytes()
    except OSError:
        raise BundleError(
            f"{folder} is no exported model ({FACTS} not found): run `dvc repro export@{folder.name}`, or name another"
        ) from None
    try:
        facts = Bundle.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{folder / FACTS} cannot be used ({where}: {first['msg']}): export it again with this version") from None
    if not facts.networks:
        raise BundleError(f"{folder} holds no network (model.kind svm is a baseline that is not exported): train model.kind network")
    try:
        model = (folder / MODEL).read_bytes()
    except OSError:
        raise BundleError(f"{folder / MODEL} not found: the bundle is not whole; copy or export it again") from None
    if hashlib.sha256(model).hexdigest() != facts.model_sha256:
        raise BundleError(f"{folder / MODEL} does not belong to its {FACTS} (other checksum): copy or export the bundle again")
    return facts, model
