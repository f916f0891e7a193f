"""The rooms of ``ser``: data flows one way, so a room imports only from rooms before it; and no room knows DVC or the stages."""

from __future__ import annotations

import ast
import re
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
    assert {path.split("/")[1] for path in MODULES} == {*ORDER, "__init__.py", "__main__.py"}


def rooms_of(path: str) -> set[str]:
    """Rooms that a file imports from, its own among them."""
    return {parts[1] for name in imported(path) if (parts := name.split("."))[0] == "ser" and len(parts) > 1} & set(ORDER)


def imports() -> dict[str, set[str]]:
    """Each room → the other rooms that it imports from."""
    return {room: set().union(*(rooms_of(path) for path in MODULES if path.startswith(f"ser/{room}/"))) - {room} for room in ORDER}


@pytest.mark.parametrize("path", MODULES)
def test_a_module_imports_only_from_rooms_before_its_own(path):
    assert not {name.split(".")[0] for name in imported(path)} & {"stages", "benchmarks", "tests", "dvc"}
    room = path.split("/")[1]
    allowed = set(ORDER[: ORDER.index(room) + 1]) if room in ORDER else {"runtime"} if room == "__main__.py" else set()
    assert rooms_of(path) <= allowed


@pytest.mark.parametrize("room", ORDER)
def test_every_room_says_what_it_is_for_what_it_imports_and_who_imports_it(room):
    docstring = ast.get_docstring(ast.parse((ROOT / "ser" / room / "__init__.py").read_text(encoding="utf-8")))
    assert docstring
    assert len(docstring.split("\n\n")[0]) > 40
    graph = imports()
    for words, rooms in (("Imports", graph[room]), ("Imported by", {other for other in ORDER if room in graph[other]})):
        (sentence,) = re.findall(rf"^{words} ([^.]*)\.", docstring, re.MULTILINE)
        assert re.findall(r"``(\w+)``", sentence) == [other for other in ORDER if other in rooms]


@pytest.mark.parametrize("path", MODULES)
def test_a_module_can_be_read_at_one_sitting(path):
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= 300
