"""The network drawn from left to right: views, branches, tokens, fusion, classes."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ser.diagram.saving import save
from ser.diagram.summary import Part
from ser.model.branches import CnnBranches, TransformerBranch
from ser.model.encoder_branch import EncoderBranch
from ser.model.network import Network
from ser.params.model import Model
from ser.views.features import VIEWS

VIEW_COLOUR, CNN_COLOUR, TRANSFORMER_COLOUR, TOKENS_COLOUR, FUSION_COLOUR, OUTPUT_COLOUR = (
    "#e8eaed",
    "#d7e8fb",
    "#fde3cf",
    "#f6f1d5",
    "#dff0dc",
    "#ece0f5",
)
INK, FAINT = "#202124", "#5f6368"
TRANSFORMER_HEIGHT, ROW = 7.0, 14.0  # middle of the lowest box; height of each further view
MATHTEXT = {"tanh": r"\tanh ", "â": r"\hat{a}", "x̂": r"\hat{x}", "ᵀ": r"^\top", "′": "'", "″": "''", " ": r"\ "}
"""Signs of a formula in plain text → matplotlib's mathtext."""

Point = tuple[float, float]


def draw(network: Network, model: Model, parts: list[Part], path: str | Path) -> None:
    """Draw a network into a file; the same network gives the same bytes.

    Args:
        network: what is drawn.
        model: the parameters that made it.
        parts: its ``summary``, for sizes and cost.
        path: svg, png or pdf; folders are made.
    """
    heights = {view: TRANSFORMER_HEIGHT + ROW * row for row, view in zip(range(len(network.widths), 0, -1), network.widths, strict=True)}
    top = max(heights.values()) + 10
    figure = Figure(figsize=(12, top / 10), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 120), ylim=(0, top))
    axes.set_axis_off()

    views = {
        view: _box(axes, (2, heights[view] - 4.5), 15, 9, VIEW_COLOUR, VIEWS[view].title, f"{width} rows over time")
        for view, width in network.widths.items()
    }
    sides: list[Point] = []
    for letter, side in zip("AX", network.sides.values(), strict=False):
        branches: list[Point] = []
        if isinstance(side, CnnBranches):
            width = model.dim if network.projections else side.widths[-1]
            for view in dict.fromkeys(side.views):
                copies = side.views.count(view)
                title = f"{f'{copies} × ' if copies > 1 else ''}CNN over {VIEWS[view].title}"
                steps = [stride * pool for stride, pool in zip(model.cnn.stride_time, model.cnn.pool_time, strict=True)]
                lines = f"3×3, channels {_chain(model.cnn.channels, ' → ')}\n{side.frames[-1]} frames a token ({_chain(steps, ' · ')})"
                branches.append(_box(axes, (27, heights[view] - 6), 29, 12, CNN_COLOUR, title, lines))
                _arrow(axes, views[view], (27, heights[view]))
        if isinstance(side, TransformerBranch):
            width = model.dim if network.projections else side.widths[-1]
            options = model.transformer
            order = "sinusoidal positions" if options.positions == "sinusoidal" else "no positions"
            lines = f"{options.pool_time} frames a token, {order}\n{options.layers} layers, {options.heads} heads, {side.widths[0]} wide"
            branches.append(_box(axes, (27, TRANSFORMER_HEIGHT - 5), 29, 10, TRANSFORMER_COLOUR, "Transformer encoder", lines))
            for view in side.views:
                _arrow(axes, views[view], (27, TRANSFORMER_HEIGHT))
        if isinstance(side, EncoderBranch):
            assert network.encoder is not None
            width = model.dim if network.projections else side.widths[-1]
            lines = f"{network.encoder.layers} hidden states, {network.encoder.width} wide, weighed\n{model.encoder.layers} layers on top"
            branches.append(_box(axes, (27, TRANSFORMER_HEIGHT - 5), 29, 10, TRANSFORMER_COLOUR, "frozen speech encoder", lines))
        middle = sum(y for _, y in branches) / len(branches)
        tokens = "one vector" if isinstance(side, CnnBranches) and side.segments else "tokens over time"
        sides.append(_box(axes, (63, middle - 4), 15, 8, TOKENS_COLOUR, f"{letter}", f"{tokens}\n{width} wide"))
        for point in branches:
            _arrow(axes, point, (63, middle))

    middle = sum(y for _, y in sides) / len(sides)
    last = sides[0]
    if network.fusion is not None:
        formula = "\n".join(map(_mathtext, network.fusion.formula.splitlines()))
        last = _box(axes, (84, middle - 7), 22, 14, FUSION_COLOUR, model.fusion.replace("_", " "), formula)
        for point in sides:
            _arrow(axes, point, (84, middle))
    _box(axes, (110, middle - 4), 9, 8, OUTPUT_COLOUR, str(parts[-1].shape[0]), "emotions")
    _arrow(axes, last, (110, middle))
    cost = f"{parts[-1].parameters:,} parameters · {parts[-1].madds / 1e6:.1f} M multiply-adds"
    axes.text(119, 2, cost, ha="right", va="center", size=9, color=FAINT)

    path = Path(path)
    with mpl.rc_context({"svg.hashsalt": "ser", "svg.fonttype": "path"}):
        save(figure, path, 160, {"Date": None} if path.suffix == ".svg" else None)


def _mathtext(line: str) -> str:
    for plain, written in MATHTEXT.items():
        line = line.replace(plain, written)
    return f"${line}$"


def _chain(numbers: list[int], link: str) -> str:
    return link.join(map(str, numbers))


def _box(axes: Axes, corner: Point, width: float, height: float, colour: str, title: str, text: str) -> Point:
    """Draw a box from its lower left corner; returns the middle of its right side."""
    axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=1", facecolor=colour, edgecolor="none"))
    middle = corner[0] + width / 2
    axes.text(middle, corner[1] + height - 1.4, title, ha="center", va="top", size=11, weight="bold", color=INK)
    axes.text(middle, corner[1] + (height - 3) / 2, text, ha="center", va="center", size=9, color=INK, linespacing=1.5)
    return corner[0] + width, corner[1] + height / 2


def _arrow(axes: Axes, start: Point, end: Point) -> None:
    style = {"arrowstyle": "-|>", "color": FAINT, "linewidth": 1.2, "shrinkA": 1, "shrinkB": 1}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)
