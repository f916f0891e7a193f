"""The same recording under two names: a double, or, where its labels contradict each other, a dispute that no name wins."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ser.corpora.listing import Found
from ser.signal.clips import growing_array


def contradiction(one: Found, other: Found) -> str:
    """How the labels of a recording contradict those of the same recording under another name; empty where they do not."""
    mine, its = one.recording, other.recording
    if mine.emotion != its.emotion:
        return f"same audio as {other.clip}, which is {its.emotion!r}, not {mine.emotion!r}"
    if mine.speaker != its.speaker and mine.speaker and its.speaker:
        return f"same audio as {other.clip}, whose speaker is {its.speaker!r}, not {mine.speaker!r}"
    return ""


def without(rows: list[dict[str, Any]], disputed: Collection[str], path: Path) -> list[dict[str, Any]]:
    """The rows whose content is not disputed; the file of audio is packed anew to hold exactly theirs."""
    audio_of_all = np.load(path, mmap_mode="r", allow_pickle=False)
    kept = []
    packed = path.with_name("packed.npy")
    with growing_array(packed, np.int16) as writer:
        for row in rows:
            if row["content"] not in disputed:
                kept.append({**row, "offset": writer.length})
                writer.append(audio_of_all[row["offset"] : row["offset"] + row["samples"]])
    packed.replace(path)
    return kept
