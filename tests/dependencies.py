"""Which files of the project a stage script needs, found by reading its imports (also those inside functions).

``python -m tests.dependencies`` (``make deps``) writes them into dvc.yaml; ``tests/test_dvc_yaml.py`` compares.
"""

from __future__ import annotations

import ast
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ser/params", "ser/corpora")
"""Packages that are always one dependency each."""


def needed_by(script: str) -> set[str]:
    """Paths, relative to the root, of all project files that ``script`` imports, directly or through others, and of itself.

    A room of which every module is needed stands for its modules.
    """
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
    whole = [room for room in _rooms() if room in ROOMS or _modules(room) <= found]
    return {next((room for room in whole if path.startswith(room + "/")), path) for path in found}


def _rooms() -> list[str]:
    return [path.parent.relative_to(ROOT).as_posix() for path in sorted((ROOT / "ser").glob("*/__init__.py"))]


def _modules(room: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / room).glob("*.py")}


def _files(name: str) -> list[str]:
    """The module's own file and the ``__init__`` of every package above it, if they are the project's."""
    parts = name.split(".")
    if parts[0] not in ("benchmarks", "ser", "stages"):
        return []
    above = ["/".join(parts[: depth + 1]) + "/__init__.py" for depth in range(len(parts))]
    return [path for path in [*above, "/".join(parts) + ".py"] if (ROOT / path).exists()]


def is_code(dep: str) -> bool:
    """Whether a dependency of dvc.yaml is a Python file or a room, that is, neither data nor a file read at run time."""
    return dep.startswith(("benchmarks", "ser", "stages")) and not dep.endswith((".csv", "templates"))


def write() -> None:
    """Write the dependencies on code of every stage into dvc.yaml; what else stands there is kept."""
    yaml = YAML()
    yaml.width = 4096
    pipeline = yaml.load(ROOT / "dvc.yaml")
    for name, stage in pipeline["stages"].items():
        code = sorted(needed_by(f"stages/{name}.py"))
        others = [dep for dep in stage["deps"] if not is_code(dep)]
        stage["deps"][:] = code + others
    yaml.dump(pipeline, ROOT / "dvc.yaml")


if __name__ == "__main__":
    write()
