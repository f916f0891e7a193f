"""Draw the learning curves of the published systems from what their runs left in metrics/published/, for docs/reproduced.md.

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

PUBLISHED = {"zenkov": 0.804, "cnn_transformer": 0.884}
"""WA that the authors report on RAVDESS, by preset."""
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
    found = {preset: path for preset in PUBLISHED if (path := folder / f"ravdess-{preset}-loss.csv").exists()}
    if not found:
        raise SystemExit(f"error: no ravdess-PRESET-loss.csv in {folder}; docs/reproduced.md says how the runs are made")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 2.7 * len(found)), layout="constrained")
        for axes, (preset, path) in zip(figure.subplots(len(found), 2, squeeze=False), found.items(), strict=True):
            facts = json.loads(path.with_name(f"ravdess-{preset}-random.json").read_text(encoding="utf-8"))
            _row(axes, preset, pd.read_csv(path), float(facts["wa"]))
        picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture, metadata={"Date": None, "Creator": None}, facecolor="white")
    print(f"written: {picture}")


def _row(axes: tuple[Axes, Axes], preset: str, table: pd.DataFrame, reached: float) -> None:
    loss, score = axes
    loss.plot(table["epoch"], table["train_loss"], color=TRAINING, label="training")
    loss.plot(table["epoch"], table["valid_loss"], color=VALIDATION, label="validation")
    loss.set(xlabel="epoch", ylabel="loss", title=preset, xlim=(0, None), ylim=(0, None))
    loss.legend(frameon=False)
    smooth = table["valid_ua"].rolling(9, center=True, min_periods=1).mean()
    score.plot(table["epoch"], 100 * table["valid_ua"], color=VALIDATION, alpha=0.25, lw=0.8)
    score.plot(table["epoch"], 100 * smooth, color=VALIDATION, label="validation UA, mean of 9 epochs")
    score.axhline(100 * PUBLISHED[preset], color=AUTHORS, ls=(0, (4, 3)), lw=1, label="test WA, published")
    score.axhline(100 * reached, color=TRAINING, lw=1, label="test WA, here")
    score.set(xlabel="epoch", ylabel="%", xlim=(0, None))
    score.legend(frameon=False, loc="lower right", fontsize=8)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
