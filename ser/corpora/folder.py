"""The user's own recordings: a table (path, label, speaker; gender and language if known) or folders
``label/speaker/recording``.

The download packs them into a stored zip with their table inside. So the later stages treat them as any
corpus, and a run can be repeated after the folder has changed. The archives of a corpus that has no module in
the catalogue are read in the same two layouts.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath

from ser import SerError
from ser.corpora.archives import Archive, readable, unkept
from ser.corpora.checksums import crc32
from ser.corpora.labels import AUDIO, Recording, Reject, not_audio
from ser.corpora.names import EMOTIONS, check_spellings, clean, is_hidden
from ser.corpora.packing import pack
from ser.params.corpora import Folder
from ser.runtime import files
from ser.runtime.machine import at_home
from ser.runtime.text import csv_line

ARCHIVE = "recordings.zip"
TABLE = "labels.csv"
"""The table's name inside the archive."""
MOST_TABLE = 256 << 20
"""Bytes of a user's table that are read at most."""
NEEDED = ("path", "label", "speaker")
OPTIONAL = ("gender", "language")
_GENDER = {"": "", "f": "female", "female": "female", "m": "male", "male": "male"}
_SUFFIXES = ", ".join(suffix.removeprefix(".") for suffix in AUDIO)
HOW = (
    "two ways: a CSV with the columns path, label, speaker (gender, language if known), named in `table`; "
    f"or folders label/speaker/recording.wav ({_SUFFIXES})"
)
"""How to lay out own recordings, for messages."""


def write_archive(path: Path, name: str, source: Folder) -> None:
    """Pack the recordings, sorted and stored, with fixed times: the same folder gives the same bytes.

    Only recordings are packed, none of the folder's other files.

    Raises:
        SerError: if the folder or a recording of the table is missing, the table has gaps, two names differ
            in spelling only, or there are fewer than two labels.
    """
    recordings, labelled = _labelled(name, source)
    pack(path, recordings, {TABLE: _table(labelled)}, f"{name}: packing")


def changes(path: Path, name: str, source: Folder, remembered: Path) -> str | None:
    """How the user's folder differs from the archive that was packed from it: by names, sizes and checksums.

    Args:
        path: the archive.
        name: the corpus, for messages.
        source: the folder.
        remembered: list of checksums that need not be computed again.

    Returns:
        A phrase such as ``50 recordings added, 1 changed``. None if nothing differs, or if the folder or the archive is not here, as
        on a machine that pulled the archive.

    Raises:
        SerError: as ``write_archive``, if the folder could not be packed as it is.
    """
    if not path.exists() or not root_of(source).is_dir():
        return None
    recordings, labelled = _labelled(name, source)
    with zipfile.ZipFile(path) as packed:
        before = {entry.filename: entry for entry in packed.infolist() if entry.filename != TABLE}
        same_labels = packed.read(TABLE).decode() == _table(labelled)
    added, removed = recordings.keys() - before.keys(), before.keys() - recordings.keys()
    both = {member: file for member, file in recordings.items() if member in before}
    changed = sum(checksum != before[member].CRC for member, checksum in crc32(both, remembered).items())
    counts = {"added": len(added), "removed": len(removed), "changed": changed}
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    if parts:
        count, what = parts[0].split()
        return ", ".join([f"{count} recording{'s' if count != '1' else ''} {what}", *parts[1:]])
    return None if same_labels else "other labels or speakers"


def root_of(source: Folder) -> Path:
    """The folder that holds the recordings.

    ``dvc exp run --temp`` and ``--queue`` run in a copy of the repository below its ``.dvc/tmp/exps``. The copy has only files that git
    or DVC track. A relative path is therefore looked up in the repository itself if the copy does not have it.
    """
    given = at_home(source.path)
    if given.is_absolute() or given.is_dir():
        return given
    for above in Path.cwd().parents:
        if above.parts[-3:] == (".dvc", "tmp", "exps"):
            return above.parents[2] / given
    return given


