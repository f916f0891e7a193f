"""The demo corpus: names in RAVDESS' code for the sentences that ``ser.corpora.demo`` has espeak-ng speak.

Every corpus of the synthetic kind is read by these rules, whatever its name in ``params.yaml``.
"""

from __future__ import annotations

from functools import partial

from ser.corpora.catalogue import ravdess
from ser.corpora.description import Description

CLASSES = {"01": "neutral", "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "08": "surprised"}

CORPUS = Description(
    names=("demo",),
    licence="no recordings: speech made by espeak-ng",
    classes=CLASSES,
    editions={"official": partial(ravdess.labels, classes=CLASSES)},
)
