"""The files of a record on Zenodo, from its API: names, sizes, checksums and links."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser.download.transfer import read_text
from ser.runtime.disk import TransferError, file_written_whole
from ser.runtime.files import OF_ANOTHER_FORM

API = "https://zenodo.org/api/records"


@dataclass(frozen=True)
class RecordFile:
    """One file of a record: name, bytes, ``md5:…``, address."""

    name: str
    size: int
    checksum: str
    url: str


def address(record: int) -> str:
    """Where the API describes a record."""
    return f"{API}/{record}"


def record_files(record: int, remembered: Path) -> list[RecordFile]:
    """Files of a record, sorted by name.

    A published record never changes its files (a change makes a new record), so the answer is kept in
    ``remembered`` and not asked twice.

    Raises:
        TransferError: if the API does not answer, or its answer has another form than documented.
    """
    try:
        text, new = remembered.read_text(encoding="utf-8"), False
    except FileNotFoundError:
        text, new = read_text(address(record)), True
    try:
        files = sorted((_file(entry) for entry in json.loads(text)["files"]), key=lambda file: file.name)
    except OF_ANOTHER_FORM as error:
        remembered.unlink(missing_ok=True)
        raise TransferError(f"the answer does not describe a record's files ({type(error).__name__}: {error})") from None
    if new:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        with file_written_whole(remembered, shared=True) as part:
            part.write_text(text, encoding="utf-8")
    return files


def _file(entry: dict[str, Any]) -> RecordFile:
    name, size, checksum = entry["key"], entry["size"], entry["checksum"]
    url = entry["links"].get("content") or entry["links"]["self"]
    if not isinstance(name, str) or not re.fullmatch(r"[^/\\\x00-\x1f]+", name) or name in (".", ".."):
        raise ValueError(f"{name!r} is not a file name")
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"size {size!r} of {name}")
    if not isinstance(checksum, str) or not re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", checksum):
        raise ValueError(f"checksum {checksum!r} of {name}")
    if not isinstance(url, str) or not re.match(r"https?://", url):
        raise ValueError(f"link {url!r} of {name}")
    return RecordFile(name, size, checksum, url)
