"""Read what an earlier stage wrote. A damaged file ends in one message, which names the file and the command to run."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from ser import SerError

if TYPE_CHECKING:
    import pandas as pd  # imported where a table is read: a predictor, which has none, starts without it

_PARSERS_SAY = (ValueError, TypeError, LookupError, EOFError, OverflowError, RuntimeError, SyntaxError, MemoryError, TokenError, BadZipFile)
"""What parsers of JSON, CSV, arrays and weights raise on a file that is not what they expect."""


class DamagedError(SerError):
    """A file of an earlier stage is damaged, or does not belong to the other files of this run."""

    def __init__(self, path: Path, stage: str, corpus: str, reason: str) -> None:
        super().__init__(f"{path} is damaged or of another run: {reason}; run `dvc repro {stage}@{corpus}`")


@contextmanager
def written_by(stage: str, corpus: str, path: Path) -> Iterator[None]:
    """Turn what a parser raises in this block into a DamagedError.

    Args:
        stage: the stage that wrote the file.
        corpus: its corpus.
        path: the file.

    Raises:
        DamagedError: if the file cannot be parsed.
        OSError: if it cannot be read, for instance because it is not there.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise DamagedError(path, stage, corpus, "it is no file")
    try:
        yield
    except SerError:
        raise
    except (*_PARSERS_SAY, zlib.error) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error).strip() or type(error).__name__
        raise DamagedError(path, stage, corpus, said.splitlines()[0][:200]) from None


def read_array(
    path: Path, stage: str, corpus: str, dtype: type[np.generic], row: tuple[int | None, ...] = (), *, mapped: bool = True
) -> np.ndarray:
    """An ``.npy`` array of this type.

    Args:
        path: the file.
        stage: the stage that wrote it.
        corpus: its corpus.
        dtype: type of the values.
        row: shape of one row, () for a one-dimensional array; None stands for any length.
        mapped: leave the values on disk until they are used.

    Raises:
        DamagedError: if the file is not an array, is cut short, or has another type or shape.
    """
    with written_by(stage, corpus, path):
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        shape = tuple(None if asked is None else size for size, asked in zip(array.shape[1:], row, strict=False))
        if array.dtype != dtype or array.ndim != len(row) + 1 or shape != row:
            raise ValueError(f"it holds {array.dtype} of shape {array.shape}")
    return array


def read_offsets(path: Path, stage: str, corpus: str) -> np.ndarray:
    """Where each clip begins among rows that are stored back to back, and the number of all rows: int64 (clips + 1,).

    Raises:
        DamagedError: if the file is no such array.
    """
    offsets = read_array(path, stage, corpus, np.int64, mapped=False)
    if len(offsets) < 1 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise DamagedError(path, stage, corpus, "its numbers do not ascend from 0")
    return offsets


def read_json(path: Path, stage: str, corpus: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    """A JSON object that has these keys.

    Raises:
        DamagedError: if it is none.
    """
    with written_by(stage, corpus, path):
        told = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(told, dict):
            raise ValueError("it holds no JSON object")
        if missing := [key for key in keys if key not in told]:
            raise ValueError(f"it has no {missing[0]!r}")
    return told


def read_csv(path: Path, stage: str, corpus: str, types: Mapping[str, str], empty: Sequence[str] = ()) -> pd.DataFrame:
    """The columns ``types`` of a CSV table.

    Args:
        path: the file.
        stage: the stage that wrote it.
        corpus: its corpus.
        types: name of each column → its pandas type, in the order wanted.
        empty: columns of numbers in which an empty cell stands for NaN.

    Raises:
        DamagedError: if the file is no such table, or is cut short within a line.
    """
    import pandas as pd

    with written_by(stage, corpus, path):
        with open(path, encoding="utf-8", newline="") as stream:
            text = stream.read()
        if not text.endswith("\n"):
            raise ValueError("its last line is cut short" if text else "it is empty")
        table = pd.read_csv(io.StringIO(text), dtype=dict(types), keep_default_na=False, na_values={name: [""] for name in empty})
        if missing := [name for name in types if name not in table]:
            raise ValueError(f"it has no column {missing[0]!r}")
    return table[list(types)]
