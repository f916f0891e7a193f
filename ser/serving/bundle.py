"""What ``export`` writes and ``predict`` reads beside the graphs: everything that turns a recording into what they take.

This module and what it imports run without torch.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from ser import SerError
from ser.params.base import Section
from ser.params.features import Features
from ser.params.preprocess import Preprocess

MODEL, ENCODER, FACTS, CARD, LICENCE = "model.onnx", "encoder.onnx", "bundle.json", "README.md", "LICENSE"
"""Files of a bundle; ``encoder.onnx`` only where a pretrained encoder is read, ``LICENSE`` only in the package."""
LENGTHS, STATES, POOLED, PROBABILITIES = "lengths", "encoder", "pooled", "probabilities"
"""What ``model.onnx`` may take beside the views, and what it gives first."""
VERSION: Literal[2] = 2
"""Of ``bundle.json``. Version 1 had networks without an encoder only, and no checksum of its facts; it is still read."""
MOST_FACTS, MOST_GRAPH = 1 << 20, 1 << 30
"""Bytes of ``bundle.json`` and of a graph that are read at most."""

Precision = Literal["float32", "float16", "int8"]
Commercial = Literal["yes", "no", "unclear"]
Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[str, Field(pattern=r"^[a-z0-9_+]{1,80}$")]
Family = Literal["whisper", "wav2vec2", "hubert", "wavlm", "data2vec-audio"]


class BundleError(SerError):
    """A bundle that is missing, damaged or of another version."""


def attention_of(side: str) -> str:
    """The output of ``model.onnx`` with the attention of one side of the fusion."""
    return f"attention_{side}"


class Member(Section):
    """One of the networks in ``model.onnx``, in the order of its first output axis."""

    fold: int | None = Field(ge=1)
    """null: fitted on all clips of the corpus."""
    seed: int = Field(ge=0)
    temperature: float | None = Field(ge=0.01, le=100)
    """Divides the logarithms of its probabilities; null: not calibrated."""


class Score(Section):
    """How good the networks were on clips that they had not heard."""

    ua: Share
    ua_interval: Annotated[list[Share], Field(min_length=2, max_length=2)] | None
    """Lower and upper end at ``confidence``, clustered by speaker."""
    confidence: Share
    wa: Share
    macro_f1: Share
    clips: int = Field(ge=0)
    chance_ua: Share


class Typical(Section):
    """Bounds within which 99 of 100 training clips lie (``ser.serving.unlike``)."""

    clips: int = Field(ge=1)
    bandwidth_hz: float = Field(ge=0)
    range_db: float = Field(ge=0)
    clipped: float = Field(ge=0, le=1)


class Parity(Section):
    """How far the exported encoder is from the float32 one that training used, at most, over some clips of the corpus."""

    clips: int = Field(ge=1)
    states: float = Field(ge=0)
    """Of the means and standard deviations over time of the hidden states."""
    probabilities: float = Field(ge=0, le=1)


class BundledEncoder(Section):
    """The pretrained encoder in ``encoder.onnx``, cut off above the highest hidden state that is read."""

    name: str = Field(min_length=1)
    family: Family
    layers: list[int] = Field(min_length=1)
    """Hidden states that it gives, ascending; 0 is the stem."""
    width: int = Field(ge=1)
    tokens_per_second: float = Field(gt=0)
    silence_seconds: float = Field(ge=0, le=10)
    """Seconds of silence appended to each clip before it is encoded."""
    mel_bands: int | None = Field(ge=1, le=512)
    """Of Whisper's log-mel (``ser.encoders.whisper_mel``) at 16 kHz: 25 ms windows, one frame each 10 ms; null in all other families, which
    read the waveform."""
    normalise: bool = False
    """Each clip is standardised to mean 0 and variance 1 before it is encoded; waveform only."""
    positions: int = Field(ge=1, le=1500)
    """Maximum number of tokens per pass; longer input is cut into pieces."""
    precision: Precision
    """How its weights are stored; it computes in float32."""
    parity: Parity | None
    """null: there were no clips to measure it on."""
    licence: str
    commercial: Commercial
    weights_sha256: str
    """Of the ``model.safetensors`` that it was made from."""
    sha256: str
    """Of ``encoder.onnx``."""

    @model_validator(mode="after")
    def hears_one_way(self) -> BundledEncoder:
        """Refuse an encoder that would hear both log-mel and waveform, or neither."""
        if (self.family == "whisper") != (self.mel_bands is not None) or (self.normalise and self.mel_bands is not None):
            raise ValueError("mel_bands: whisper reads log-mel, and no other family does; only the others standardise clips")
        return self


class Bundle(Section):
    """Content of ``bundle.json``."""

    version: Literal[2]
    corpus: str
    classes: list[str] = Field(min_length=2)
    kind: Literal["network", "linear"]
    """What ``model.onnx`` holds: networks, or regressions on pooled hidden states of the encoder."""
    networks: list[Member]
    """Empty where the model could not be exported."""
    not_exported: str
    """Why it could not; empty where it was."""
    reads: list[str]
    """Inputs of ``model.onnx`` in their order: views by name, then hidden states of the encoder, pooled ones, and lengths in frames."""
    attention: list[Side] = Field(default_factory=list)
    """Sides of the fusion over whose frames ``model.onnx`` gives attention; none for a fusion without and in older bundles."""
    encoder: BundledEncoder | None
    """null: nothing is read from a pretrained encoder."""
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
    made: Literal["folds", "refit"] = "folds"
    """refit: one regression fitted on all clips; the score is of the regressions of cross-validation."""
    worse: dict[str, Share] = Field(default_factory=dict)
    """UA on some clips as they are (``clean``) and made worse, by the name of the condition; empty where the study was left out."""
    typical: Typical | None = None
    """null: not measured, as in older bundles."""
    model_sha256: str
    """Of ``model.onnx``; empty where there is none."""
    facts_sha256: str = ""
    """Of all other facts, set by ``sealed``; empty in bundles of version 1. It finds damage and careless edits; it is not a signature."""

    @model_validator(mode="after")
    def belong_together(self) -> Bundle:
        """Refuse facts that contradict each other."""
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: a class is named twice")
        if (self.kind == "linear") != (self.reads == [POOLED]) and self.networks:
            raise ValueError(f"kind {self.kind} does not fit reads: a linear model reads {POOLED} alone, and no other does")
        hears = bool({STATES, POOLED} & set(self.reads))
        if hears != (self.encoder is not None):
            raise ValueError("encoder: it is there where the model reads hidden states, and only there")
        return self


def sealed(facts: Bundle) -> Bundle:
    """The same facts with the checksum that their reader compares."""
    return facts.model_copy(update={"facts_sha256": checksum(facts.model_dump(mode="json"))})


def checksum(values: Mapping[str, object]) -> str:
    """sha256 of all facts but ``facts_sha256``, independent of spaces and of the order of keys."""
    others = {key: value for key, value in values.items() if key != "facts_sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read(folder: str | Path) -> Bundle:
    """The facts of a bundle, checked against their checksum.

    Raises:
        BundleError: if it is missing, damaged, of another version, or holds no network.
    """
    folder = Path(folder)
    text = _read(folder / FACTS, MOST_FACTS)
    if text is None:
        raise BundleError(f"{folder} is not an exported model ({FACTS} not found): `ser bundles` lists those there are")
    facts = _parse(text, folder / FACTS)
    if not facts.networks:
        raise BundleError(f"{folder} holds no network ({facts.not_exported}): export another model")
    return facts


def graph(folder: str | Path, name: str, sha256: str) -> bytes:
    """One of the graphs of a bundle as bytes, checked against their checksum.

    Raises:
        BundleError: if it is missing or another.
    """
    path = Path(folder) / name
    model = _read(path, MOST_GRAPH)
    if model is None:
        raise BundleError(f"{path} not found: the bundle is not whole; copy or export it again")
    if hashlib.sha256(model).hexdigest() != sha256:
        raise BundleError(f"{path} does not belong to its {FACTS} (other checksum): copy or export the bundle again")
    return model


def _parse(text: bytes, path: Path) -> Bundle:
    try:
        facts = _Version.model_validate_json(text)
        if facts.version == 1:
            return _of_version_1(json.loads(text))
        found = Bundle.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) + ": " if first["loc"] else ""
        raise BundleError(
            f"{path} cannot be used ({where}{first['msg'].removeprefix('Value error, ')}): export it again with this version"
        ) from None
    if checksum(json.loads(text)) != found.facts_sha256:
        raise BundleError(f"{path} was changed after the export (other checksum of its facts): copy or export the bundle again")
    return found


class _Version(Section):
    model_config = ConfigDict(extra="ignore")

    version: Literal[1, 2]


def _of_version_1(values: Mapping[str, object]) -> Bundle:
    """The facts of a bundle of version 1: networks that read all views, and nothing else."""
    added = {"version": VERSION, "kind": "network", "encoder": None, "reads": [], "not_exported": "it is a baseline"}
    facts = Bundle.model_validate({**values, **added})
    return facts.model_copy(update={"reads": [*facts.features.views, LENGTHS], "not_exported": ""}) if facts.networks else facts


def _read(path: Path, most: int) -> bytes | None:
    """All bytes of a regular file, and no other kind, which might never end; None where there is none.

    Raises:
        BundleError: if it cannot be read, or is larger than ``most``.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise BundleError(f"{path} is not a regular file: copy or export the bundle again")
        if facts.st_size > most:
            raise BundleError(f"{path} has {facts.st_size} bytes, and at most {most} are read: copy or export the bundle again")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
