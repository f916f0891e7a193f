"""Published folds that the user gives as a file: a CSV of path, fold, part."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from ser.splits.assignment import PARTS
from ser.splits.leaks import SplitError


def read(path: Path) -> pd.DataFrame:
    """Columns path (text), fold (int, from 1) and part (train, valid or test).

    Raises:
        SplitError: if the file is missing, is not a CSV, lacks a column or holds an invalid value; the message names the line.
    """
    try:
        listed = pd.read_csv(path, dtype="string", keep_default_na=False)
    except FileNotFoundError:
        raise SplitError(f"split.fold_file: {path} not found in {Path.cwd()}") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SplitError(f"split.fold_file: {path} is not a CSV: {error}") from None
    missing = [column for column in ("path", "fold", "part") if column not in listed]
    if missing:
        raise SplitError(f"split.fold_file: {path} has no column {', '.join(missing)}; needed are path, fold, part")
    wrong = listed[~listed["part"].isin(PARTS) | ~listed["fold"].str.fullmatch(r"[1-9]\d{0,3}")]
    if len(wrong):
        row = wrong.iloc[0]
        raise SplitError(
            f"split.fold_file: {path} line {int(wrong.index[0]) + 2}: fold {row['fold']!r}, part {row['part']!r}; "
            "fold is a number from 1, part is train, valid or test"
        )
    return listed.assign(fold=listed["fold"].astype(int))


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
