"""A mirror: a folder or an http(s) address with ``<corpus>/<archive>``, tried before the official address.

``<archive>.md5`` beside an archive marks an edition of the mirror's own, for example re-encoded. It replaces
the official checksum.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urljoin

from ser.download.transfer import ask, download, read_text
from ser.params.corpora import SUFFIXES
from ser.runtime.disk import TransferError, copy
from ser.runtime.machine import at_home

MOST_SUM = 4096
"""Bytes of a file with a checksum that are read; the checksum is at its beginning."""


def place(mirror: str, corpus: str, name: str) -> str:
    """Path or address of an archive in the mirror, for messages."""
    return f"{mirror.rstrip('/')}/{corpus}/{name}"


def listed(mirror: str, corpus: str) -> list[str]:
    """Archives that a mirror holds for a corpus, sorted; an address must show a listing of its folder (as
    most file servers do).

    Raises:
        TransferError: if the address fails for another reason than a missing folder.
    """
    if not _is_address(mirror):
        folder = at_home(mirror) / corpus
        names = [file.name for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
    else:
        page = _text(place(mirror, corpus, ""))
        names = _links(page, place(mirror, corpus, "")) if page is not None else []
    return sorted(name for name in names if name.lower().endswith(SUFFIXES))


def own_checksum(mirror: str, corpus: str, name: str, kind: Literal["md5", "sha256"] = "md5") -> str | None:
    """``md5:…`` (or ``sha256:…``) of the mirror's own edition, or None where it claims none.

    Raises:
        TransferError: if the checksum file does not begin with a checksum of this kind, or the address fails.
    """
    beside = f"{name}.{kind}"
    where = place(mirror, corpus, beside)
    if _is_address(mirror):
        text = _text(_quoted(mirror, corpus, beside))
    else:
        file = at_home(mirror) / corpus / beside
        text = _beginning(file) if file.is_file() else None
    if text is None:
        return None
    digits = {"md5": 32, "sha256": 64}[kind]
    match = re.match(rf"\s*\\?([0-9a-fA-F]{{{digits}}})(\s|$)", text)
    if match is None:
        article = "an" if kind == "md5" else "a"
        raise TransferError(f"{where} does not begin with {article} {kind} of {digits} hexadecimal digits")
    return f"{kind}:{match[1].lower()}"


def _beginning(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.read(MOST_SUM).decode("utf-8", errors="replace")


def bring(mirror: str, corpus: str, name: str, target: Path, checksum: str | None) -> dict[str, str] | None:
    """Copy or fetch an archive, verified; its hashes, or None where the mirror does not hold it.

    Raises:
        TransferError: if the mirror has it but the transfer fails, or the checksum differs.
    """
    title = f"{corpus}: {name} from the mirror"
    if not _is_address(mirror):
        source = at_home(mirror) / corpus / name
        return copy(source, target, checksum=checksum, title=title) if source.is_file() else None
    try:
        return download(_quoted(mirror, corpus, name), target, checksum=checksum, title=title)
    except TransferError as error:
        if error.status == 404:
            return None
        raise


def has(mirror: str, corpus: str, name: str) -> bool:
    """Whether a mirror has an archive, without fetching it; with an empty name,
    whether it has any (for an address: whether the folder of the corpus answers).

    Raises:
        TransferError: if an address does not answer within seconds, or fails otherwise than by not having it.
    """
    if not _is_address(mirror):
        return (at_home(mirror) / corpus / name).is_file() if name else bool(listed(mirror, corpus))
    try:
        ask(_quoted(mirror, corpus, name))
    except TransferError as error:
        if error.status == 404 or (error.status == 403 and not name):
            return False
        raise
    return True


def _is_address(mirror: str) -> bool:
    return mirror.startswith(("http://", "https://"))


def _quoted(mirror: str, corpus: str, name: str) -> str:
    return f"{mirror.rstrip('/')}/{quote(corpus)}/{quote(name)}"


def _text(url: str) -> str | None:
    try:
        return read_text(url)
    except TransferError as error:
        if error.status in (403, 404):
            return None
        raise


class _Anchors(HTMLParser):
    """Collects the targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def _links(page: str, base: str) -> list[str]:
    """Names of the files that a listing links to in its own folder; a link elsewhere keeps a slash."""
    anchors = _Anchors()
    anchors.feed(page)
    resolved = [urljoin(base, target).split("?")[0].split("#")[0] for target in anchors.targets]
    names = [unquote(url.removeprefix(base)) for url in resolved]
    return sorted({name for name in names if name and "/" not in name and "\\" not in name})