def _labelled(name: str, source: Folder) -> tuple[dict[str, Path], dict[str, Recording]]:
    """Files by member name, and the labels of those that have some."""
    root = root_of(source)
    if not root.is_dir():
        raise SerError(f"{name}: the folder {root} does not exist; set corpora.{name}.source.path. {HOW}")
    found: dict[str, Path] = {}
    for file in sorted(Path(above, one) for above, names in files.folders(str(root), is_hidden, _cannot_be_read) for one in names):
        member = readable(file.relative_to(root).as_posix())
        if found.setdefault(member, file) != file:
            raise SerError(f"{name}: two files in {root} are both called {member} once their names are read as text; rename one")
    recordings = {member: file for member, file in found.items() if not_audio(member) is None}
    if absent := [str(file) for file in recordings.values() if not file.is_file()]:
        raise SerError(f"{name}: {_some(absent)}: no regular file, or a link that leads to none; put the recording there, or remove it")
    for member in recordings:
        if why := unkept(member):
            raise SerError(f"{name}: {root / member!s}: {why}; rename it")
    if not recordings:
        raise SerError(f"{name}: no recording in {root} (of {len(found)} files). {HOW}")
    if source.table is None:
        labelled = tree(recordings, rooted=True)
        if not labelled:
            raise SerError(f"{name}: {root} holds {len(recordings)} recordings, none of them as label/speaker/recording. {HOW}")
        check_order(labelled.values(), str(root))
    else:
        table = root / source.table
        labelled = read_table(_text(table, name), str(table), root)
        if unknown := sorted(labelled.keys() - recordings.keys()):
            listed = ", ".join(unknown[:5]) + (" …" if len(unknown) > 5 else "")
            raise SerError(f"{table}: {len(unknown)} of {len(labelled)} paths are not recordings ({_SUFFIXES}) in {root}: {listed}")
    if len({recording.emotion for recording in labelled.values()}) < 2:
        raise SerError(f"{name}: {root} has one label only; a classifier needs recordings of two or more")
    _check_names(labelled, str(root))
    return recordings, labelled


def _cannot_be_read(error: OSError) -> None:
    raise SerError(f"{error.filename}: this folder of recordings cannot be read: {error.strerror}")


def labelled_members(archive: Archive) -> dict[str, Recording]:
    """Labels of an archive's members by their name: from its ``labels.csv`` (beside them or at the top), else
    from ``label/speaker/…``.

    Raises:
        SerError: if the table cannot be read, two labels or two speakers differ in spelling only, or the folders are the wrong way round.
    """
    names = [member.name for member in archive.members() if member.problem is None]
    tables = sorted((name for name in names if PurePosixPath(name).name == TABLE), key=lambda name: (name.count("/"), name))
    if not tables:
        labelled = tree(names)
        check_order(labelled.values(), str(archive.path))
    else:
        top = tables[0].removesuffix(TABLE)
        text = archive.read(tables[0]).decode("utf-8-sig", errors="replace")
        labelled = {top + path: recording for path, recording in read_table(text, f"{archive.path}: {tables[0]}").items()}
    _check_names(labelled, str(archive.path))
    return labelled


def labels(member: str, labelled: Mapping[str, Recording]) -> Recording | Reject:
    """The labels of a member, or the reason why it has none."""
    if reject := not_audio(member):
        return reject
    if recording := labelled.get(member):
        return recording
    if not all(clean(part) for part in member.split("/")[:-1]):
        return Reject("nameless", "the name of a folder above it shows nothing, so it is neither a label nor a speaker")
    return Reject("not_in_table", f"no row of {TABLE} and no label/speaker/ folders name it")


def tree(members: Iterable[str], rooted: bool = False) -> dict[str, Recording]:
    """Labels from the folders ``label/speaker/…/recording``.

    Args:
        members: paths of files. Those that are not recordings, lie less deep, or have a label or speaker
            without a visible name get no labels.
        rooted: labels are the uppermost folders; otherwise folders that all recordings share are taken for
            the archive's root.
    """
    paths = {member: PurePosixPath(member).parts for member in members if not_audio(member) is None}
    shared = 0
    while not rooted and len({parts[shared] for parts in paths.values()}) == 1 and all(len(parts) > shared + 3 for parts in paths.values()):
        shared += 1
    named = {member: (clean(parts[shared]), clean(parts[shared + 1])) for member, parts in paths.items() if len(parts) >= shared + 3}
    return {member: Recording(emotion=label, speaker=speaker) for member, (label, speaker) in named.items() if label and speaker}


