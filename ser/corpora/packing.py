"""Write archives whose bytes depend on their content alone."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from ser.runtime.disk import file_written_whole


def pack(path: Path, recordings: Mapping[str, Path], texts: Mapping[str, str], title: str) -> None:
    """Write a zip that is the same for the same content: sorted, stored, with fixed times and modes.

    Args:
        path: zip to write; it appears only when it is complete.
        recordings: member name → file.
        texts: member name → text, written first.
        title: name on the progress bar.
    """
    with file_written_whole(path) as part, zipfile.ZipFile(part, "w") as packed:
        for member, text in sorted(texts.items()):
            packed.writestr(fixed_entry(member), text)
        for member, file in tqdm(sorted(recordings.items()), desc=title, unit=" recordings", disable=len(recordings) < 100, leave=False):
            entry = fixed_entry(member)
            entry.file_size = file.stat().st_size  # decides about zip64, which Python writes in other bytes since 3.11.4
            with file.open("rb") as source, packed.open(entry, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)


def fixed_entry(member: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    """An entry of a zip with fixed time, system and mode, so that the bytes depend only on the content.

    Args:
        member: name of the entry.
        mode: Unix mode of the file.
    """
    entry = zipfile.ZipInfo(member, date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = mode << 16
    entry.create_system = 3
    return entry
