"""One module per corpus: how a name in an archive becomes labels. This is where they are told apart.

To add a corpus: its entry in ``params.yaml``, its codes in ``vocabulary.csv``, a module with ``labels``, and a line in ``labels`` below.
A corpus of another name without a module is read as the user's own recordings are: a ``labels.csv`` in its archive, or folders
``label/speaker/recording`` (``ser.corpora.folder``).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ser import SerError
from ser.corpora import asvp_esd, emodb, folder, joint, ravdess, shemo
from ser.corpora.archives import open_archive
from ser.corpora.labels import Recording, Reject, vocabulary
from ser.params.corpora import Corpus

__all__ = ["NAMED", "Found", "Recording", "Reject", "labels", "list_recordings"]

NAMED = ("ravdess", "asvp_esd_v1", "asvp_esd_v2", "shemo", "emodb")
"""Corpora whose names hold their labels; so do those of the synthetic kind, in RAVDESS' codes."""


@dataclass(frozen=True)
class Found:
    """One recording of the task in an archive.

    Attributes:
        clip: its id, unique in the corpus and the same in every run: path of the member.
        archive: packed file it lies in.
        member: its name there.
        recording: its labels.
    """

    clip: str
    archive: Path
    member: str
    recording: Recording


def labels(corpus_name: str, member: str, edition: str = "official") -> Recording | Reject:
    """Labels from the member's name alone, for ``demo`` and the corpora of ``NAMED``.

    Raises:
        SerError: if the corpus has no such rule, or the edition is none of its own.
    """
    _check_edition(corpus_name, edition)
    match corpus_name:
        case "ravdess" | "demo":
            return ravdess.labels(member, corpus_name)
        case "asvp_esd_v1" | "asvp_esd_v2":
            return asvp_esd.labels(member, corpus_name)
        case "shemo":
            return shemo.labels(member, edition)
        case "emodb":
            return emodb.labels(member)
    raise SerError(f"{corpus_name}: names of this corpus hold no labels; known: demo, {', '.join(NAMED)}")


def list_recordings(name: str, corpus: Corpus, raw: Path) -> tuple[list[Found], list[Reject]]:
    """Everything found in a corpus' archives: recordings of the task, sorted by clip, and the rest with reasons, sorted by path.

    Files found = recordings + rejects. An empty ``labels.classes`` takes every label.

    Args:
        name: key of the corpus in ``params.yaml``.
        corpus: its source and labels.
        raw: what the download stage wrote, ``data/raw/<name>``.

    Raises:
        SerError: if the download is missing, a class is unknown, or no recording is left.
        ser.corpora.archives.ArchiveError: if an archive cannot be read.
    """
    found, rejects = _list(name, corpus, raw)
    _check_classes(name, corpus, found)
    if corpus.labels.classes:
        outside = [one for one in found if one.recording.emotion not in corpus.labels.classes]
        found = [one for one in found if one.recording.emotion in corpus.labels.classes]
        rejects += [Reject("class_not_in_task", one.recording.emotion, one.clip) for one in outside]
    if not found:
        reasons = ", ".join(f"{reason} {count}" for reason, count in Counter(reject.reason for reject in rejects).most_common())
        raise SerError(f"{name}: no recording of the task in {raw} ({reasons or 'the archives are empty'}); is it the right archive?")
    return found, sorted(rejects, key=lambda reject: reject.path)


def _list(name: str, corpus: Corpus, raw: Path) -> tuple[list[Found], list[Reject]]:
    """Recordings of every class."""
    source = _source(name, raw)
    if corpus.source.kind == "joint":
        return _list_joint(corpus.source.members, source, raw)
    layout = _layout(name, corpus)
    _check_edition(layout, corpus.labels.edition)
    found: list[Found] = []
    rejects: list[tuple[Path, str, Reject]] = []
    for archive_name in sorted(entry["name"] for entry in source["archives"]):
        path = raw / archive_name
        with open_archive(path) as archive:
            labelled = folder.labelled_members(archive) if layout == "folder" else {}
            for member in archive.members():
                if layout == "folder" and Path(member.name).name == folder.TABLE:
                    continue  # our own table, not something found
                if member.problem is not None:
                    told: Recording | Reject = Reject(*member.problem)
                elif layout == "folder":
                    told = folder.labels(member.name, labelled)
                else:
                    told = labels(layout, member.name, corpus.labels.edition)
                if isinstance(told, Reject):
                    rejects.append((path, member.name, told))
                else:
                    clip = asvp_esd.short(member.name) if layout.startswith("asvp_esd") else member.name
                    found.append(Found(clip, path, member.name, replace(told, corpus=name)))
    return _unique(found, rejects)


def _list_joint(members: Iterable[str], source: dict, raw: Path) -> tuple[list[Found], list[Reject]]:
    """Recordings of all members, under their name; how each is read was written down by the download."""
    found: list[Found] = []
    rejects: list[Reject] = []
    for member in sorted(members):
        corpus = Corpus.model_validate(source["members"][member])
        layout = _layout(member, corpus)
        vocabulary_of = "asvp_esd" if layout.startswith("asvp_esd") else layout
        member_found, member_rejects = _list(member, corpus, raw / member)
        found += [
            replace(one, clip=f"{member}/{one.clip}", recording=joint.join(member, vocabulary_of, one.recording)) for one in member_found
        ]
        rejects += [replace(reject, path=f"{member}/{reject.path}") for reject in member_rejects]
    return sorted(found, key=lambda one: one.clip), rejects


def _unique(found: list[Found], rejects: list[tuple[Path, str, Reject]]) -> tuple[list[Found], list[Reject]]:
    """Names that occur in several archives (or under several roots) get the archive's name before them."""
    count = Counter([one.clip for one in found] + [member for _, member, _ in rejects])
    clips = [one if count[one.clip] == 1 else replace(one, clip=f"{one.archive.name}/{one.member}") for one in found]
    paths = [replace(reject, path=member if count[member] == 1 else f"{path.name}/{member}") for path, member, reject in rejects]
    return sorted(clips, key=lambda one: one.clip), paths


def _layout(name: str, corpus: Corpus) -> str:
    """Whose rules the archive's inside follows."""
    match corpus.source.kind:
        case "synthetic":
            return "demo"
        case "folder":
            return "folder"
    return name if name in NAMED else "folder"


def _source(name: str, raw: Path) -> dict:
    try:
        return json.loads((raw / "source.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SerError(f"{raw / 'source.json'} not found: run the download stage for {name} first") from None


def _check_edition(layout: str, edition: str) -> None:
    allowed = ("corrected", "filename") if layout == "shemo" else ("official",)
    if edition not in allowed:
        raise SerError(f"{layout}: labels.edition is {edition!r}; this corpus has {' and '.join(allowed)}")


def _check_classes(name: str, corpus: Corpus, found: list[Found]) -> None:
    """A class that cannot occur is a slip of the pen, and would otherwise pass as a class without clips."""
    layout = "joint" if corpus.source.kind == "joint" else _layout(name, corpus)
    if layout in ("folder", "joint"):
        known = sorted({one.recording.emotion for one in found})
    else:
        known = list(vocabulary("asvp_esd" if layout.startswith("asvp_esd") else layout).values())
    if unknown := [emotion for emotion in corpus.labels.classes if emotion not in known]:
        raise SerError(f"corpora.{name}.labels.classes: {', '.join(unknown)} does not occur in this corpus; it has: {', '.join(known)}")