def check_order(labelled: Collection[Recording], where: str) -> None:
    """Refuse folders that look like ``speaker/label/``: a network would learn who speaks.

    Raises:
        SerError: if two or more speakers are all called like emotions, and no label is.
    """
    labels, speakers = ({getattr(one, what) for one in labelled} for what in ("emotion", "speaker"))
    called = {name for name in labels | speakers if EMOTIONS & set(re.split(r"[\W\d_]+", name.casefold()))}
    if len(speakers) > 1 and speakers <= called and not labels & called:
        raise SerError(
            f"{where}: folders are read as label/speaker/, so the labels would be {_some(labels)} and the speakers {_some(speakers)}: "
            f"this looks like speaker/label/. Exchange the two levels; or, if it is right as it is, name both in a table ({TABLE})"
        )


def _some(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (" …" if len(names) > 5 else "")


def read_table(text: str, where: str, root: Path | None = None) -> dict[str, Recording]:
    """Rows of a table by their path, with ``/`` between its parts; comma, semicolon or tab between columns.

    Args:
        text: the CSV with a header line.
        where: name of the table in messages.
        root: absolute paths are taken relative to it; None refuses them.

    Raises:
        SerError: naming missing columns, or the line of an empty field, a path twice, one outside the folder,
            or an unknown gender.
    """
    header = text.lstrip("\ufeff").split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        columns = {(column or "").strip().lower(): column for column in rows.fieldnames or []}
        if missing := [column for column in NEEDED if column not in columns]:
            raise SerError(
                f"{where} lacks the column {', '.join(missing)}; found: {', '.join(columns) or 'nothing'}; needed: {', '.join(NEEDED)}"
            )
        labelled: dict[str, Recording] = {}
        for row in rows:
            fields = {column: (row.get(columns[column]) or "").strip() if column in columns else "" for column in NEEDED + OPTIONAL}
            fields |= {column: clean(fields[column]) for column in ("label", "speaker", "language")}
            if empty := [column for column in NEEDED if not fields[column]]:
                raise SerError(f"{where}, line {rows.line_num}: {', '.join(empty)} is empty; each recording needs path, label and speaker")
            gender = _GENDER.get(fields["gender"].lower())
            if gender is None:
                raise SerError(f"{where}, line {rows.line_num}: gender {fields['gender']!r}; allowed: female, male or nothing")
            path = _inside(fields["path"], root)
            if path is None:
                raise SerError(f"{where}, line {rows.line_num}: {fields['path']!r} lies outside the folder; give paths relative to it")
            if path in labelled:
                raise SerError(f"{where}, line {rows.line_num}: {path} is listed twice")
            labelled[path] = Recording(emotion=fields["label"], speaker=fields["speaker"], gender=gender, language=fields["language"])
    except csv.Error as error:
        raise SerError(f"{where}, line {rows.line_num}: {error}") from None
    if not labelled:
        raise SerError(f"{where} has no rows")
    return labelled


def _check_names(labelled: Mapping[str, Recording], where: str) -> None:
    check_spellings((recording.emotion for recording in labelled.values()), "label", where)
    check_spellings((recording.speaker for recording in labelled.values()), "speaker", where)


def _inside(path: str, root: Path | None) -> str | None:
    pure = PurePosixPath(path.replace("\\", "/"))
    if pure.is_absolute():
        absolute = PurePosixPath(root.absolute().as_posix()) if root else None
        if absolute is None or not pure.is_relative_to(absolute):
            return None
        pure = pure.relative_to(absolute)
    return None if ".." in pure.parts or not pure.parts else pure.as_posix()


def _text(table: Path, name: str) -> str:
    try:
        return files.text(table, MOST_TABLE)
    except FileNotFoundError:
        raise SerError(f"{name}: the table {table} does not exist; corpora.{name}.source.table is relative to the folder. {HOW}") from None


def _table(labelled: Mapping[str, Recording]) -> str:
    lines = [csv_line(NEEDED + OPTIONAL)]
    for path, recording in sorted(labelled.items()):
        member = path if path == path.strip() else f"./{path}"  # readers drop blanks at the start of a field
        lines.append(csv_line([member, recording.emotion, recording.speaker, recording.gender, recording.language]))
    return "".join(lines)
