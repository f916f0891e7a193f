"""``corpora``: where each corpus comes from and which labels count. The archives' inside is known to ``ser/corpora/``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ser.params.base import Section

SYNTHETIC_NOTICE = "synthetic: not a result about human emotion"
"""Stands beside every number of a synthetic corpus: in the metrics file, on the page, in the bundle and its card."""


class Archive(Section):
    """One packed file of a corpus."""

    name: str = Field(min_length=1, pattern=r"^[^/\\]+$")
    """File name under ``data/raw/<corpus>/`` and in a mirror (``<mirror>/<corpus>/<name>``)."""
    url: str | None = Field(None, pattern=r"^https?://")
    """Official address; null asks the record's API."""
    checksum: str | None = Field(None, pattern=r"^(md5|sha256):[0-9a-f]+$")
    """``md5:…`` or ``sha256:…`` of the official file; null takes the record API's and records it."""


class Synthetic(Section):
    """Speech made on the spot with espeak-ng: for trying the laboratory, never a result about human emotion."""

    kind: Literal["synthetic"]
    seed: int = Field(ge=0)
    """Seed of voices, timing and noise; the same seed gives the same bytes."""
    speakers: int = Field(ge=2, le=99)
    """Number of synthetic voices, half female and half male."""
    sentences: int = Field(ge=1, le=8)
    """Number of different sentences that every speaker says."""
    repetitions: int = Field(ge=1, le=9)
    """Takes of each sentence and emotion by each speaker."""


class Zenodo(Section):
    """A record on Zenodo. Archives that are not named here are asked of the record's API."""

    kind: Literal["zenodo"]
    record: int = Field(ge=1)
    """Record number, which alone says the version (Zenodo's own "Version 2" is another record)."""
    archives: list[Archive]
    """Files to fetch; an empty list takes every archive (zip, tar) of the record."""


class Links(Section):
    """Archives at plain addresses, with an optional Kaggle data set as a second source."""

    kind: Literal["links"]
    archives: list[Archive] = Field(min_length=1)
    kaggle: str | None = Field(None, pattern=r"^[^/]+/[^/]+$")
    """Kaggle data set ``owner/name``, used when the user has a token and ``kagglehub`` is installed."""


class Folder(Section):
    """The user's own recordings."""

    kind: Literal["folder"]
    path: str = Field(min_length=1)
    """Folder that holds the recordings, absolute or relative to the repository."""
    table: str | None = None
    """CSV with the columns path, label, speaker (gender, language optional), relative to ``path``; null reads ``label/speaker/*.wav``."""


class Joint(Section):
    """Several corpora read as one, in the common emotion vocabulary, for training on one and testing on another."""

    kind: Literal["joint"]
    members: list[str] = Field(min_length=2)
    """Names of other corpora in this file."""


Source = Annotated[Synthetic | Zenodo | Links | Folder | Joint, Field(discriminator="kind")]


class Labels(Section):
    """Which recordings count, and under which name."""

    classes: list[str]
    """Emotions of the task in report order; clips of others are left out and counted. Empty: every label found (own folder)."""
    edition: Literal["official", "corrected", "filename"]
    """Label set: ``corrected`` or ``filename`` for ShEMO, ``official`` elsewhere."""

    @model_validator(mode="after")
    def classes_are_named_once(self) -> Labels:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"labels.classes: {next(one for one in self.classes if self.classes.count(one) > 1)!r} is named twice")
        return self


class Corpus(Section):
    """One corpus: its source (read by ``download``) and its labels (read by ``preprocess``)."""

    source: Source
    labels: Labels
