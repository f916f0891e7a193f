"""What a recording's name, or the user's table, says about it; and what is said where nothing can be said."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

AUDIO = (".wav", ".flac", ".ogg", ".mp3")
"""Suffixes of recordings, in lower case."""


@dataclass(frozen=True)
class Recording:
    """Labels of one recording. What is not known is empty text.

    Attributes:
        emotion: name of the class within its corpus (``vocabulary.csv``).
        speaker: unique in the corpus; in a joint corpus after the member's name, as in ``ravdess:01``.
        gender: ``female`` or ``male``.
        language: English name of the language, or the corpus' own code where nobody agrees what it means.
        channel: ``speech`` or ``nonspeech``.
        intensity: ``normal``, ``strong`` or ``high``, as the corpus says.
        statement: what is said.
        repetition: which take of it.
        corpus: corpus it comes from; of a joint corpus the member.
        voices: ``mixed`` when several voices sound at once, ``noisy`` when the corpus marks noise.
    """

    emotion: str
    speaker: str
    gender: str = ""
    language: str = ""
    channel: str = ""
    intensity: str = ""
    statement: str = ""
    repetition: str = ""
    corpus: str = ""
    voices: str = ""


@dataclass(frozen=True)
class Reject:
    """Why something found in a corpus is no recording of the task: one short word for counting, and what exactly was found.

    Attributes:
        reason: ``not_audio``, ``irregular_name``, ``unknown_emotion``, ``not_speech``, ``class_not_in_task``, ``not_in_table``, or one of
            the archive's reasons (``ser.corpora.archives``).
        detail: what was found, for a person.
        path: the archive's member, unique in the corpus; empty until it is listed.
    """

    reason: str
    detail: str
    path: str = ""


@cache
def vocabulary(corpus: str) -> dict[str, str]:
    """Codes of a corpus → its classes, in the order of ``vocabulary.csv``."""
    return {row["code"]: row["emotion"] for row in _rows() if row["corpus"] == corpus}


@cache
def common(corpus: str) -> dict[str, str]:
    """Classes of a corpus → the common vocabulary in which corpora are joined. ``any`` holds the words people use in own tables."""
    return {row["emotion"]: row["common"] for row in _rows() if row["corpus"] == corpus}


@cache
def _rows() -> tuple[dict[str, str], ...]:
    text = files("ser.corpora").joinpath("vocabulary.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def not_audio(member: str) -> Reject | None:
    """The reason why a member cannot be a recording by its name alone, or None.

    Hidden files are none whatever their suffix: macOS leaves ``__MACOSX/._name.wav`` beside every recording it packs.
    """
    path = PurePosixPath(member)
    if path.name.startswith(".") or "__MACOSX" in path.parts:
        return Reject("not_audio", "hidden file left by an operating system")
    if path.suffix.lower() not in AUDIO:
        return Reject("not_audio", f"suffix {path.suffix!r} is none of {', '.join(AUDIO)}")
    return None
