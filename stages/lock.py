"""A dvc.lock that a killed ``dvc repro`` has left half-written is replaced by the last commit's.

DVC writes dvc.lock in place, so one that is killed at that moment leaves a part of it, which the next one refuses. Nothing is
lost by the older file: DVC finds what it has run since in its run cache. ``make repro`` begins with this.

    python -m stages.lock
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils import strictyaml

from ser import SerError
from ser.runtime.disk import disk_error, file_written_whole
from ser.runtime.output import printed
from stages import changes

FILE = Path("dvc.lock")


def main() -> None:
    """Command line: see ``python -m stages.lock --help``."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        with printed():
            if said := mended():
                print(said)
    except SerError as error:
        sys.exit(f"error: {error}")


def mended(path: Path = FILE) -> str | None:
    """Write dvc.lock as the last commit has it, if DVC would refuse the file that is here.

    Returns:
        What was done; None if there is no file, or DVC reads it.

    Raises:
        SerError: if a merge has left it in conflict, no commit has it, or it cannot be read or written.
    """
    if not path.exists():
        return None
    try:
        strictyaml.load(str(path), COMPILED_LOCKFILE_SCHEMA)
        return None
    except OSError as error:
        raise SerError(f"{path} cannot be read: {error.strerror}") from None
    except (DvcException, ValueError, RecursionError):
        pass
    if changes.in_conflict(path):
        raise SerError(f"{path} is in conflict: take one side (`git checkout --ours {path}`), and `dvc repro` completes it")
    before = changes.committed(path)
    if before is None:
        raise SerError(f"{path} is damaged, and git has no commit with it: remove it, and `dvc repro` writes it anew")
    try:
        with file_written_whole(path) as part:
            part.write_bytes(before)
    except OSError as error:
        raise SerError(disk_error(error) or f"{path} cannot be written: {error.strerror}") from None
    return f"{path} was half-written, as a killed `dvc repro` may leave it: it is again as in the last commit"


if __name__ == "__main__":
    main()
