"""Every file in the archives of a corpus: a recording of the task with its labels, or rejected for a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ser import SerError
from ser.corpora import folder, joint
from ser.corpora.archives import Member, open_archive
from ser.corpora.catalogue import catalogue
from ser.corpora.description import Description
from ser.corpora.labels import Recording, Reject, not_audio
from ser.params.corpora import Corpus, Folder, Joint, Source, Synthetic
from ser.runtime.reading import read_json
from ser.runtime.text import run_first


@dataclass(frozen=True)
class Found:
    """One recording of the task in an archive.

    Attributes:
        clip: its id, unique in the corpus and the same in every run: path of the member.
        archive: packed file that holds it.
        member: its name there.
        recording: its labels.
    """

    clip: str
    archive: Path
    member: str
    recording: Recording


def describe(name: str, source: Source) -> Description | None:
    """The description by which a corpus is read, or None for the user's own recordings and joint corpora.

    A corpus that no module of the catalogue describes is read as the user's own: a ``labels.csv`` in its archive, or folders
    ``label/speaker/recording`` (``ser.corpora.folder``).
    """
    if isinstance(source, Synthetic):
        return catalogue()["demo"]
    return None if isinstance(source, Folder | Joint) else catalogue().get(name)


def labels(name: str, member: str, edition: str = "official") -> Recording | Reject:
    """Labels from the member's path alone, for a corpus of the catalogue.

    Raises:
        SerError: if the corpus has no description, or no such edition.
    """
    described = catalogue().get(name)
    if described is None:
        raise SerError(f"{name}: names of this corpus hold no labels; known: {', '.join(catalogue())}")
    _check_edition(name, described, edition)
    return _parsed(name, described, member, edition)


def check_labels(name: str, corpora: Mapping[str, Corpus]) -> None:
    """Check ``labels`` of a corpus without its archives, so that a misspelt class stops a run before the download.

    Args:
        name: key of the corpus in ``params.yaml``.
        corpora: all corpora there; a joint corpus has the classes of its members.

    Raises:
        SerError: if the corpus has no such edition, or its description has no such class.
    """
    corpus = corpora[name]
    if isinstance(corpus.source, Joint):
        for member in corpus.source.members:
            check_labels(member, corpora)
        described_members = [described for member in corpus.source.members if (described := describe(member, corpora[member].source))]
        if len(described_members) == len(corpus.source.members):  # classes of the user's own recordings are known once they are read
            words = (member.common.get(word, word) for member in described_members for word in member.classes.values())
            _check_classes(name, corpus, dict.fromkeys(words))
        return
    described = describe(name, corpus.source)
    _check_edition(name, described, corpus.labels.edition)
    if described is not None:
        _check_classes(name, corpus, described.classes.values())


def _check_edition(name: str, described: Description | None, edition: str) -> None:
    """Raise SerError if the corpus has no such label edition; the user's own recordings have ``official`` only."""
    allowed = tuple(described.editions) if described is not None else ("official",)
    if edition not in allowed:
        raise SerError(f"{name}: labels.edition is {edition!r}; this corpus has {' and '.join(allowed)}")


def list_recordings(name: str, corpus: Corpus, raw: Path) -> tuple[list[Found], list[Reject]]:
    """Recordings of the task, sorted by clip, and all other files with the reason, sorted by path.

    Files in the archives = recordings + rejects. An empty ``labels.classes`` takes every label.

    Args:
        name: key of the corpus in ``params.yaml``.
        corpus: its source and labels.
        raw: what the download stage wrote, ``data/raw/<name>``.

    Raises:
        SerError: if the download is missing, a class is unknown, or no recording is left.
        ser.corpora.archives.ArchiveError: if an archive cannot be read.
    """
    found, rejects = _list(name, corpus, raw)
    described = describe(name, corpus.source)
    _check_classes(name, corpus, described.classes.values() if described else sorted({one.recording.emotion for one in found}))
    if corpus.labels.classes:
        wanted = frozenset(corpus.labels.classes)
        rejects += [Reject("class_not_in_task", one.recording.emotion, one.clip) for one in found if one.recording.emotion not in wanted]
        found = [one for one in found if one.recording.emotion in wanted]
    if not found:
        reasons = ", ".join(f"{reason} {count}" for reason, count in Counter(reject.reason for reject in rejects).most_common())
        raise SerError(f"{name}: no recording of the task in {raw} ({reasons or 'the archives are empty'}); is it the right archive?")
    return found, sorted(rejects, key=lambda reject: reject.path)


