"""What the stage split wrote: which clip is in which part of which fold, and how many clips each part has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ser.runtime.reading import DamagedError, read_csv, read_json, written_by

PARTS = ("train", "valid", "test")


def read(path: Path, clips: Iterable[str] | None = None) -> pd.DataFrame:
    """The assignment in ``data/folds/<corpus>.csv``: columns clip, fold (from 1) and part (train, valid, test).

    Args:
        path: the file.
        clips: the clips of the corpus; None: they are not compared.

    Raises:
        DamagedError: if the file is no such table, or assigns a clip that the corpus does not have.
    """
    corpus = path.stem
    table = read_csv(path, "split", corpus, {"clip": "string", "fold": "int64", "part": "str"})
    with written_by("split", corpus, path):
        if table.empty or not table["part"].isin(PARTS).all() or table["fold"].min() < 1:
            raise ValueError(f"it needs folds from 1 and the parts {', '.join(PARTS)}")
        if table.duplicated(["clip", "fold"]).any():
            raise ValueError("it assigns a clip twice in a fold")
        if clips is not None and not (known := table["clip"].isin(list(clips))).all():
            raise ValueError(f"clips.csv has no clip {table['clip'][~known].iloc[0]!r}")
    return table


def read_facts(path: Path, assignment: pd.DataFrame) -> dict[str, Any]:
    """Protocol, leaks and counts of the folds in ``data/folds/<corpus>.json``.

    Args:
        path: the file.
        assignment: of the same run, as ``read`` gives it.

    Raises:
        DamagedError: if the file is damaged, or counts other clips than the assignment has.
    """
    corpus = path.stem
    told = read_json(path, "split", corpus, ["protocol", "speaker_independent", "folds", "leaks"])
    found = Counter(zip(assignment["fold"].astype(str), assignment["part"], strict=True))
    with written_by("split", corpus, path):
        counted = {(fold, part): told["folds"][fold][part] for fold in told["folds"] for part in PARTS}
    if {key: count for key, count in counted.items() if count} != found:
        raise DamagedError(path.with_suffix(".csv"), "split", corpus, f"{path} counts other clips in its folds")
    return told
