"""``corpora``: where each corpus comes from and which labels count. What its archives hold, ``ser/corpora/`` knows."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ser.params.base import Section, Seed
from ser.params.split import OwnSplit

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Names of corpora. They are parts of paths and shell commands, and of DVC's keys, in which a dot would divide."""

_TAKEN = ("source.json", ".part", ".lock")
"""Ends of file names that the download uses for itself."""

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Archives that can be read, by the end of their name."""

SYNTHETIC_NOTICE = "synthetic: not a result about human emotion"
"""Stands beside every number of a synthetic corpus: in the metrics file, on the page, in the bundle and its card."""


class Archive(Section):
    """One packed file of a corpus."""

    name: str = Field(pattern=r"^[\p{L}\p{N}][^/\\\p{C}]*$")
    """File name under ``data/raw/<corpus>/`` and in a mirror (``<mirror>/<corpus>/<name>``)."""
    url: str | None = Field(None, pattern=r"^https?://")
    """Official address; null asks the record's API."""
    checksum: str | None = Field(None, pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")
    """``md5:…`` or ``sha256:…`` of the official file; null takes the record API's and records it."""

    @field_validator("name")
    @classmethod
    def name_is_free(cls, name: str) -> str:
        if name.lower().endswith(_TAKEN) or name[-1] in ". " or len(name.encode()) > 200:
            raise ValueError(f"{name!r} cannot name an archive: at most 200 bytes, no dot or blank at the end, not {', '.join(_TAKEN)}")
        return name


class Synthetic(Section):
    """Speech made by espeak-ng, for trying the laboratory. Its scores are not results about human emotion."""

    kind: Literal["synthetic"]
    seed: Seed
    """Seed of voices, timing and noise; the same seed gives the same bytes."""
    speakers: int = Field(ge=2, le=99)
    """Number of synthetic voices, half female and half male."""
    sentences: int = Field(ge=1, le=8)
    """Number of different sentences that every speaker says."""
    repetitions: int = Field(ge=1, le=9)
    """Takes of each sentence and emotion by each speaker."""


class Zenodo(Section):
    """A record on Zenodo. Its API lists the archives that are not named here."""

    kind: Literal["zenodo"]
    record: int = Field(ge=1, le=10**12)
    """Record number. Each version of a data set has its own (what Zenodo calls "Version 2" is another record)."""
    archives: list[Archive]
    """Files to fetch. An empty list takes every archive (zip, tar) of the record."""


class Links(Section):
    """Archives at plain addresses, with an optional Kaggle data set as a second source."""

    kind: Literal["links"]
    archives: list[Archive] = Field(min_length=1)
    kaggle: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
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
    """Names of other corpora in this file, each once."""

    @field_validator("members")
    @classmethod
    def members_are_named_once(cls, names: list[str]) -> list[str]:
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is named twice")
        return names


Source = Annotated[Synthetic | Zenodo | Links | Folder | Joint, Field(discriminator="kind")]


class Labels(Section):
    """Which recordings count, and under which name."""

    classes: list[str]
    """Emotions of the task in report order; clips of others are left out and counted. Empty: every label found (own folder)."""
    edition: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)
    """Label set, as the corpus' module names it: ``corrected`` or ``filename`` for ShEMO, ``official`` elsewhere."""

    @model_validator(mode="after")
    def classes_are_named_once(self) -> Labels:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"labels.classes: {next(one for one in self.classes if self.classes.count(one) > 1)!r} is named twice")
        return self


class Corpus(Section):
    """One corpus: its source (read by ``download``), its labels (``preprocess``) and what is its own in the split (``split``)."""

    source: Source
    labels: Labels
    split: OwnSplit | None = None
