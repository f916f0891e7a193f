"""The pictures of the report, as SVG in the colours of the page: dark on light, light on dark, black on
paper.

All functions return an ``<svg>`` element for a page that defines the variables of ``ser.report.svg.COLOURS``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from ser.evaluation.examples import Example
from ser.evaluation.sections import Fold, Group, Robustness, Slice
from ser.report.svg import ACCENT, INK, LINE, MUTED, PAPER, SECOND, STYLE, as_svg, new_axes, new_figure
from ser.runtime.text import percent

MOST_NAMES = 30
"""With more speakers than this, their names are left out."""


@dataclass(frozen=True)
class Overview:
    """One corpus in the overview.

    Attributes:
        name: of the corpus.
        ua: its UA.
        ci: interval of UA, or None.
        chance: UA by chance.
        published: (UA, whether speaker-independent) of other systems.
    """

    name: str
    ua: float
    ci: tuple[float, float] | None
    chance: float
    published: list[tuple[float, bool]]


@matplotlib.rc_context(STYLE)
def overview(rows: Sequence[Overview]) -> str:
    """UA of every corpus with its interval, published scores and chance level."""
    figure, axes = new_axes(5.4, 0.75 + 0.5 * len(rows))
    for y, row in enumerate(reversed(rows)):
        axes.plot([row.chance] * 2, [y - 0.32, y + 0.32], color=MUTED, lw=1.2)
        for value, independent in row.published:
            axes.plot(value, y + 0.24, "o" if independent else "x", mfc="none", mec=SECOND, ms=5.5)
        if row.ci:
            axes.plot(row.ci, [y, y], color=ACCENT, lw=5, alpha=0.35, solid_capstyle="round")
        axes.plot(row.ua, y, "o", color=ACCENT, ms=8)
        axes.annotate(f"{percent(row.ua)}%", (row.ua, y), (0, -14), textcoords="offset points", ha="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)], fontsize=10.5, color=INK)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    _percent(axes.xaxis, axes.set_xlim)
    axes.set_xlabel("unweighted average recall (UA)")
    axes.grid(axis="x")
    return as_svg(figure, "overview", "UA of each corpus with its interval, chance level and published figures")


@matplotlib.rc_context(STYLE)
def confusion(counts: Sequence[Sequence[int]], shares: Sequence[Sequence[float | None]], classes: Sequence[str]) -> str:
    """Row-normalised confusion matrix: how the clips of each emotion were classified, in per cent."""
    size = len(classes)
    figure, axes = new_axes(1.4 + 0.58 * size, 0.9 + 0.46 * size)
    for i in range(size):
        for j in range(size):
            share = shares[i][j] or 0.0
            axes.add_patch(Rectangle((j - 0.48, i - 0.47), 0.96, 0.94, color=ACCENT, alpha=0.06 + 0.94 * share, lw=0))
            if counts[i][j]:
                ink = PAPER if share > 0.55 else INK
                axes.text(
                    j, i - 0.02, percent(share, 0), ha="center", va="center", color=ink, fontsize=10, alpha=1 if share > 0.05 else 0.6
                )
    axes.set_xticks(range(size), classes, rotation=40, ha="left", rotation_mode="anchor", color=INK)
    axes.set_yticks(range(size), classes, color=INK)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return as_svg(figure, "confusion", "Confusion matrix in per cent of each actual emotion")


@matplotlib.rc_context(STYLE)
def reliability(table: pd.DataFrame) -> str:
    """Accuracy against confidence, before and after temperature scaling; on the diagonal they agree."""
    figure, axes = new_axes(4.4, 3.7)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)))
    most = table["clips"].max() if len(table) else 1
    for stage, colour, label in (("before", SECOND, "as trained"), ("after", ACCENT, "temperature-scaled")):
        part = table[table["stage"] == stage]
        axes.plot(part["confidence"], part["accuracy"], color=colour, lw=1.4, label=label)
        axes.scatter(part["confidence"], part["accuracy"], s=8 + 60 * part["clips"] / most, color=colour, alpha=0.55, lw=0)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence of the answer", ylabel="share that is right")
    axes.legend(loc="upper left")
    axes.grid()
    return as_svg(figure, "reliability", "Reliability diagram before and after temperature scaling")


@matplotlib.rc_context(STYLE)
def losses(table: pd.DataFrame) -> str:
    """Training and validation loss over epochs, means over folds and seeds."""
    figure, axes = new_axes(5, 3.1)
    axes.plot(table["epoch"], table["train_loss"], color=SECOND, label="training (augmented, regularised)")
    axes.plot(table["epoch"], table["valid_loss"], color=ACCENT, label="validation")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend()
    axes.grid(axis="y")
    return as_svg(figure, "losses", "Training and validation loss over epochs")


@matplotlib.rc_context(STYLE)
def validation(table: pd.DataFrame) -> str:
    """Validation UA over epochs: the mean over folds as a strong line, each fold as a faint one."""
    figure, axes = new_axes(5, 3.1)
    for name in table.columns[table.columns.str.startswith("valid_ua_fold")]:
        axes.plot(table["epoch"], table[name], color=ACCENT, lw=0.8, alpha=0.4)
    axes.plot(table["epoch"], table["valid_ua"], color=ACCENT)
    axes.set(xlabel="epoch", ylabel="validation UA")
    _percent(axes.yaxis, axes.set_ylim)
    axes.grid(axis="y")
    return as_svg(figure, "validation", "Validation UA over epochs, each fold and their mean")


@matplotlib.rc_context(STYLE)
def folds(each: Sequence[Fold], chance: float) -> str:
    """UA of each fold, their mean ± sample standard deviation, and chance."""
    values = np.array([fold.scores["ua"] for fold in each], dtype=float)
    figure, axes = new_axes(3.9, 3.1)
    if len(values) > 1:
        axes.axhspan(values.mean() - values.std(ddof=1), values.mean() + values.std(ddof=1), color=ACCENT, alpha=0.13, lw=0)
    axes.axhline(values.mean(), color=ACCENT, lw=1.4)
    _chance(axes, chance)
    axes.plot(range(len(values)), values, "o", color=ACCENT, ms=7)
    axes.set_xticks(range(len(values)), [str(fold.fold) for fold in each])
    axes.set(xlabel="fold", ylabel="UA", xlim=(-0.6, len(values) - 0.4))
    _percent(axes.yaxis, axes.set_ylim)
    axes.grid(axis="y")
    return as_svg(figure, "folds", "UA of each fold")


@matplotlib.rc_context(STYLE)
def noise(study: Robustness, chance: float) -> str:
    """UA under white noise with its interval, from clean to the worst signal-to-noise ratio."""
    entries = study.conditions
    clean = [entry for entry in entries if entry.kind == "clean"]
    levels = clean + sorted((entry for entry in entries if entry.kind == "noise"), key=lambda entry: -(entry.value or 0.0))
    figure, axes = new_axes(5, 3.1)
    axes.plot(range(len(levels)), [entry.ua for entry in levels], "o-", color=ACCENT)
    if (limits := [entry.ci for entry in levels if entry.ci]) and len(limits) == len(levels):
        low, high = zip(*limits, strict=True)
        axes.fill_between(range(len(levels)), low, high, color=ACCENT, alpha=0.15, lw=0)
    _chance(axes, chance)
    axes.set_xticks(range(len(levels)), ["clean" if entry.value is None else f"{entry.value:g} dB" for entry in levels])
    axes.set(xlabel="signal-to-noise ratio", ylabel="UA")
    _percent(axes.yaxis, axes.set_ylim)
    axes.grid(axis="y")
    return as_svg(figure, "noise", "UA under white noise")


@matplotlib.rc_context(STYLE)
def conditions(study: Robustness) -> str:
    """UA with interval under each condition other than noise."""
    entries = [entry for entry in study.conditions if entry.kind != "noise"]
    figure, axes = new_axes(5, 3.1)
    _interval_rows(axes, [(entry.condition, entry.ua, entry.ci) for entry in entries], study.clean_ua)
    return as_svg(figure, "conditions", "UA at other gains, through a telephone band and after lossy coding")


@matplotlib.rc_context(STYLE)
def groups(slices: Mapping[str, Slice], overall: float) -> str:
    """UA with interval and number of clips of every group of every slice, except speakers, which have a picture of their own."""
    shown = {name: one.groups for name, one in slices.items() if name != "speaker" and len(one.groups) > 1}
    rows = [(f"{name} · {group.group} ({group.n})", group.ua, group.ci) for name, entry in shown.items() for group in entry]
    figure, axes = new_axes(5.6, 0.8 + 0.27 * len(rows))
    _interval_rows(axes, rows, overall)
    position = len(rows)
    for entry in list(shown.values())[:-1]:
        position -= len(entry)
        axes.axhline(position - 0.5, color=LINE, lw=0.8)
    return as_svg(figure, "groups", "UA of groups of clips with intervals")


@matplotlib.rc_context(STYLE)
def speakers(entries: Sequence[Group], overall: float) -> str:
    """UA of each speaker, from worst to best."""
    ordered = sorted(entries, key=lambda entry: (entry.ua, entry.group))
    figure, axes = new_axes(3.9, 3.1)
    axes.axhline(overall, color=ACCENT, lw=1.2)
    axes.bar(range(len(ordered)), [entry.ua for entry in ordered], color=ACCENT, alpha=0.45, width=0.75)
    axes.set_xlim(-0.6, len(ordered) - 0.4)
    if len(ordered) <= MOST_NAMES:
        axes.set_xticks(range(len(ordered)), [entry.group for entry in ordered], rotation=90, fontsize=7)
    else:
        axes.set_xticks([])
    axes.set(xlabel="speaker", ylabel="UA")
    _percent(axes.yaxis, axes.set_ylim)
    axes.grid(axis="y")
    return as_svg(figure, "speakers", "UA of each speaker, sorted")


@matplotlib.rc_context(STYLE)
def removed(shares: dict[str, float]) -> str:
    """Share of the signal that voice activity detection removed, by emotion."""
    names = list(shares)
    figure, axes = new_axes(3.9, 0.8 + 0.27 * len(names))
    axes.barh(range(len(names)), [shares[name] for name in names], color=ACCENT, alpha=0.45, height=0.7)
    for y, name in enumerate(names):
        axes.text(shares[name], y, f" {percent(shares[name], 0)}%", va="center", fontsize=9, color=MUTED)
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.invert_yaxis()
    axes.set(xlim=(0, max([*shares.values(), 0.05]) * 1.2))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return as_svg(figure, "removed", "Share of the signal removed by voice activity detection, by emotion")


@matplotlib.rc_context(STYLE)
def attention(example: Example) -> str:
    """Log-mel spectrogram of a clip, and below it the attention weights over time of each side of the fusion
    (1 = uniform).
    """
    sides = list(example.attention.items())
    seconds = len(example.audio) / example.sample_rate
    figure = new_figure(4.2, 1.9 + 0.75 * bool(sides))
    picture, *lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, 1.3]) if sides else [figure.subplots()]
    top = float(example.log_mel.max())
    picture.imshow(
        example.log_mel.T,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, example.log_mel.shape[1]),
        cmap="magma",
        vmin=top - 70,
        vmax=top,
    )
    picture.set(ylabel="mel", yticks=[])
    for axes in lower:
        for number, (name, weights) in enumerate(sides):
            time = (np.arange(len(weights)) + 0.5) * seconds / len(weights)
            axes.plot(
                time, weights * len(weights), color=(ACCENT, SECOND)[number % 2], lw=1.4, label=name.replace("_", " ").replace("+", " + ")
            )
        axes.set(ylabel="attention", ylim=(0, None))
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.5), ncols=2, borderaxespad=0)
    figure.axes[-1].set(xlim=(0, seconds))
    figure.axes[-1].xaxis.set_major_formatter("{x:g} s")
    return as_svg(figure, f"attention-{example.about['clip']}", f"Spectrogram and attention of {example.about['clip']}")


def _interval_rows(axes: Axes, rows: Sequence[tuple[str, float | None, tuple[float, float] | None]], reference: float) -> None:
    """One dot with its interval per row, the first row on top, and a line at the reference."""
    axes.axvline(reference, color=ACCENT, lw=1.2, alpha=0.6)
    for y, (_, value, ci) in enumerate(reversed(rows)):
        if ci:
            axes.plot(ci, [y, y], color=ACCENT, lw=4, alpha=0.3, solid_capstyle="round")
        if value is not None:
            axes.plot(value, y, "o", color=ACCENT, ms=5.5)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)], color=INK)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    _percent(axes.xaxis, axes.set_xlim)
    axes.grid(axis="x")


def _chance(axes: Axes, chance: float) -> None:
    axes.axhline(chance, color=MUTED, lw=1, ls=(0, (4, 3)))
    axes.text(0.99, chance, "chance", transform=axes.get_yaxis_transform(), ha="right", va="bottom", color=MUTED, fontsize=8.5)


def _percent(axis: Any, set_limits: Any) -> None:
    axis.set_major_formatter(PercentFormatter(1, decimals=0))
    set_limits(0, 1.0)
