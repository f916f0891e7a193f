"""Which files of the project a stage script needs, found by reading its imports (also those inside functions).

``make deps`` runs ``python -m tests.dependencies``, which writes them into dvc.yaml; ``tests/test_dvc_yaml.py`` compares.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ser/corpora", "ser/model")
"""Rooms that are always one dependency each, because they import some of their modules by name."""
UNTRACKED = (
    "ser/__init__.py",
    "ser/params",
    "ser/runtime",
    "stages/__init__.py",
    "stages/changes.py",
    "stages/command.py",
    "stages/descent.py",
    "stages/doctor.py",
    "stages/ending.py",
    "stages/lock.py",
    "stages/paths.py",
    "stages/recordings.py",
)
"""What no stage depends on, although all import it; the head of dvc.yaml gives the reasons."""


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


def tracked_by(script: str) -> set[str]:
    """Of what a script needs, the paths that its stage lists under ``deps``."""
    return {path for path in needed_by(script) if not path.startswith(UNTRACKED) and not _bare(path)}


def _bare(path: str) -> bool:
    """Whether a file is the ``__init__`` of a package and holds a docstring and nothing else."""
    if not path.endswith("/__init__.py"):
        return False
    body = ast.parse((ROOT / path).read_text()).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def _rooms() -> list[str]:
    return [path.parent.relative_to(ROOT).as_posix() for path in sorted((ROOT / "ser").glob("*/__init__.py"))]


def _modules(room: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob("*.py")}


def _files(name: str) -> list[str]:
    """The module's own file and the ``__init__`` of every package above it, if they are the project's."""
    parts = name.split(".")
    if parts[0] not in ("benchmarks", "ser", "stages"):
        return []
    above = ["/".join(parts[: depth + 1]) + "/__init__.py" for depth in range(len(parts))]
    return [path for path in [*above, "/".join(parts) + ".py"] if (ROOT / path).exists()]


def is_code(dep: str) -> bool:
    """Whether a dependency of dvc.yaml is code, a file or a room, and not data."""
    return dep.startswith(("benchmarks/", "ser/", "stages/"))


def write() -> None:
    """Write the dependencies on code of every stage into dvc.yaml, before those on data; every other line stays as it is."""
    lines: list[str] = []
    stage, in_deps = "", False
    for line in (ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines():
        if in_deps and line.startswith("    - ") and is_code(line.removeprefix("    - ")):
            continue
        lines.append(line)
        in_deps = line == "    deps:" or (in_deps and line.startswith("    - "))
        if line.startswith("  ") and line[2] not in " #":
            stage = line.strip(" :")
        elif line == "    deps:":
            lines += [f"    - {path}" for path in sorted(tracked_by(f"stages/{stage}.py"))]
    (ROOT / "dvc.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
