"""Which files of the project a stage script needs, found by reading its import statements (also those inside functions)."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHOLE = ("ser/params", "ser/corpora")
"""Packages that are one dependency each."""


def needed_by(script: str) -> set[str]:
    """Paths, relative to the root, of all project files that ``script`` imports, directly or through others, and of itself."""
    found: set[str] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        tree = ast.parse((ROOT / path).read_text())
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                waiting += _files(name)
    return {next((package for package in WHOLE if path.startswith(package + "/")), path) for path in found}


def _files(name: str) -> list[str]:
    """The module's own file and the ``__init__`` of every package above it, if they are the project's."""
    parts = name.split(".")
    if parts[0] not in ("benchmarks", "ser", "stages"):
        return []
    above = ["/".join(parts[: depth + 1]) + "/__init__.py" for depth in range(len(parts))]
    return [path for path in [*above, "/".join(parts) + ".py"] if (ROOT / path).exists()]
