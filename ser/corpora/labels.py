"""The labels of one recording, and the reason why a file is not a recording of the task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from ser.corpora.names import is_hidden

AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif")
"""Suffixes of recordings, in lower case."""


@dataclass(frozen=True)
class Recording:
    """Labels of one recording. Empty text stands for what is not known.

    Attributes:
        emotion: name of the class within its corpus.
        speaker: unique in the corpus. In a joint corpus the member's name stands before it, as in
            ``ravdess:01``.
        gender: ``female`` or ``male``.
        language: English name of the language, or the corpus' own code where sources disagree about its
            meaning.
        channel: ``speech`` or ``nonspeech``.
        intensity: ``normal``, ``strong`` or ``high``, as the corpus says.
        statement: what is said.
        repetition: which take of it.
        corpus: corpus it comes from; of a joint corpus the member.
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


@dataclass(frozen=True)
class Reject:
    """Why a file in a corpus is not a recording of the task.

    Attributes:
        reason: one short word, for counting: ``not_audio``, ``irregular_name``, ``unknown_emotion``,
            ``not_speech``, ``class_not_in_task``, ``not_in_table``, ``nameless``, or a reason of
            ``ser.corpora.archives``.
        detail: what the file is, for a person.
        path: member of the archive, unique in the corpus; empty until the corpus is listed.
    """

    reason: str
    detail: str
    path: str = ""


def not_audio(member: str) -> Reject | None:
    """The reason why a file cannot be a recording by its path alone, or None."""
    if is_hidden(member):
        return Reject("not_audio", "hidden, or left by an operating system or a tool")
    suffix = PurePosixPath(member).suffix
    if suffix.lower() not in AUDIO:
        return Reject("not_audio", f"suffix {suffix!r} is none of {', '.join(AUDIO)}")
    return None
