"""A few recordings of one speaker → their profile."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ser import SerError
from ser.corpora.names import clean
from ser.runtime import files
from ser.serving.predict import Predictor
from ser.serving.speakers.adaptation import adapted
from ser.serving.speakers.profile import Profile, profile
from ser.signal.audio import AudioError

FEWEST = 4
"""Fewest usable recordings."""
MOST = 1000
"""Most recordings; a profile of fewer says all that it can."""
MOST_TABLE = 4 << 20
"""Bytes of a table of labels that are read at most."""


@dataclass(frozen=True)
class Enrolment:
    """What became of the recordings.

    Attributes:
        profile: of the speaker.
        unusable: name and reason of each recording that was left out.
        warnings: how many recordings differ from the training clips, by the phrase that says how.
    """

    profile: Profile
    unusable: tuple[tuple[str, str], ...]
    warnings: Mapping[str, int]


def enrolled(predictor: Predictor, recordings: Iterable[tuple[str, Callable[[], IO[bytes]], str | None]]) -> Enrolment:
    """Make a profile.

    Args:
        predictor: the model.
        recordings: of one speaker: the name of each, what opens it, and its emotion where that is known. What has no speech or cannot be
            read is left out.

    Raises:
        SerError: if fewer than ``FEWEST`` can be used or there are more than ``MOST``, for a label that the model does not have, and for a
            model with ``normalise: speaker``.
    """
    facts = predictor.bundle
    if facts.features.normalise == "speaker":
        raise SerError("this model standardises features by speaker itself: give it all recordings of a speaker at once, without a profile")
    number = {name.casefold(): place for place, name in enumerate(facts.classes)}
    answers, pooled, labels, unusable = [], [], [], []
    warnings: dict[str, int] = {}
    for count, (name, opening, label) in enumerate(recordings):
        if count == MOST:
            raise SerError(f"more than {MOST} recordings: choose some of all moods")
        if label is not None and label.casefold() not in number:
            raise SerError(f"{name}: the model has no class {label[:80]!r}; it has {', '.join(facts.classes)}")
        try:
            with opening() as stream:
                for heard in predictor.heard(stream):
                    if heard.prepared.no_speech:
                        unusable.append((name, "no speech found"))
                        continue
                    answers.append(predictor.answer(heard))
                    pooled.append(heard.pooled)
                    labels.append(-1 if label is None else number[label.casefold()])
                    for said in heard.unlike:
                        kind = said.split(maxsplit=1)[0].rstrip(":")
                        warnings[kind] = warnings.get(kind, 0) + 1
        except AudioError as error:
            unusable.append((name, str(error)))
        except OSError as error:
            unusable.append((name, error.strerror or str(error)))
    if len(answers) < FEWEST:
        reasons = "".join(f"\n{name or repr(name)}: {why}" for name, why in unusable[:10])
        raise SerError(f"a profile needs at least {FEWEST} usable recordings; found {len(answers)}{reasons}")
    vectors = [one for one in pooled if one is not None]
    found = adapted(predictor.standard(), np.stack(answers), np.stack(vectors) if vectors else None, np.array(labels))
    return Enrolment(profile(facts, found, np.array(labels)), tuple(unusable), warnings)


def by_folder(paths: Iterable[str], classes: Iterable[str]) -> dict[str, str]:
    """The emotion of each recording whose folder is named like one of the classes, in any case."""
    known = {name.casefold(): name for name in classes}
    found = ((path, known.get(clean(Path(path).absolute().parent.name).casefold())) for path in paths)
    return {path: label for path, label in found if label is not None}


def by_table(table: str, paths: Iterable[str]) -> dict[str, str]:
    """The emotion of each recording that a CSV with the columns ``path`` and ``label`` lists; paths are relative to the table.

    Raises:
        SerError: if the table cannot be read, lacks a column or lists none of the recordings, or one with two labels.
    """
    try:
        text = files.text(table, MOST_TABLE)
    except FileNotFoundError as error:
        raise SerError(f"{table}: {error.strerror}") from None
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=text.split("\n", 1)[0].count), skipinitialspace=True, strict=True)
    try:
        columns = {(column or "").strip().lower(): column for column in rows.fieldnames or []}
        if missing := [name for name in ("path", "label") if name not in columns]:
            raise SerError(f"{table} lacks the column {', '.join(missing)}; needed: path, label")
        below, listed = Path(table).absolute().parent, dict[str, str]()
        for row in rows:
            if told := clean(row[columns["label"]] or ""):
                name = os.path.realpath(below / (row[columns["path"]] or "").strip())
                if (other := listed.setdefault(name, told)).casefold() != told.casefold():
                    raise ValueError(f"{os.path.basename(name)} has the label {other[:80]!r} already, and here {told[:80]!r}")
    except (csv.Error, ValueError) as error:
        raise SerError(f"{table}, line {rows.line_num}: {error}") from None
    found = {path: label for path in paths if (label := listed.get(os.path.realpath(path))) is not None}
    if not found:
        raise SerError(f"{table} lists none of these recordings; its paths are relative to the folder it lies in")
    return found
