"""``split``: the protocol. A score without its protocol cannot be compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ser.params.base import Section, Seed


class Split(Section):
    protocol: Literal["auto", "speaker", "official", "random", "cross_corpus"]
    """auto: the corpus' published folds if they are speaker-independent, else speaker. speaker: k folds with
    disjoint speakers. official: the published folds. random: 80/10/10 per class by clip, as in many papers;
    speakers are shared between training and test. cross_corpus: train_on → test_on."""
    folds: int = Field(ge=2, le=100)
    """Number of folds k of the speaker protocol."""
    valid_share: float = Field(gt=0, lt=0.5)
    """Share of the training speakers held out for validation. random: share of all clips, for validation and
    again for test."""
    seed: Seed
    """Seed of the assignment. Clips are sorted first."""
    train_on: list[str]
    """cross_corpus only: members of the joint corpus to train on."""
    test_on: list[str]
    """cross_corpus only: members of the joint corpus to test on."""
    fold_file: str | None
    """official only: CSV (path, fold, part) of published folds that do not ship with the project."""
    use_folds: list[Annotated[int, Field(ge=1, le=9999)]]
    """Folds to write, numbered from 1, for quick studies; empty: all. The metrics record them."""

    @model_validator(mode="after")
    def folds_are_named_once(self) -> Split:
        if len(set(self.use_folds)) != len(self.use_folds):
            raise ValueError("split.use_folds: a fold is named twice")
        return self
