"""EMO-DB: 10 German actors, 7 emotions, 535 recordings (Burkhardt et al. 2005, doi
10.21437/Interspeech.2005-446).

Zenodo 17651657, CC BY 4.0. Members ``wav/SSTTTEv.wav``: speaker, text, emotion letter, version letter.
"""

from __future__ import annotations

import re

from ser.corpora.description import Description
from ser.corpora.labels import Recording, Reject

CLASSES = {"W": "angry", "L": "boredom", "E": "disgust", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral"}

_NAME = re.compile(r"(03|08|09|1[0-6])([ab]\d\d)([A-Z])([a-z]?)\.\w+", re.ASCII)
_MALE = {"03", "10", "11", "12", "15"}


def labels(member: str) -> Recording | Reject:
    """Labels from a name such as ``03a01Fa.wav``: speaker 03, text a01, F(reude), version a."""
    match = _NAME.fullmatch(member.rsplit("/", 1)[-1])
    if match is None:
        return Reject("irregular_name", "expected speaker, text, emotion letter, version letter, as in 03a01Fa.wav")
    speaker, text, emotion, version = match.groups()
    if emotion not in CLASSES:
        return Reject("unknown_emotion", f"letter {emotion}")
    return Recording(
        emotion=CLASSES[emotion],
        speaker=speaker,
        gender="male" if speaker in _MALE else "female",
        language="german",
        channel="speech",
        statement=text,
        repetition=version,
    )


CORPUS = Description(
    names=("emodb",),
    licence="CC BY 4.0 (Burkhardt et al. 2005)",
    classes=CLASSES,
    editions={"official": labels},
)
