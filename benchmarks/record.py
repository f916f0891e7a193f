"""Print a benchmark's figures and write them, with the machine, to ``metrics/benchmarks/<name>.json``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ser.params import Params
from ser.runtime.provenance import provenance
from ser.runtime.text import markdown_table

FOLDER = Path("metrics/benchmarks")


def record(
    name: str,
    figures: dict[str, Any],
    rows: list[dict[str, Any]] | None = None,
    command: str | None = None,
    *,
    params: Params,
    sections: Sequence[str] = ("preprocess", "features", "model"),
) -> None:
    """Print a benchmark's figures and write them to ``metrics/benchmarks/<name>.json``.

    Args:
        name: file name without suffix, e.g. ``signal``.
        figures: the numbers to quote and compare, by name; JSON types, with units in the names.
        rows: the table behind them, one flat dict per row; columns are all keys in order of appearance.
        command: the command to record; default: this process's command line.
        params: the parameters that were measured.
        sections: sections of params that the figures depend on; they are recorded too.
    """
    show(figures, rows)
    values = params.model_dump(mode="json")
    depends = {section: values[section] for section in sections}
    content = {"figures": figures, "rows": rows or [], "params": depends, "command": command or command_line(), **asdict(provenance())}
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    print(f"\nwritten: {path}")


def show(figures: dict[str, Any], rows: list[dict[str, Any]] | None = None) -> None:
    """Print a benchmark's figures."""
    if rows:
        print(table(rows))
        print()
    print(table([{"figure": key, "value": value} for key, value in figures.items()]))


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table: numbers with four significant digits, missing values empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return markdown_table(columns, [[_cell(row.get(column)) for column in columns] for row in rows])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def command_line() -> str:
    """The command that started this process, without machine paths."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    script = f"-m {spec.name}" if spec is not None else Path(sys.argv[0]).name
    return shlex.join(["python", *script.split(), *sys.argv[1:]])
