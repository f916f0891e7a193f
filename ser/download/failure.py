"""What a user is told when an archive cannot be fetched: which one, from where, why, and the ways out."""

from __future__ import annotations

from dataclasses import dataclass

from ser import SerError
from ser.download import mirror as mirrors
from ser.params.corpora import Links, Zenodo
from ser.runtime.disk import TransferError


class FetchError(SerError):
    """An archive that could not be fetched: which, from where, why, and what to do.

    Attributes:
        corpus: key in ``params.yaml`` of the corpus it belongs to.
        unreachable: there was no way to the host at all, as on a machine without a network.
    """

    def __init__(self, message: str, corpus: str, unreachable: bool = False):
        super().__init__(message)
        self.corpus = corpus
        self.unreachable = unreachable


@dataclass(frozen=True)
class Wanted:
    """An archive to fetch: name, official address, ``md5:…`` or ``sha256:…``, bytes; None where unknown."""

    name: str
    url: str | None
    checksum: str | None
    size: int | None = None


def failure(
    name: str, given: Zenodo | Links, mirror: str | None, what: str, where: str, why: Exception, missing: list[Wanted], hint: str = ""
) -> FetchError:
    """The error to raise, with its message.

    Args:
        name: key of the corpus in ``params.yaml``.
        given: where the corpus is published.
        mirror: the mirror that is set, or None.
        what: archive or list that could not be fetched.
        where: address or folder that was asked.
        why: the reason.
        missing: archives that the user could bring by hand; empty where their names are not known.
        hint: one more way out.
    """
    ways = [*_by_hand(name, mirror, missing), *_elsewhere(given, missing), *([hint] if hint else [])]
    lines = [
        f"{name}: {what} could not be fetched",
        f"  from: {where}",
        f"  why: {why}",
        "  ways out:",
        *(f"  - {way}" for way in ways),
        "  - run it again: finished archives are kept, and an interrupted transfer resumes",
    ]
    return FetchError("\n".join(lines), name, unreachable=isinstance(why, TransferError) and why.unreachable)


def _by_hand(name: str, mirror: str | None, missing: list[Wanted]) -> list[str]:
    """Where in a mirror the user can put the archives."""
    holder = mirror or "<folder>"
    setting = (
        " (the mirror is tried first)"
        if mirror
        else ", and set SER_MIRROR=<folder> (or runtime.mirror in params.yaml; a folder or an http(s) address)"
    )
    if missing:
        return [f"put it at {mirrors.place(holder, name, one.name)}{setting}" for one in missing]
    return [f"put the zip or tar archives of this record, named as they are, into {mirrors.place(holder, name, '')}{setting}"]


def _elsewhere(given: Zenodo | Links, missing: list[Wanted]) -> list[str]:
    """Where the user finds the archives."""
    if isinstance(given, Zenodo):
        return [f"they are on the page https://zenodo.org/records/{given.record}"]
    links = [f"{one.name} is at {one.url}" for one in missing if one.url]
    if given.kaggle:
        links.append(f"or Kaggle's {given.kaggle}: pip install kagglehub, and your token in ~/.kaggle/kaggle.json")
    return links
