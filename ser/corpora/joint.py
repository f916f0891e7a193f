"""A joint corpus: several corpora in the common vocabulary, to train on one and test on another."""

from __future__ import annotations

from dataclasses import replace

from ser.corpora.description import Description
from ser.corpora.labels import Recording

WORDS = {
    "anger": "angry",
    "bored": "boredom",
    "calm": "neutral",
    "disgusted": "disgust",
    "excited": "happy",
    "fear": "fearful",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprise": "surprised",
}
"""Words that people use as labels of their own recordings → the common vocabulary, where the two differ."""


def join(member: str, described: Description | None, recording: Recording) -> Recording:
    """A recording of a member corpus with the common emotion and a speaker name that is unique.

    Args:
        member: name of the member corpus.
        described: the member's description; None for the user's own recordings.
        recording: labels within the member.
    """
    if described is not None:
        emotion = described.common.get(recording.emotion, recording.emotion)
    else:
        emotion = WORDS.get(recording.emotion.lower(), recording.emotion.lower())
    return replace(recording, emotion=emotion, speaker=f"{member}:{recording.speaker}", corpus=member)
