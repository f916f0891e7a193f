"""ShEMO: 87 Persian speakers, 6 emotions, 3,000 utterances from radio plays (Mohamad Nezami et al. 2019, doi
10.1007/s10579-018-9427-x).

Members ``female/F01A01.wav``: gender, speaker, emotion letter, running number. The letters of 163 names
disagree with the re-matched labels, which are the default edition, ``corrected``; ``shemo_corrections.csv``
holds them. The edition ``filename`` believes the letters.
"""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from functools import cache
from importlib.resources import files

from ser.corpora.description import Description
from ser.corpora.labels import Recording, Reject

CLASSES = {"A": "angry", "F": "fearful", "H": "happy", "N": "neutral", "S": "sad", "W": "surprised"}

_NAME = re.compile(r"(([FM])\d\d)([A-Z])\d\d\.\w+", re.ASCII)


def by_letter(member: str) -> Recording | Reject:
    """Labels from a name such as ``F01A01.wav``.

    Every utterance is another sentence, so statement and repetition stay empty.
    """
    match = _NAME.fullmatch(_file(member))
    if match is None:
        return Reject("irregular_name", "expected gender, speaker, emotion letter, number, as in F01A01.wav")
    speaker, gender, letter = match.groups()
    if letter not in CLASSES:
        return Reject("unknown_emotion", f"letter {letter}")
    return Recording(
        emotion=CLASSES[letter],
        speaker=speaker,
        gender="female" if gender == "F" else "male",
        language="persian",
        channel="speech",
    )


def corrected(member: str) -> Recording | Reject:
    """The same with the re-matched emotion."""
    recording = by_letter(member)
    if isinstance(recording, Reject):
        return recording
    return replace(recording, emotion=corrections().get(_file(member).rsplit(".", 1)[0], recording.emotion))


def _file(member: str) -> str:
    return member.rsplit("/", 1)[-1]


@cache
def corrections() -> dict[str, str]:
    """Name without suffix → re-matched emotion, for the names whose letter is wrong."""
    text = files("ser.corpora.catalogue").joinpath("shemo_corrections.csv").read_text(encoding="utf-8")
    return {row["name"]: row["emotion"] for row in csv.DictReader(text.splitlines())}


CORPUS = Description(
    names=("shemo",),
    licence="free for academic use (Mohamad Nezami et al. 2019)",
    classes=CLASSES,
    editions={"corrected": corrected, "filename": by_letter},
)
