"""Draw the learning curves of published systems, from what their runs left in metrics/published/, beside the WA that is published.

Reads ravdess-PRESET-random.json and ravdess-PRESET-loss.csv: an experiment's metrics/corpora/ravdess.json and
metrics/plots/ravdess/loss.csv.

    python -m benchmarks.curves
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ser.report.page import PUBLISHED_RESULTS

SYSTEMS = {"zenkov": "parallel CNN + Transformer (Zenkov)", "cnn_transformer": "CNN ∥ Transformer, concatenated"}
"""Preset → the system's name among the published results."""
RUNS = Path("metrics/published")
PICTURE = Path("docs/pictures/reproduced.svg")
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "reproduced",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
TRAINING, VALIDATION, AUTHORS = "#b45309", "#1d4ed8", "#444444"


def main(folder: Path = RUNS, picture: Path = PICTURE) -> None:
    """Draw a row for each system: losses on the left, validation UA on the right."""
    found = {preset: path for preset in SYSTEMS if (path := folder / f"ravdess-{preset}-loss.csv").exists()}
    if not found:
        raise SystemExit(f"error: no ravdess-PRESET-loss.csv in {folder}")
    with matplotlib.rc_context(STYLE):
        published = pd.read_csv(PUBLISHED_RESULTS).query("corpus == 'ravdess'").set_index("system")["wa"]
        figure = Figure(figsize=(8.0, 2.7 * len(found)), layout="constrained")
        for axes, (preset, path) in zip(figure.subplots(len(found), 2, squeeze=False), found.items(), strict=True):
            facts = json.loads(path.with_name(f"ravdess-{preset}-random.json").read_text(encoding="utf-8"))
            _row(axes, preset, pd.read_csv(path), 100 * facts["wa"], published[SYSTEMS[preset]])
        picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture, metadata={"Date": None, "Creator": None}, facecolor="white")
    print(f"written: {picture}")


def _row(axes: tuple[Axes, Axes], preset: str, table: pd.DataFrame, reached: float, published: float) -> None:
    """Losses and validation UA over epochs; WA reached and published in per cent."""
    loss, score = axes
    loss.plot(table["epoch"], table["train_loss"], color=TRAINING, label="training")
    loss.plot(table["epoch"], table["valid_loss"], color=VALIDATION, label="validation")
    loss.set(xlabel="epoch", ylabel="loss", title=preset, xlim=(0, len(table)), ylim=(0, None))
    loss.legend(frameon=False)
    smooth = table["valid_ua"].rolling(9, center=True, min_periods=1).mean()
    score.plot(table["epoch"], 100 * table["valid_ua"], color=VALIDATION, alpha=0.25, lw=0.8)
    score.plot(table["epoch"], 100 * smooth, color=VALIDATION, label="validation UA, mean of 9 epochs")
    score.axhline(published, color=AUTHORS, ls=(0, (4, 3)), lw=1, label="test WA, published")
    score.axhline(reached, color=TRAINING, lw=1, label="test WA, here")
    score.set(xlabel="epoch", ylabel="%", xlim=(0, len(table)))
    score.legend(frameon=False, loc="lower right", fontsize=8)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
