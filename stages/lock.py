"""A dvc.lock that a killed ``dvc repro`` has left half-written is replaced by the last commit's.

DVC writes dvc.lock in place, so one that is killed at that moment leaves a part of it. The next one refuses that, or takes it for the
whole and forgets the rest. Nothing is lost by the older file: DVC finds what it has run since in its run cache. ``make repro`` begins
with this.

    python -m stages.lock
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils import strictyaml

from ser import SerError
from ser.runtime.disk import disk_error, file_written_whole
from ser.runtime.files import OF_ANOTHER_FORM, regular, text
from ser.runtime.output import printed
from ser.runtime.text import printable
from stages import changes
from stages.ending import in_words
from stages.paths import LOCK

MOST = 64 << 20
"""Bytes that it may have."""
HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")
"""MD5 of a file or of the list of a folder's files, as DVC writes it. It is also the name of an object in the cache."""


def main() -> None:
    """Command line: see ``python -m stages.lock --help``."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with in_words(), printed():
        if said := mended():
            print(said)
        elif lost := forgotten():
            print(f"{LOCK} lacks what the last commit's has: {printable(', '.join(lost))}. `git checkout {LOCK}` brings it back")


def mended(path: Path = LOCK) -> str | None:
    """Write dvc.lock as the last commit has it, if the file that is here is a part of one, or none that DVC reads.

    Returns:
        What was done; None if there is no file, or DVC reads it and it ends as DVC ends one.

    Raises:
        SerError: if a merge has left it in conflict, no commit has a whole one, or it cannot be read or written.
    """
    if not path.exists():
        return None
    try:
        with regular(path) as file:  # a pipe would be waited for without end
            stages = _whole(file.read(MOST), path)
    except OSError as error:
        raise SerError(f"{path} cannot be read: {error.strerror}") from None
    if stages is not None and next(reversed(stages), "") not in forgotten(path):
        return None
    if changes.in_conflict(path):
        raise SerError(f"{path} is in conflict: take one side (`git checkout --ours {path}`), and `dvc repro` completes it")
    commits = changes.revisions(path)
    kept = ((one, before) for one in commits if (before := changes.committed(path, one)) is not None and _whole(before, path) is not None)
    if (found := next(kept, None)) is None:
        raise SerError(f"{path} is damaged, and git has no commit with a whole one: remove it, and `dvc repro` writes it anew")
    commit, before = found
    try:
        with file_written_whole(path) as part:
            part.write_bytes(before)
    except OSError as error:
        raise SerError(disk_error(error) or f"{path} cannot be written: {error.strerror}") from None
    where = "the last commit" if commit == commits[0] else f"commit {commit[:10]}, the last that has a whole one"
    return f"{path} was half-written, as a killed `dvc repro` may leave it: it is again as in {where}"


def forgotten(path: Path = LOCK) -> list[str]:
    """Stages that the last commit's dvc.lock has, and this one has not or with fewer outputs, in the commit's order.

    A file that was cut between two stages looks whole, as does that of an older experiment, which never had them.
    """
    before = changes.committed(path)
    if before is None or not path.exists():
        return []
    try:
        then, now = (strictyaml.parse_yaml(content, str(path)).get("stages") or {} for content in (before.decode(), text(path, MOST)))
        return [name for name, stage in then.items() if name not in now or _outputs(stage) - _outputs(now[name])]
    except (SerError, DvcException, OSError, ValueError, RecursionError, *OF_ANOTHER_FORM):
        return []  # no lock file; whoever reads it says so


def _outputs(stage: dict[str, Any]) -> set[str]:
    return {str(out["path"]) for out in stage.get("outs", [])}


def _whole(content: bytes, path: Path) -> dict[str, Any] | None:
    """The stages of a lock file; None if DVC does not read it, or it does not end as DVC ends one.

    That is with a line, after the hash and size of a file, which may not be its last.
    """
    try:
        lines = content.decode("utf-8")
        values = strictyaml.parse_yaml(lines, str(path))
        strictyaml.validate(values, COMPILED_LOCKFILE_SCHEMA, text=lines, path=str(path))
        stages: dict[str, Any] = values.get("stages") or {}
    except (DvcException, *OF_ANOTHER_FORM):
        return None
    files = [file for stage in list(stages.values())[-1:] for kind in ("deps", "outs") for file in stage.get(kind, [])]
    return stages if lines.endswith("\n") and all(map(_written, files)) else None


def _written(file: dict[str, Any]) -> bool:
    """Whether an entry was written to its end; those of other places than a disk have other hashes."""
    if "md5" in file:
        return "size" in file and HASH.fullmatch(str(file["md5"])) is not None
    return len(file) > len(("path", "hash"))


if __name__ == "__main__":
    main()
