"""RAVDESS, speech part: 24 English-speaking actors, 8 emotions, 1,440 recordings (Livingstone & Russo 2018).

doi 10.1371/journal.pone.0196391, Zenodo 1188976, CC BY-NC-SA 4.0. Members
``Actor_01/03-01-EE-II-SS-RR-AA.wav``; Kaggle's copy holds each of them twice. The demo corpus is named in the
same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ser.corpora.description import Description, PublishedFolds
from ser.corpora.labels import Recording, Reject

CLASSES = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}

_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)\.\w+", re.ASCII)
_INTENSITY = {"01": "normal", "02": "strong"}


def labels(member: str, classes: Mapping[str, str] = CLASSES) -> Recording | Reject:
    """Labels from modality – channel – emotion – intensity – statement – repetition – actor (odd: male, even:
    female).
    """
    match = _NAME.fullmatch(member.rsplit("/", 1)[-1])
    if match is None or match[1] != "03" or match[4] not in _INTENSITY:
        return Reject("irregular_name", "expected 03-channel-emotion-intensity-statement-repetition-actor, two digits each")
    _, channel, emotion, intensity, statement, repetition, actor = match.groups()
    if channel != "01":
        return Reject("not_speech", f"channel {channel}; 01 is speech, 02 song")
    if emotion not in classes:
        return Reject("unknown_emotion", f"code {emotion}")
    return Recording(
        emotion=classes[emotion],
        speaker=actor,
        gender="male" if int(actor) % 2 else "female",
        language="english",
        channel="speech",
        intensity=_INTENSITY[intensity],
        statement=statement,
        repetition=repetition,
    )


CORPUS = Description(
    names=("ravdess",),
    licence="CC BY-NC-SA 4.0 (Livingstone & Russo 2018): not for commercial use, and what is derived is shared alike",
    classes=CLASSES,
    editions={"official": labels},
    common={"calm": "neutral"},
    # Ma et al. 2024, arXiv 2406.07162
    folds=PublishedFolds("EmoBox", ("01 11 20 21", "04 10 12 14", "08 09 19 23", "03 05 07 24", "02 15 16 18", "06 13 17 22")),
)
