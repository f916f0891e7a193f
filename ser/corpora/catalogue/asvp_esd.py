"""ASVP-ESD: speech and non-speech vocal emotion of some 130 speakers (Landry et al. 2020), as V1 and V2.

V1 is Zenodo 3782416 (members ``<root>/acteur_<N>/*.wav``), V2 Zenodo 7132783
(``<root>/Audio/actor_<N>/*.wav`` and babies in ``<root>/Bonus/…``); roots vary between copies. Names hold,
joined by ``-``: modality, channel, emotion, intensity, statement, actor, age, source, language, and further
fields. A last field 66 marks mixed voices, 77 noise. Names are dirty; the actor of the name is believed over
the folder's, since 16 recordings of V2 lie in a folder of another number and one folder has none.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from ser.corpora.description import Description
from ser.corpora.labels import Recording, Reject

CLASSES = {
    "01": "boredom",
    "02": "neutral",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
    "09": "excited",
    "10": "pleasure",
    "11": "pain",
    "12": "disappointment",
    "13": "breath",
}

_CHANNEL = {"01": "speech", "02": "nonspeech"}
_INTENSITY = {"01": "normal", "02": "high"}
_MIXED, _NOISY = "66", "77"
_BABY = "04"


def labels(member: str) -> Recording | Reject:
    """Labels from a name such as ``03-02-04-01-52-150-04-01-00-14.wav``.

    Channel, emotion and actor must be clear. A field beyond its codes (intensity 18, age 106) is left empty;
    99 names of V2 have no language. Even actors are male, odd ones female (the opposite of RAVDESS), except
    where one number stands for many voices: babies and mixed voices have no gender here.
    """
    fields = [field.strip() for field in PurePosixPath(member).stem.split("-")]
    if len(fields) < 8 or fields[0] != "03" or fields[1] not in _CHANNEL or not _is_number(fields[5]):
        return Reject("irregular_name", "expected 03-channel-emotion-intensity-statement-actor-age-source[-language…]")
    _, channel, emotion, intensity, statement, actor, age = fields[:7]
    if emotion not in CLASSES:
        return Reject("unknown_emotion", f"code {emotion}")
    extra = fields[9:]
    mark = extra.pop() if extra and extra[-1] in (_MIXED, _NOISY) else ""
    return Recording(
        emotion=CLASSES[emotion],
        speaker=f"{int(actor):02}",
        gender="" if age == _BABY or mark == _MIXED else "female" if int(actor) % 2 else "male",
        language=fields[8] if len(fields) > 8 else "",
        channel=_CHANNEL[channel],
        intensity=_INTENSITY.get(intensity, ""),
        statement=statement,
        repetition="-".join(extra),
    )


def short(member: str) -> str:
    """The member's path from ``Audio`` or ``Bonus`` (V2) or ``acteur_<N>`` (V1) on: the same whatever a copy
    calls its root.
    """
    parts = PurePosixPath(member).parts
    for index, part in enumerate(parts[:-1]):
        if part in ("Audio", "Bonus") or part.startswith("acteur_"):
            return "/".join(parts[index:])
    return member


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4


CORPUS = Description(
    names=("asvp_esd_v1", "asvp_esd_v2"),
    licence="CC BY 4.0, as stated by second-hand cards (Landry et al. 2020); check the record",
    classes=CLASSES,
    editions={"official": labels},
    common={"excited": "happy"},
    clip=short,
)
