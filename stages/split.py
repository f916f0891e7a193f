"""Split: which clip is for training, validation and test in which fold, and what the parts share.

Reads data/clips/NAME/clips.csv; writes data/folds/NAME.csv and data/folds/NAME.json.
"""

from __future__ import annotations

import argparse
import json

import pandas as pd

from ser.params import Params
from ser.signal.clips import read_table
from ser.splits.folds import Folds, assign, leak_report
from stages import command
from stages.paths import Paths, needed, write


def main(params: Params, options: argparse.Namespace) -> None:
    """Assign the parts, say what they share, write both files."""
    name, paths = options.dataset, Paths(options.dataset)
    table = read_table(needed(paths.clips / "clips.csv", f"preprocess@{name}").parent)
    split = params.split_of(name)
    folds = assign(table, name, split)
    leaks = leak_report(table, folds.assignment)
    print(f"{name}: {folds.protocol} ({folds.description}); speaker-independent: {'yes' if folds.speaker_independent else 'NO'}")
    print("test clips that share something with training or validation: " + ", ".join(f"{key} {share:.1%}" for key, share in leaks.items()))
    write(paths.assignment, folds.assignment.to_csv(None, index=False, lineterminator="\n"))
    write(paths.folds, json.dumps(_summary(folds, table, leaks, split.seed), indent=2) + "\n")


def _summary(folds: Folds, table: pd.DataFrame, leaks: dict[str, float], seed: int) -> dict[str, object]:
    rows = folds.assignment.merge(table[["clip", "speaker"]], on="clip")
    counts = {
        str(fold): {
            **{part: int(clips["part"].eq(part).sum()) for part in ("train", "valid", "test")},
            "test_speakers": sorted(clips["speaker"][clips["part"].eq("test")].unique()),
        }
        for fold, clips in rows.groupby("fold")
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
    command.run(command.parser(__doc__), main)
