"""ShEMO: 87 Persian speakers, 6 emotions, 3,000 utterances from radio plays (Mohamad Nezami et al. 2019, doi 10.1007/s10579-018-9427-x).

Members ``female/F01A01.wav``: gender, speaker, emotion letter, running number. The letters of 163 names disagree with the re-matched
labels, which are the default edition, ``corrected``; ``shemo_corrections.csv`` holds them. The edition ``filename`` believes the letters.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib.resources import files

from ser.corpora.labels import Recording, Reject, not_audio, vocabulary

_NAME = re.compile(r"(([FM])\d\d)([A-Z])\d\d\.\w+", re.ASCII)


def labels(member: str, edition: str = "corrected", corpus: str = "shemo") -> Recording | Reject:
    """Labels from a name such as ``F01A01.wav``. Every utterance is another sentence, so statement and repetition stay empty."""
    if reject := not_audio(member):
        return reject
    name = member.rsplit("/", 1)[-1]
    match = _NAME.fullmatch(name)
    if match is None:
        return Reject("irregular_name", "expected gender, speaker, emotion letter, number, as in F01A01.wav")
    speaker, gender, letter = match.groups()
    if letter not in vocabulary(corpus):
        return Reject("unknown_emotion", f"letter {letter}")
    emotion = vocabulary(corpus)[letter]
    if edition == "corrected":
        emotion = corrections().get(name.rsplit(".", 1)[0], emotion)
    return Recording(
        emotion=emotion,
        speaker=speaker,
        gender="female" if gender == "F" else "male",
        language="persian",
        channel="speech",
        corpus=corpus,
    )


@cache
def corrections() -> dict[str, str]:
    """Name without suffix → re-matched emotion, for the names whose letter is wrong."""
    text = files("ser.corpora").joinpath("shemo_corrections.csv").read_text(encoding="utf-8")
    return {row["name"]: row["emotion"] for row in csv.DictReader(text.splitlines())}