def _list(name: str, corpus: Corpus, raw: Path, fetched_for: str | None = None) -> tuple[list[Found], list[Reject]]:
    """Recordings of every class; ``fetched_for`` is the joint corpus whose download wrote ``raw``, if it is one's."""
    source = _source(fetched_for or name, raw, ["members"] if isinstance(corpus.source, Joint) else ["archives"])
    if isinstance(corpus.source, Joint):
        return _list_joint(name, corpus.source.members, source, raw)
    described, edition = describe(name, corpus.source), corpus.labels.edition
    _check_edition(name, described, edition)
    found: list[Found] = []
    rejects: list[tuple[Path, str, Reject]] = []
    for archive_name in sorted(entry["name"] for entry in source["archives"]):
        path = raw / archive_name
        with open_archive(path) as archive:
            members = archive.members()
            labelled = folder.labelled_members(archive) if described is None else {}
        for member in members:
            if described is None and PurePosixPath(member.name).name == folder.TABLE:
                continue  # the table of labels, which is not a file of the corpus
            told = _problem(member) or (
                folder.labels(member.name, labelled) if described is None else _parsed(name, described, member.name, edition)
            )
            if isinstance(told, Reject):
                rejects.append((path, member.name, told))
            else:
                clip = member.name if described is None else described.clip(member.name)
                found.append(Found(clip, path, member.name, replace(told, corpus=name)))
    return _unique(found, rejects)


def _problem(member: Member) -> Reject | None:
    return None if member.problem is None else Reject(*member.problem)


def _parsed(name: str, described: Description, member: str, edition: str) -> Recording | Reject:
    told = not_audio(member) or described.editions[edition](member)
    return replace(told, corpus=name) if isinstance(told, Recording) else told


def _list_joint(name: str, members: Iterable[str], source: dict, raw: Path) -> tuple[list[Found], list[Reject]]:
    """Recordings of all members, under their names. The download wrote down how to read each member."""
    found: list[Found] = []
    rejects: list[Reject] = []
    for member in sorted(members):
        corpus = Corpus.model_validate(source["members"][member])
        described = describe(member, corpus.source)
        member_found, member_rejects = _list(member, corpus, raw / member, name)
        found += [replace(one, clip=f"{member}/{one.clip}", recording=joint.join(member, described, one.recording)) for one in member_found]
        rejects += [replace(reject, path=f"{member}/{reject.path}") for reject in member_rejects]
    return sorted(found, key=lambda one: one.clip), rejects


def _unique(found: list[Found], rejects: list[tuple[Path, str, Reject]]) -> tuple[list[Found], list[Reject]]:
    """Put the archive's name before names that occur in several archives, or under several roots of one."""
    count = Counter([one.clip for one in found] + [member for _, member, _ in rejects])
    clips = [one if count[one.clip] == 1 else replace(one, clip=f"{one.archive.name}/{one.member}") for one in found]
    paths = [replace(reject, path=member if count[member] == 1 else f"{path.name}/{member}") for path, member, reject in rejects]
    return sorted(clips, key=lambda one: one.clip), paths


def _source(name: str, raw: Path, keys: list[str]) -> dict:
    try:
        return read_json(raw / "source.json", "download", name, keys)
    except FileNotFoundError:
        raise SerError(run_first(raw / "source.json", f"download@{name}")) from None


def _check_classes(name: str, corpus: Corpus, known: Iterable[str]) -> None:
    """Refuse a class that cannot occur: it is misspelt, and would otherwise count as a class without clips."""
    known = list(known)
    if unknown := [emotion for emotion in corpus.labels.classes if emotion not in known]:
        raise SerError(f"corpora.{name}.labels.classes: {', '.join(unknown)} does not occur in this corpus; it has: {', '.join(known)}")
