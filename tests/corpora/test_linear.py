"""The work on an archive grows with the number of its members, whatever they are called. Counted, not timed."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ser.corpora.archives import open_archive
from ser.corpora.listing import list_recordings
from ser.params.corpora import Corpus

OWN = Corpus.model_validate(
    {
        "source": {"kind": "links", "archives": [{"name": "a.zip", "url": None, "checksum": None}]},
        "labels": {"classes": [], "edition": "official"},
    }
)
NAMES: dict[str, Callable[[int], str]] = {
    "one name": lambda number: "sad/ada/1.wav",
    "two names in turn": lambda number: f"sad/ada/{number % 2}.wav",
    "a name and its own substitutes": lambda number: "sad/ada/1.wav" if number % 2 else f"sad/ada/1.wav ({number // 2 + 2})",
    "different names": lambda number: f"sad/ada/{number}.wav",
    "folders in folders": lambda number: "/".join("abcdefgh") + f"/sad/ada/{number}.wav",
    "a label each": lambda number: f"{number}/ada/1.wav",
    "hidden": lambda number: f".{number}/ada/1.wav",
    "out of the folder": lambda number: "../1.wav",
}


def zipped(path: Path, names: list[str]) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as packed:
        warnings.simplefilter("ignore", UserWarning)  # of duplicate names
        for name in names:
            packed.writestr(name, b"")


def tarred(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w") as packed:
        for name in names:
            packed.addfile(tarfile.TarInfo(name), io.BytesIO())


def lines_run(work: Callable[[], object]) -> int:
    """Lines of Python that the corpora room, ``zipfile`` and ``tarfile`` run for a piece of work."""
    count = 0

    def each_line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return each_line

    def each_call(frame: FrameType, event: str, argument: Any) -> Any:
        return each_line if any(room in frame.f_code.co_filename for room in ("ser/corpora", "zipfile", "tarfile")) else None

    before = sys.gettrace()
    sys.settrace(each_call)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def listed(path: Path) -> None:
    (path.parent / "source.json").write_text(json.dumps({"archives": [{"name": path.name}]}))
    list_recordings("mine", OWN, path.parent)


def opened(path: Path) -> None:
    with open_archive(path) as archive:
        assert len(archive.members()) > 0


@pytest.mark.parametrize("pack", [zipped, tarred], ids=["zip", "tar"])
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_four_times_the_members_are_at_most_four_times_the_work(
    tmp_path: Path, names: Callable[[int], str], pack: Callable[[Path, list[str]], None]
) -> None:
    counts = []
    for size in (200, 800):
        path = tmp_path / str(size) / "a.zip"
        path.parent.mkdir()
        pack(path, [*map(names, range(size)), "happy/eve/1.wav"])
        counts.append((lines_run(lambda path=path: opened(path)), lines_run(lambda path=path: listed(path))))
    for few, many in zip(*counts, strict=True):
        assert few > 200  # the work was seen
        assert many < 4.2 * few
