"""The style of the report's pictures: drawn in placeholder colours, which become the colours of the page."""

from __future__ import annotations

import html
import io
import re
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, LINE, ACCENT, SECOND, PAPER = "#010203", "#020304", "#030405", "#040506", "#050607", "#060708"
COLOURS = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", SECOND: "second", PAPER: "paper"}
"""Placeholder in the drawing → CSS variable of the page."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "figure.constrained_layout.use": True,
    "lines.linewidth": 1.8,
}
"""matplotlib settings. Text stays text, so that it can be searched and read aloud."""


def new_figure(width: float, height: float) -> Figure:
    """A figure without axes; width and height in inches of 72 points."""
    return Figure(figsize=(width, height))


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; size as in ``new_figure``."""
    figure = new_figure(width, height)
    return figure, figure.subplots()


def as_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``<svg>`` element in the page's colours and font; same figure, same bytes."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)  # ids must be unique in the page; no group is referred to by its id
    drawn = re.sub(r"font-family: [^;]*; ?", "", drawn)
    for placeholder, variable in COLOURS.items():
        drawn = drawn.replace(placeholder, f"var(--{variable})")
    width = figure.get_figwidth() * 72
    label = html.escape(description, quote=True)
    head = f'<svg role="img" aria-label="{label}" style="width:{width:.0f}pt" viewBox="0 0 {width:g} {figure.get_figheight() * 72:g}"'
    drawn = re.sub(r"<svg .*?>", f'{head} xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">', drawn, count=1)
    return "\n".join(line.strip() for line in drawn.splitlines() if line.strip())
