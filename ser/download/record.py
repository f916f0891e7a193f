"""What was fetched: ``source.json``, which later stages show as the edition of a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser.runtime.disk import hashes

OFFICIAL = "official"
"""Edition whose bytes are those that the publisher names."""


def entry_of(target: Path, name: str, url: str | None, origin: str, sums: Mapping[str, str] | None = None) -> dict[str, Any]:
    """One archive in ``source.json``; ``origin`` says whose bytes they are: official, mirror, kaggle,
    synthetic or folder.
    """
    path = target / name
    sums = sums or hashes(path)
    return {"name": name, "url": url, "size": path.stat().st_size, "md5": sums["md5"], "sha256": sums["sha256"], "from": origin}


def source_record(name: str, archives: list[dict[str, Any]], editions: list[str]) -> dict[str, Any]:
    """Content of ``source.json``; of several editions those that are not the official one are named."""
    special = [edition for edition in dict.fromkeys(editions) if edition != OFFICIAL]
    return {"corpus": name, "edition": "; ".join(special) or OFFICIAL, "archives": archives}
