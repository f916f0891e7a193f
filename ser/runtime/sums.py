"""Checksums of what a stage wrote, kept beside its outputs, so that a damaged file between two stages is found.

A record is a JSON object: path of each file → its size and SHA-256. It is not an output of the pipeline: DVC keeps hashes of its own, and
looks at a file again only if its time or size has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from ser import SerError
from ser.runtime.disk import file_written_whole
from ser.runtime.files import OF_ANOTHER_FORM, text
from ser.runtime.reading import DamagedError

MOST = 64 << 20
"""Bytes that a record may have."""


def of(places: Iterable[Path]) -> str:
    """The record of all files in these places.

    Args:
        places: files and folders; what does not exist is left out.
    """
    return json.dumps({str(path): _sum(path) for place in places for path in _files(place)}, indent=1) + "\n"


def leave(record: Path, content: str) -> None:
    """Write a record, in the file ``record``."""
    record.parent.mkdir(parents=True, exist_ok=True)
    with file_written_whole(record) as part:
        part.write_text(content, encoding="utf-8")


def check(record: Path, stage: str, corpus: str, restored: Callable[[list[Path]], Collection[Path]]) -> bool | None:
    """Whether the files are those of their record. A record that is missing or damaged itself says nothing, nor do missing files.

    Args:
        record: file that ``leave`` wrote.
        stage: the stage that wrote it.
        corpus: its corpus.
        restored: of files that differ, those that somebody put there who checked them; called only if some do.

    Returns:
        True if all files are there, as the stage left them; False if some are missing, or somebody has put others there; None if there is
        no record, or a damaged one.

    Raises:
        DamagedError: naming the first file that differs, or that is none: a pipe would be waited for without end.
    """
    recorded = _told(record)
    if not recorded:
        return None
    there = {path: told for name, told in recorded.items() if (path := Path(name)).exists()}
    for path in there:
        if not path.is_file():
            raise DamagedError(path, stage, corpus, "it is no file")
    differing = [path for path, told in there.items() if _sum(path) != told]
    if not differing:
        return len(recorded) == len(there)
    believed = restored(differing)
    for path in differing:
        if path not in believed:
            raise DamagedError(path, stage, corpus, "its SHA-256 is not the one that the stage left")
    return False


def _told(record: Path) -> dict[str, list[object]]:
    try:
        told = json.loads(text(record, MOST))
    except (SerError, OSError, *OF_ANOTHER_FORM):
        return {}
    return {name: sums for name, sums in told.items() if Path(name).parts} if isinstance(told, dict) else {}


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    elif place.is_dir():
        yield from (path for path in sorted(place.rglob("*")) if path.is_file())


def _sum(path: Path) -> list[object]:
    with open(path, "rb") as stream:
        return [path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()]
