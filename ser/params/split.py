"""``split``: the protocol. A score without its protocol cannot be compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ser.params.base import Section, Seed


def _named_once(folds: list[int]) -> list[int]:
    if len(set(folds)) != len(folds):
        raise ValueError("a fold is named twice")
    return folds


Protocol = Literal["auto", "speaker", "official", "random", "cross_corpus"]
FoldCount = Annotated[int, Field(ge=2, le=100)]
Share = Annotated[float, Field(gt=0, lt=0.5)]
FoldNumbers = Annotated[list[Annotated[int, Field(ge=1, le=9999)]], AfterValidator(_named_once)]


class Split(Section):
    protocol: Protocol
    """auto: the corpus' published folds if they are speaker-independent, else speaker. speaker: k folds with
    disjoint speakers. official: the published folds. random: per class by clip, 80/10/10 as in many papers;
    speakers are shared between training and test. cross_corpus: train_on → test_on."""
    folds: FoldCount
    """Number of folds k of the speaker protocol."""
    valid_share: Share
    """Share of the training speakers held out for validation. random: share of all clips."""
    test_share: Share | None = None
    """random only: share of all clips that are tested; null: as many as for validation."""
    seed: Seed
    """Seed of the assignment. Clips are sorted first."""
    train_on: list[str]
    """cross_corpus only: members of the joint corpus to train on."""
    test_on: list[str]
    """cross_corpus only: members of the joint corpus to test on."""
    fold_file: str | None
    """official only: CSV (path, fold, part) of published folds that do not ship with the project."""
    use_folds: FoldNumbers
    """Folds to write, numbered from 1, for quick studies; empty: all. The metrics record them."""

    def with_own(self, own: OwnSplit | None) -> Split:
        """This split, with what a corpus sets for itself in place of these values."""
        chosen = {} if own is None else {key: value for key, value in own.model_dump().items() if value is not None}
        return self.model_copy(update=chosen)


class OwnSplit(Section):
    """``corpora.<name>.split``: what differs from ``split`` for this corpus. Null, or left out: as there."""

    protocol: Protocol | None = None
    """split.protocol of this corpus alone; null: as in split."""
    folds: FoldCount | None = None
    """split.folds of this corpus alone; null: as in split."""
    valid_share: Share | None = None
    """split.valid_share of this corpus alone; null: as in split."""
    test_share: Share | None = None
    """split.test_share of this corpus alone; null: as in split."""
    seed: Seed | None = None
    """split.seed of this corpus alone; null: as in split."""
    train_on: list[str] | None = None
    """split.train_on of this corpus alone; null: as in split."""
    test_on: list[str] | None = None
    """split.test_on of this corpus alone; null: as in split."""
    fold_file: str | None = None
    """split.fold_file of this corpus alone; null: as in split."""
    use_folds: FoldNumbers | None = None
    """split.use_folds of this corpus alone; null: as in split."""
