"""Split: which clip is for training, validation and test in which fold, and what the parts share.

Reads data/clips/NAME/clips.csv; writes data/folds/NAME.csv and data/folds/NAME.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from ser import SerError
from ser.params import Params
from ser.signal.clips import read_table
from ser.splits.folds import Folds, assign, leak_report
from stages.command import parser, run
from stages.paths import Paths, write


def split(params: Params, options: argparse.Namespace) -> None:
    """Assign the parts, say what they share, write both files."""
    name = options.dataset
    try:
        table = read_table(Path("data/clips", name))
    except FileNotFoundError:
        raise SerError(f"data/clips/{name}/clips.csv not found: run `dvc repro preprocess@{name}` first") from None
    folds = assign(table, name, params.split)
    leaks = leak_report(table, folds.assignment)
    print(f"{name}: {folds.protocol} ({folds.description}); speaker-independent: {'yes' if folds.speaker_independent else 'NO'}")
    print("share of test clips that training or validation knows by " + ", ".join(f"{key} {share:.1%}" for key, share in leaks.items()))
    paths = Paths(name)
    write(paths.assignment, folds.assignment.to_csv(None, index=False, lineterminator="\n"))
    write(paths.folds, json.dumps(_summary(folds, table, leaks, params.split.seed), indent=2) + "\n")


def _summary(folds: Folds, table: pd.DataFrame, leaks: dict[str, float], seed: int) -> dict[str, object]:
    rows = folds.assignment.merge(table[["clip", "speaker"]], on="clip")
    counts = {
        str(fold): {
            **{part: int(found["part"].eq(part).sum()) for part in ("train", "valid", "test")},
            "test_speakers": sorted(found["speaker"][found["part"].eq("test")].unique()),
        }
        for fold, found in rows.groupby("fold")
    }
    return {
        "protocol": folds.protocol,
        "description": folds.description,
        "speaker_independent": folds.speaker_independent,
        "seed": seed,
        "folds": counts,
        "leaks": leaks,
    }


if __name__ == "__main__":
    run(parser(__doc__), split)
