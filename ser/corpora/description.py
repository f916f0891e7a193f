"""The facts about a published corpus: one ``Description``, filled in by the module of that corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ser.corpora.labels import Recording, Reject

Parser = Callable[[str], Recording | Reject]
"""Path of a recording in its archive → its labels, or the reason why the name gives none."""


@dataclass(frozen=True)
class PublishedFolds:
    """Speaker-independent folds that a publication uses.

    Attributes:
        source: name of the publication, shown beside scores.
        test_speakers: for each fold its test speakers, separated by blanks. Together they are all speakers of
            the corpus, each once.
    """

    source: str
    test_speakers: tuple[str, ...]

    def tests(self) -> list[list[str]]:
        """Test speakers of each fold."""
        return [fold.split() for fold in self.test_speakers]

    def speakers(self) -> set[str]:
        """All speakers of the corpus."""
        return {speaker for fold in self.tests() for speaker in fold}


def whole_path(member: str) -> str:
    """The path as it is: the clip id of a corpus whose copies all have the same layout."""
    return member


@dataclass(frozen=True)
class Description:
    """Everything about one corpus.

    The module in ``ser/corpora/catalogue`` holds it under the name ``CORPUS``.

    Attributes:
        names: keys of the corpus in ``params.yaml``; several where editions with the same naming rules are
            corpora of their own.
        licence: terms of use, for the model card.
        classes: code in a recording's name → class. The order is that of messages.
        editions: name of a label edition (``labels.edition`` in ``params.yaml``) → parser of names. Most
            corpora have ``official`` only. A parser never sees files that are not recordings, and need not
            fill in ``Recording.corpus``.
        common: class → word of the common vocabulary in which corpora are joined, for the classes where the
            two differ.
        folds: published speaker-independent folds, which ``split.protocol: auto`` and ``official`` use. None
            where there are none.
        clip: path in the archive → id of the clip. Needed where copies of the corpus name their root folder
            differently.
    """

    names: tuple[str, ...]
    licence: str
    classes: Mapping[str, str]
    editions: Mapping[str, Parser]
    common: Mapping[str, str] = field(default_factory=dict)
    folds: PublishedFolds | None = None
    clip: Callable[[str], str] = whole_path
