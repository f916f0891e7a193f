"""A joint corpus: several corpora read as one, in the common emotion vocabulary, so that one can be trained on and another tested on."""

from __future__ import annotations

from dataclasses import replace

from ser.corpora.labels import Recording, common


def join(member: str, layout: str, recording: Recording) -> Recording:
    """A member corpus' recording as one of the joint corpus: common emotion, and a speaker that no other corpus has.

    Args:
        member: name of the member corpus.
        layout: whose vocabulary its emotions are from (a key of ``vocabulary.csv``).
        recording: labels within the member.
    """
    known = common(layout)
    emotion = known.get(recording.emotion) or common("any").get(recording.emotion.lower(), recording.emotion.lower())
    return replace(recording, emotion=emotion, speaker=f"{member}:{recording.speaker}", corpus=member)
