"""Published folds that the user gives as a file: a CSV of path, fold, part."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path, PurePosixPath

import pandas as pd

from ser import SerError
from ser.runtime.files import text
from ser.splits.assignment import PARTS
from ser.splits.leaks import SplitError

COLUMNS = ("path", "fold", "part")
NUMBER = re.compile(r"[1-9]\d{0,3}")
"""Of a fold."""
MOST = 256 << 20
"""Bytes that the file may have."""


def read(path: Path) -> pd.DataFrame:
    """Columns path (text), fold (int, from 1) and part (train, valid or test).

    Raises:
        SplitError: if the file is missing, is not a CSV, lacks a column or holds an invalid value; the message names the line.
    """
    try:
        rows = csv.DictReader(io.StringIO(text(path, MOST), newline=""), strict=True)
        if rows.fieldnames is None:
            raise SplitError(f"split.fold_file: {path} is not a CSV: it is empty")
        missing = [column for column in COLUMNS if column not in rows.fieldnames]
        if missing:
            raise SplitError(f"split.fold_file: {path} has no column {', '.join(missing)}; needed are {', '.join(COLUMNS)}")
        listed = []
        for row in rows:
            name, fold, part = (row[column] or "" for column in COLUMNS)
            if part not in PARTS or not NUMBER.fullmatch(fold):
                raise SplitError(
                    f"split.fold_file: {path} line {rows.line_num}: fold {fold!r}, part {part!r}; "
                    "fold is a number from 1, part is train, valid or test"
                )
            listed.append((name, int(fold), part))
    except FileNotFoundError:
        raise SplitError(f"split.fold_file: {path} not found in {Path.cwd()}") from None
    except csv.Error as error:
        raise SplitError(f"split.fold_file: {path} is not a CSV: line {rows.line_num}: {error}") from None
    except SplitError:
        raise
    except SerError as error:
        raise SplitError(f"split.fold_file: {error}") from None
    return pd.DataFrame(listed, columns=list(COLUMNS)).astype({"path": "string", "fold": "int64", "part": "string"})


def clip_of(paths: pd.Series, clips: pd.Series) -> list[str]:
    """The clip of each listed path: the same path, else the only clip with that file name (roots differ
    between copies); else empty.
    """
    exact = set(clips)
    names = clips.map(lambda clip: PurePosixPath(clip).stem)
    unique = dict(zip(names, clips, strict=True))
    for name in names[names.duplicated()]:
        unique[name] = ""
    return [path if path in exact else unique.get(PurePosixPath(path).stem, "") for path in paths]
