"""``split``: the protocol, without which a score says nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ser.params.base import Section


class Split(Section):
    protocol: Literal["auto", "speaker", "official", "random", "cross_corpus"]
    """auto: the corpus' published folds where they are speaker-independent, else speaker. speaker: speaker-disjoint k folds.
    official: the published folds. random: 80/10/10 per class by utterance, speakers shared (the papers').
    cross_corpus: train_on → test_on."""
    folds: int = Field(ge=2, le=100)
    """Number of folds k of the speaker protocol."""
    valid_share: float = Field(gt=0, lt=0.5)
    """Share of the training speakers (random: of all clips, as for test) held out for validation."""
    seed: int = Field(ge=0)
    """Seed of the assignment; clips are sorted first."""
    train_on: list[str]
    """cross_corpus only: members of the joint corpus to train on."""
    test_on: list[str]
    """cross_corpus only: members of the joint corpus to test on."""
    fold_file: str | None
    """official only: CSV (path, fold, part) of published folds that do not travel with the project."""
    use_folds: list[int]
    """Only these folds (numbered from 1) are written, for quick studies; empty: all. Named in the metrics."""
