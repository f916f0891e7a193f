"""The clip store that ``preprocess`` writes: one array of audio, one table, one list of what was left out."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ser.runtime.disk import place_named
from ser.runtime.reading import DamagedError, read_array, read_csv

if TYPE_CHECKING:
    import pandas as pd  # imported only where a table is read: the predictor must start without it

COLUMNS = {
    "clip": "string",  # member path, unique in the corpus, the same in every run: predictions are joined on it
    "corpus": "string",  # of a joint corpus: the member
    "emotion": "string",
    "speaker": "string",
    "gender": "string",  # female, male or empty
    "language": "string",
    "channel": "string",  # speech, nonspeech or empty
    "intensity": "string",
    "statement": "string",  # the sentence; with repetition it identifies a take
    "repetition": "string",
    "offset": "int64",  # first sample in audio.npy
    "samples": "int64",
    "source_seconds": "float64",  # length before VAD
    "missing": "float64",  # share of the recording that is cut off or unreadable, 0–1
    "removed": "float64",  # share of the signal that VAD removed, 0–1
    "no_speech": "bool",  # VAD detected none, so the whole signal was kept
    "snr_db": "float64",  # level of the speech over the level of the pauses; NaN without pauses
    "content": "string",  # hash of the decoded audio before VAD
}
"""Columns of ``clips.csv`` and their pandas types, in order. Unknown text is empty, never NaN."""

REJECTED = ["path", "reason", "detail"]
"""Columns of ``rejected.csv``: the reason is one short word per cause, so that causes can be counted."""


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
        start, samples = (int(self.table[column].to_numpy()[row]) for column in ("offset", "samples"))
        return to_float(self.audio[start : start + samples])


def to_float(pcm: np.ndarray) -> np.ndarray:
    """int16 → float32 in [−1, 1)."""
    return pcm.astype(np.float32) / 32768.0


def to_int16(signal: np.ndarray) -> np.ndarray:
    """float in [−1, 1] → int16, rounded; values beyond full scale saturate and do not wrap around."""
    scaled = np.asarray(signal * 32768.0)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32768, 32767, out=scaled).astype(np.int16)


def read_table(folder: str | Path) -> pd.DataFrame:
    """``clips.csv`` of a clips folder with the types of ``COLUMNS``.

    Raises:
        ser.runtime.reading.DamagedError: if the table is damaged.
    """
    path = Path(folder) / "clips.csv"
    table = read_csv(path, "preprocess", path.parent.name, COLUMNS, empty=["snr_db"])
    starts, lengths = table["offset"].to_numpy(), table["samples"].to_numpy()
    if table["clip"].duplicated().any() or not np.array_equal(starts, np.cumsum(lengths) - lengths):
        raise DamagedError(path, "preprocess", path.parent.name, "its clips do not follow one another")
    return table


def read(folder: str | Path, sample_rate: int) -> Clips:
    """Open a clips folder. The audio is read from disk when it is used.

    Raises:
        ser.runtime.reading.DamagedError: if table or audio are damaged or do not belong together.
    """
    table = read_table(folder)
    check_store(folder, table["offset"].to_numpy(), table["samples"].to_numpy())
    return Clips(table, _audio(Path(folder)), sample_rate)


def check_store(folder: str | Path, starts: np.ndarray, lengths: np.ndarray) -> None:
    """Check that ``audio.npy`` of a clips folder holds exactly the clips of ``clips.csv``.

    Raises:
        ser.runtime.reading.DamagedError: if it does not.
    """
    folder = Path(folder)
    length = len(_audio(folder))
    if not np.array_equal(np.append(starts, length), np.append(0, np.cumsum(lengths))):
        reason = f"it holds {length} samples, clips.csv lists {int(lengths.sum())}"
        raise DamagedError(folder / "audio.npy", "preprocess", folder.name, reason)


def _audio(folder: Path) -> np.ndarray:
    return read_array(folder / "audio.npy", "preprocess", folder.name, np.int16)


class ArrayWriter:
    """An ``.npy`` file that grows row by row; ``growing_array`` makes it."""

    def __init__(self, file: BinaryIO, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
        self.length = 0
        self._file, self._dtype, self._shape = file, np.dtype(dtype), shape

    def append(self, rows: np.ndarray) -> None:
        """Add rows, shape (k, *shape), k ≥ 0.

        Raises:
            ValueError: for rows of another type or shape.
        """
        if rows.dtype != self._dtype or rows.shape[1:] != self._shape:
            raise ValueError(f"rows of {self._shape} {self._dtype} expected, not {rows.shape[1:]} {rows.dtype}")
        with place_named(Path(self._file.name)):
            self._file.write(np.ascontiguousarray(rows).data)
        self.length += len(rows)

    def keep(self, rows: int) -> None:
        """Keep the first rows of the file and drop the rest. Call it right after ``write_header``."""
        self._file.truncate(self._file.seek(rows * self._row_bytes(), os.SEEK_CUR))
        self.length = rows

    def flush(self) -> None:
        """Write what was appended to the disk, so that it survives a crash."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def _row_bytes(self) -> int:
        return self._dtype.itemsize * math.prod(self._shape)

    def write_header(self) -> None:
        """Write the header for the present length. Its size never changes, because numpy reserves space in
        it.
        """
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self.length, *self._shape)}
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(self._file, header)


@contextlib.contextmanager
def growing_array(path: str | Path, dtype: type[np.generic], shape: tuple[int, ...] = (), kept: int = 0) -> Iterator[ArrayWriter]:
    """Write an ``.npy`` piece by piece, so that it need not fit into memory.

    Its bytes are those of ``numpy.save``.

    Args:
        path: file to write.
        dtype: type of the values.
        shape: of one row; () for a one-dimensional array.
        kept: rows of an interrupted run's file to keep; it must have as many. Later rows are dropped.
    """
    with open(path, "r+b" if kept else "wb") as file:
        writer = ArrayWriter(file, dtype, shape)
        writer.write_header()
        writer.keep(kept)
        yield writer
        writer.write_header()
