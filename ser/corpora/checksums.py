"""Checksums of a user's files, computed anew only where a file may have changed since.

The time of modification alone does not say so: two files that were exchanged keep theirs, and a restored backup brings an older one.
"""

from __future__ import annotations

import contextlib
import json
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from ser import SerError
from ser.runtime.disk import file_written_whole
from ser.runtime.files import OF_ANOTHER_FORM, text

MOST = 256 << 20
"""Bytes of a list that are read."""
SETTLED = 2_000_000_000
"""Nanoseconds. A file that changed more recently is not remembered: the disk could give a second change the same time."""


def crc32(files: Mapping[str, Path], remembered: Path) -> dict[str, int]:
    """CRC-32 of each file, as in the directory of a zip.

    Args:
        files: by name.
        remembered: list of what was computed before, with size, times and inode of each file; it is written anew. A damaged one, or a
            place that cannot be written, costs time only.

    Raises:
        OSError: if a file cannot be read.
    """
    before, now = _told(remembered), time.time_ns()
    found: dict[str, int] = {}
    kept: dict[str, list[int]] = {}
    for name, file in tqdm(files.items(), desc="comparing recordings", disable=len(files) < 1000, leave=False, delay=1):
        facts = file.stat()
        state = [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]
        known = before.get(name)
        found[name] = known[-1] if known is not None and known[:-1] == state else _crc32(file)
        if facts.st_ctime_ns + SETTLED < now:  # which no program can set
            kept[name] = [*state, found[name]]
    if kept != before:
        with contextlib.suppress(OSError):
            remembered.parent.mkdir(parents=True, exist_ok=True)
            with file_written_whole(remembered) as part:
                part.write_text(json.dumps(kept), encoding="utf-8")
    return found


def _crc32(file: Path) -> int:
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _told(remembered: Path) -> dict[str, list[int]]:
    try:
        told = json.loads(text(remembered, MOST))
        return {name: [int(value) for value in state] for name, state in told.items() if len(state) == 5}
    except (SerError, OSError, *OF_ANOTHER_FORM):
        return {}
