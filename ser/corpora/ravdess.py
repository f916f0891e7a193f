"""RAVDESS, speech part: 24 English-speaking actors, 8 emotions, 1,440 recordings (Livingstone & Russo 2018).

doi 10.1371/journal.pone.0196391, Zenodo 1188976, CC BY-NC-SA 4.0. Members ``Actor_01/03-01-EE-II-SS-RR-AA.wav``; Kaggle's copy holds
each of them twice. The demo corpus is packed and named in the same way.
"""

from __future__ import annotations

import re

from ser.corpora.labels import Recording, Reject, not_audio, vocabulary

_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)\.\w+", re.ASCII)
_INTENSITY = {"01": "normal", "02": "strong"}


def labels(member: str, corpus: str = "ravdess") -> Recording | Reject:
    """Labels from modality – channel – emotion – intensity – statement – repetition – actor; odd actors are male, even ones female."""
    if reject := not_audio(member):
        return reject
    match = _NAME.fullmatch(member.rsplit("/", 1)[-1])
    if match is None or match[1] != "03" or match[4] not in _INTENSITY:
        return Reject("irregular_name", "expected 03-channel-emotion-intensity-statement-repetition-actor, two digits each")
    _, channel, emotion, intensity, statement, repetition, actor = match.groups()
    if channel != "01":
        return Reject("not_speech", f"channel {channel}; 01 is speech, 02 song")
    if emotion not in vocabulary(corpus):
        return Reject("unknown_emotion", f"code {emotion}")
    return Recording(
        emotion=vocabulary(corpus)[emotion],
        speaker=actor,
        gender="male" if int(actor) % 2 else "female",
        language="english",
        channel="speech",
        intensity=_INTENSITY[intensity],
        statement=statement,
        repetition=repetition,
        corpus=corpus,
    )
