"""How figures, tables and the message about a missing file are written, the same everywhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from math import isnan
from pathlib import Path

UNKNOWN = "–"
"""Stands for a value that is not defined."""


def percent(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A share in per cent: 0.523 → ``52.3``; ``–`` for None and NaN.

    The decimal digits of the value are rounded, halves away from zero: 0.6885 → ``68.9``. Formatting the
    binary number would give 68.8, since the float nearest to 68.85 lies below it.

    Args:
        value: a share, e.g. in [0, 1]; a difference of shares may be negative.
        digits: decimal places, ≥ 0.
        sign: write ``+`` before what is not negative, as for a difference.
    """
    return number(value, digits, sign, factor=100)


def number(value: float | None, digits: int = 3, sign: bool = False, factor: int = 1) -> str:
    """A number with a fixed count of decimal places, rounded as ``percent`` does: 0.0005 → ``0.001``; ``–``
    for None and NaN.

    Args:
        value: the number.
        digits: decimal places, ≥ 0.
        sign: write ``+`` before what is not negative.
        factor: multiplies the value before it is rounded.
    """
    if value is None or isnan(value):
        return UNKNOWN
    exact = Decimal(repr(float(value))) * factor
    rounded = exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP) + 0  # + 0: no negative zero
    return f"{rounded:{'+' if sign else ''}f}"


def run_first(path: str | Path, *stages: str) -> str:
    """The message about a file that an earlier stage writes: that it is missing, and what to run.

    Args:
        path: the file.
        stages: what writes it, as ``dvc repro`` takes it, e.g. ``split@demo``.
    """
    return f"{path} not found: run `dvc repro {' '.join(stages)}` first"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A Markdown table whose columns line up in plain text too.

    Args:
        head: title of each column.
        rows: cells of each row, as many as ``head`` has; without ``|`` and line breaks.
        right: numbers of the columns that are aligned to the right.

    Raises:
        ValueError: if a row has another number of cells.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.rjust(width) if i in right else cell.ljust(width) for i, (cell, width) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (width + 1) + ":" if i in right else "-" * (width + 2) for i, width in enumerate(widths))
    return "\n".join([line(head), f"|{rule}|", *map(line, rows)])


def printable(text: str) -> str:
    """The text with its control characters written out, so that a file's name cannot command the terminal."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def printable_lines(text: str) -> str:
    """``printable`` for each line of a text."""
    return "\n".join(map(printable, text.split("\n")))


def csv_line(cells: Iterable[object]) -> str:
    """A line of a CSV. Before 3.13, Python quotes a carriage return in a cell only where lines end in one; readers take it for an end."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def no_formula(cell: str) -> str:
    """The cell, with a ``'`` in front where a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
