"""The files of a repository on the Hugging Face hub at a revision.

``HF_ENDPOINT`` names another server with the same layout.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from urllib.parse import quote

from ser.download.transfer import read_text
from ser.runtime.disk import TransferError
from ser.runtime.files import OF_ANOTHER_FORM


@dataclass(frozen=True)
class Revision:
    """A repository at a commit: its files, and the sha256 of those in large-file storage."""

    commit: str
    files: frozenset[str]
    sha256: dict[str, str]


def endpoint() -> str:
    """Address of the hub."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def address(repository: str, commit: str, name: str) -> str:
    """Address of a file at a commit."""
    return f"{endpoint()}/{quote(repository)}/resolve/{quote(commit)}/{quote(name)}"


def listing(repository: str, revision: str) -> str:
    """Address of the list of a repository's files."""
    return f"{endpoint()}/api/models/{quote(repository)}/revision/{quote(revision)}?blobs=true"


def look_up(repository: str, revision: str) -> Revision:
    """The files of a repository at a commit or branch.

    Raises:
        TransferError: if the hub does not answer, or answers with something else.
    """
    text = read_text(listing(repository, revision))
    try:
        answer = json.loads(text)
        commit, entries = str(answer["sha"]), [dict(entry) for entry in answer["siblings"]]
        files = frozenset(str(entry["rfilename"]) for entry in entries)
        sums = {str(entry["rfilename"]): str(entry["lfs"]["sha256"]) for entry in entries if entry.get("lfs")}
    except OF_ANOTHER_FORM as error:
        raise TransferError(f"the hub's answer is not a list of files: {error!r}") from None
    if not re.fullmatch(r"[0-9a-f]{40}", commit) or not all(re.fullmatch(r"[0-9a-f]{64}", one) for one in sums.values()):
        raise TransferError(f"the hub's answer has no commit of 40 or no sha256 of 64 hexadecimal digits (commit {commit[:60]!r})")
    return Revision(commit, files, sums)
