"""The packed store of clips that ``preprocess`` hands on: one array of audio, one table, one list of what was left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = {
    "clip": "string",  # member path, unique in the corpus, the same in every run: predictions are joined on it
    "corpus": "string",  # of a joint corpus: the member
    "emotion": "string",
    "speaker": "string",
    "gender": "string",  # female, male or empty
    "language": "string",
    "channel": "string",  # speech, nonspeech or empty
    "intensity": "string",
    "statement": "string",  # what is said; with repetition it tells near-twins apart
    "repetition": "string",
    "offset": "int64",  # first sample in audio.npy
    "samples": "int64",
    "source_seconds": "float64",  # length before VAD
    "removed": "float64",  # share of the signal that VAD took away, 0–1
    "no_speech": "bool",  # VAD found none: the whole signal was kept
    "snr_db": "float64",  # speech level over the level between speech; NaN where VAD left nothing to compare
    "content": "string",  # hash of the decoded audio before VAD
}
"""Columns of ``clips.csv`` and their pandas types, in order. Text that is not known is empty, never NaN."""

REJECTED = ["path", "reason", "detail"]
"""Columns of ``rejected.csv``: reason is one short word per cause, so that it can be counted."""


@dataclass(frozen=True)
class Clips:
    """The clips of a corpus.

    Attributes:
        table: one row per clip with the columns of ``COLUMNS``, sorted by ``clip``.
        audio: all clips back to back, int16, read from disk as needed.
        sample_rate: working rate in Hz.
    """

    table: pd.DataFrame
    audio: np.ndarray
    sample_rate: int

    def __len__(self) -> int:
        return len(self.table)

    def signal(self, row: int) -> np.ndarray:
        """Clip number ``row`` as mono float32 in [−1, 1), shape (samples,)."""
        start = int(self.table["offset"].iat[row])
        return to_float(self.audio[start : start + int(self.table["samples"].iat[row])])


def to_float(pcm: np.ndarray) -> np.ndarray:
    """int16 → float32 in [−1, 1)."""
    return pcm.astype(np.float32) / 32768.0


def to_int16(signal: np.ndarray) -> np.ndarray:
    """float in [−1, 1] → int16, rounded; beyond full scale it saturates instead of wrapping around."""
    return np.clip(np.rint(signal * 32768.0), -32768, 32767).astype(np.int16)


def read_table(folder: str | Path) -> pd.DataFrame:
    """``clips.csv`` of a clips folder with the types of ``COLUMNS``."""
    table = pd.read_csv(Path(folder) / "clips.csv", dtype=COLUMNS, keep_default_na=False, na_values={"snr_db": [""]})
    return table[list(COLUMNS)]


def read(folder: str | Path, sample_rate: int) -> Clips:
    """Open a clips folder; the audio stays on disk until it is used."""
    return Clips(read_table(folder), np.load(Path(folder) / "audio.npy", mmap_mode="r"), sample_rate)
