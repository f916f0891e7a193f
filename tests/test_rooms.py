"""The rooms of ``ser``: data flows one way, so a room imports only from rooms before it; and no room knows DVC or the stages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    "params",
    "runtime",
    "corpora",
    "download",
    "signal",
    "encoders",
    "views",
    "splits",
    "model",
    "diagram",
    "training",
    "evaluation",
    "report",
    "serving",
    "search",
)
"""The way of the data."""
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "ser").rglob("*.py"))


def imported(path: str) -> set[str]:
    """Dotted names of all modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: relative import"
            assert not node.level, f"{path}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_every_room_is_listed_and_nothing_lies_outside():
    assert {path.split("/")[1] for path in MODULES} == {*ORDER, "__init__.py"}


@pytest.mark.parametrize("path", MODULES)
def test_a_module_imports_only_from_rooms_before_its_own(path):
    names = imported(path)
    assert not {name.split(".")[0] for name in names} & {"stages", "benchmarks", "tests", "dvc"}
    room = path.split("/")[1]
    rooms = {parts[1] for name in names if (parts := name.split("."))[0] == "ser" and len(parts) > 1} & set(ORDER)
    allowed = set(ORDER[: ORDER.index(room) + 1]) if room in ORDER else set()
    assert rooms <= allowed


@pytest.mark.parametrize("room", ORDER)
def test_every_room_says_what_it_is_for(room):
    docstring = ast.get_docstring(ast.parse((ROOT / "ser" / room / "__init__.py").read_text(encoding="utf-8")))
    assert docstring
    assert len(docstring) > 60


@pytest.mark.parametrize("path", MODULES)
def test_a_module_can_be_read_at_one_sitting(path):
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= 300
