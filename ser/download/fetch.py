"""Fetch the archives of a corpus into ``data/raw/<corpus>/``, packed and verified, and write ``source.json``.

It tries the mirror first, then archives kept from an earlier run, the official address (for Zenodo as its API
names it) and Kaggle. ``source.json`` names the bytes and not where they came from: the same bytes give the
same file on every machine.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser import SerError
from ser.corpora import folder
from ser.download.failure import FetchError
from ser.download.record import entry_of, source_record
from ser.download.sources import Published
from ser.params.corpora import SYNTHETIC_NOTICE, Corpus, Folder, Joint, Links, Synthetic, Zenodo
from ser.runtime.disk import file_written_whole, owned, whole
from ser.runtime.files import OF_ANOTHER_FORM, text

__all__ = ["FetchError", "fetch", "obstacle"]

_LOG = logging.getLogger(__name__)
MOST_TOLD = 16 << 20
"""Bytes that ``source.json`` may have."""


def fetch(
    name: str, corpus: Corpus, raw: Path, *, mirror: str | None, cache: Path, corpora: Mapping[str, Corpus] | None = None
) -> dict[str, Any]:
    """Fill ``raw/<name>`` with the archives of the corpus and ``source.json`` (docs/data.md), and remove the
    rest.

    ``source.json`` is removed first and written last, so that a folder that has one is whole. Only verified
    archives replace others.

    Args:
        name: key of the corpus in ``params.yaml``; also its folder in a mirror.
        corpus: its source and labels.
        raw: ``data/raw``; made if needed.
        mirror: folder or address that is tried first; None for none.
        cache: folder outside the repository; its folder ``archives`` keeps archives for later runs.
        corpora: all corpora of ``params.yaml``, among which a joint corpus finds its members.

    Returns:
        The content of ``source.json``.

    Raises:
        FetchError: if an archive cannot be fetched; a rerun resumes.
        SerError: if the user's own recordings cannot be used as they are, or ``raw/<name>`` is not a folder
            of its own.
    """
    target, kept = owned(raw, name), owned(cache / "archives", name)
    target.mkdir(parents=True, exist_ok=True)
    before = _read(target / "source.json")
    (target / "source.json").unlink(missing_ok=True)
    given = corpus.source
    if isinstance(given, Synthetic):
        from ser.corpora import demo  # only this corpus needs the synthesiser

        demo.write_archive(target / demo.ARCHIVE, given)
        source = source_record(name, [entry_of(target, demo.ARCHIVE, None, "synthetic")], [SYNTHETIC_NOTICE])
    elif isinstance(given, Folder):
        folder.write_archive(target / folder.ARCHIVE, name, given)
        source = source_record(name, [entry_of(target, folder.ARCHIVE, None, "folder")], ["the user's own recordings"])
    elif isinstance(given, Joint):
        source = _fetch_joint(name, given, target, mirror, cache, corpora or {})
    else:
        try:
            source = Published(name, given, target, mirror, kept).fetch()
        except FetchError as error:
            if not error.unreachable or not _still_here(before, given, target):
                raise
            _LOG.warning("%s\nusing the archives in %s (%s), which match its source.json", error, target, before["edition"])
            source = before
    source["source"] = given.model_dump()
    _clear(raw, name, {entry["name"].split("/")[0] for entry in source["archives"]})
    with file_written_whole(target / "source.json") as part:
        part.write_text(json.dumps(source, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return source


def obstacle(name: str, corpus: Corpus, raw: Path, *, mirror: str | None, cache: Path) -> FetchError | None:
    """Why a published corpus cannot be fetched now, within seconds and without fetching anything.

    It only checks whether the archives are in the mirror or kept, or whether their host answers. Arguments
    are those of ``fetch``.

    Returns:
        An error such as ``fetch`` would raise. None where there is no known obstacle, and for corpora that
        are made here or joined.
    """
    if isinstance(corpus.source, Synthetic | Folder | Joint):
        return None
    return Published(name, corpus.source, owned(raw, name), mirror, owned(cache / "archives", name)).obstacle()


def _still_here(before: dict[str, Any], given: Zenodo | Links, target: Path) -> bool:
    """Whether an earlier run, or ``dvc pull``, left the whole corpus here.

    Without a network that is enough.
    """
    if before.get("source") != given.model_dump():
        return False
    try:
        archives = [(target / str(entry["name"]), str(entry["sha256"])) for entry in before["archives"]]
        return bool(str(before["edition"])) and all(whole(path, f"sha256:{sha256}") for path, sha256 in archives)
    except (SerError, *OF_ANOTHER_FORM):
        return False


def _fetch_joint(name: str, given: Joint, target: Path, mirror: str | None, cache: Path, corpora: Mapping[str, Corpus]) -> dict[str, Any]:
    """Fetch every member into a folder of its own, and record how to read it: later stages see only the joint
    corpus.
    """
    archives: list[dict[str, Any]] = []
    editions: list[str] = []
    members = {member: corpora[member] for member in sorted(given.members)}
    if nested := [member for member, corpus in members.items() if isinstance(corpus.source, Joint)]:
        raise SerError(f"corpora.{name}.source.members: {', '.join(nested)} is joint itself; name its members instead")
    for member, corpus in members.items():
        source = fetch(member, corpus, target, mirror=mirror, cache=cache)
        archives += [{**entry, "name": f"{member}/{entry['name']}"} for entry in source["archives"]]
        editions.append(f"{member}: {source['edition']}")
    return source_record(name, archives, editions) | {"members": {member: corpus.model_dump() for member, corpus in members.items()}}


def _clear(raw: Path, name: str, wanted: set[str]) -> None:
    """Remove what an earlier run with other settings left in the corpus' own folder, and nothing elsewhere."""
    for path in sorted(owned(raw, name).iterdir()):
        if path.name not in wanted:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _read(path: Path) -> dict[str, Any]:
    """What an earlier run wrote; empty if the file is missing or broken."""
    try:
        told = json.loads(text(path, MOST_TOLD))
    except (SerError, FileNotFoundError, *OF_ANOTHER_FORM):
        return {}
    return told if isinstance(told, dict) else {}
