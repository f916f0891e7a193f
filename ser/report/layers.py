"""What the models read of a pretrained encoder: its layers, fold by fold."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.patches import Rectangle

from ser.evaluation.encoder_section import EncoderUsed
from ser.report.svg import ACCENT, INK, STYLE, as_svg, new_axes
from ser.runtime.text import percent

Rows = Mapping[str, np.ndarray]
"""Name of a row → a share for each stored layer, 0–1; in the order of the picture."""


def chosen(used: EncoderUsed) -> Rows:
    """Share of the seeds of each fold whose regression reads a layer; empty without a regression."""
    found = {}
    for fold in sorted({one.fold for one in used.networks}):
        read = [one.layers for one in used.networks if one.fold == fold and one.layers is not None]
        if read:
            found[f"fold {fold}"] = np.array([[layer in layers for layer in used.layers] for layers in read]).mean(axis=0)
    return found


def weighed(used: EncoderUsed) -> Rows:
    """Share of each layer in the branch ``encoder``, a row for each fold and depth, mean over seeds; empty without the branch."""
    found = {}
    for fold in sorted({one.fold for one in used.networks}):
        shares = [one.layer_weights for one in used.networks if one.fold == fold and one.layer_weights is not None]
        for depth, row in enumerate(np.mean(shares, axis=0) if shares else [], start=1):
            found[f"fold {fold}, depth {depth}" if len(shares[0]) > 1 else f"fold {fold}"] = row
    return found


@matplotlib.rc_context(STYLE)
def picture(used: EncoderUsed, rows: Rows, name: str, description: str) -> str:
    """A row of bars for each fold, one bar for each stored layer, as high as its share."""
    figure, axes = new_axes(3.9, 0.9 + 0.4 * len(rows))
    for y, shares in enumerate(rows.values()):
        for x, share in enumerate(shares):
            axes.add_patch(Rectangle((x - 0.4, y + 0.4), 0.8, -0.8, color=ACCENT, alpha=0.12, lw=0))
            axes.add_patch(Rectangle((x - 0.4, y + 0.4), 0.8, -0.8 * share, color=ACCENT, alpha=0.5, lw=0))
            axes.text(x, y, f"{percent(float(share), 0)}%", ha="center", va="center", fontsize=8.5, color=INK)
    axes.set_xticks(range(len(used.layers)), [str(layer) for layer in used.layers])
    axes.set_yticks(range(len(rows)), list(rows), color=INK)
    axes.set(xlabel="hidden state", xlim=(-0.6, len(used.layers) - 0.4), ylim=(len(rows) - 0.45, -0.55))
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return as_svg(figure, name, description)
