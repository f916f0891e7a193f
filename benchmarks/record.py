"""Print a benchmark's figures and write them, with the machine, to ``metrics/benchmarks/<name>.json``."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ser.params import Params
from ser.runtime.machine import cores

FOLDER = Path("metrics/benchmarks")

LIBRARIES = ["numpy", "scipy", "soundfile", "soxr", "webrtcvad-wheels", "librosa", "torch", "onnxruntime", "scikit-learn", "pandas", "dvc"]


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
    content = {"figures": figures, "rows": rows or [], "params": depends, "command": command or command_line(), **circumstances()}
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
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


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


def circumstances() -> dict[str, Any]:
    """The machine: git revision, CPU, GPUs, cores that this process may use, and library versions."""
    return {
        "revision": revision(),
        "cpu": cpu(),
        "cores": cores(),
        "gpu": gpu(),
        "python": platform.python_version(),
        "libraries": {name: version for name in LIBRARIES if (version := _version(name)) is not None},
    }


def revision() -> str:
    """Commit of the working tree, with ``-dirty`` if tracked files differ from it; empty outside git."""
    return _output("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")


def cpu() -> str:
    """CPU model as the kernel names it."""
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def gpu() -> list[str]:
    """GPU models, from the driver, so that torch is not imported; empty without a GPU."""
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
