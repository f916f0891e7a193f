"""The user's own recordings."""

from __future__ import annotations

import contextlib
import errno
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser import SerError
from ser.corpora import folder
from ser.corpora.archives import open_archive
from ser.corpora.labels import Recording
from ser.corpora.names import clean, is_hidden
from ser.params.corpora import Folder

TREE = ("happy/ada/1.wav", "happy/ben/1.FLAC", "sad/ada/deeper/2.ogg", "sad/ben/2.mp3")


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def packed(root: Path, table: str | None = None) -> dict[str, Recording]:
    archive_path = root.parent / "packed.zip"
    folder.write_archive(archive_path, "folder", Folder(kind="folder", path=str(root), table=table))
    with open_archive(archive_path) as archive:
        return folder.labelled_members(archive)


def test_folders_become_labels(tmp_path: Path) -> None:
    root = made(tmp_path / "mine", *TREE, "notes.txt", "stray.wav", "happy/no speaker.wav", ".hidden/x/y.wav/.wav")
    assert packed(root) == {
        "happy/ada/1.wav": Recording("happy", "ada"),
        "happy/ben/1.FLAC": Recording("happy", "ben"),
        "sad/ada/deeper/2.ogg": Recording("sad", "ada"),
        "sad/ben/2.mp3": Recording("sad", "ben"),
    }
    with zipfile.ZipFile(tmp_path / "packed.zip") as archive:
        assert archive.namelist() == ["labels.csv", "happy/ada/1.wav", "happy/ben/1.FLAC", "happy/no speaker.wav", *TREE[2:], "stray.wav"]
        assert archive.read("sad/ben/2.mp3") == b"sad/ben/2.mp3"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_a_table_becomes_labels(tmp_path: Path, delimiter: str, start: str) -> None:
    root = made(tmp_path / "mine", "a.wav", "deep/er/b.flac", "c.wav")
    absolute = str((root / "c.wav").absolute())
    rows = [
        ["Speaker", "path", " Label", "gender", "note"],
        ["ada", "./a.wav", "happy", "F", ""],
        ["ben", "deep\\er\\b.flac", "traurig, sehr" if delimiter != "," else "traurig", "", "x"],
        ["cem", absolute, "happy", "male", ""],
    ]
    (root / "table.csv").write_text(start + "\n".join(delimiter.join(row) for row in rows) + "\n", encoding="utf-8")
    assert packed(root, "table.csv") == {
        "a.wav": Recording("happy", "ada", gender="female"),
        "c.wav": Recording("happy", "cem", gender="male"),
        "deep/er/b.flac": Recording(rows[2][2], "ben"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the column path, label, speaker; found: nothing; needed: path, label, speaker"),
        ("path,emotion\na.wav,happy\n", "lacks the column label, speaker; found: path, emotion"),
        ("path,label,speaker\n", "has no rows"),
        ("path,label,speaker\na.wav,happy,ada\nb.wav,sad,\n", "line 3: speaker is empty"),
        ("path,label,speaker\na.wav,,\n", "line 2: label, speaker is empty"),
        ("path,label,speaker\na.wav\n", "line 2: label, speaker is empty"),
        ("path,label,speaker\na.wav,happy,ada\n./a.wav,sad,ada\n", "line 3: a.wav is listed twice"),
        ("path,label,speaker\n../a.wav,happy,ada\n", "'../a.wav' lies outside the folder"),
        ("path,label,speaker\n/etc/a.wav,happy,ada\n", "'/etc/a.wav' lies outside the folder"),
        ("path,label,speaker,gender\na.wav,happy,ada,x\n", "gender 'x'; allowed: female, male or nothing"),
        ("path,label,speaker\na.wav,happy,ada\nx.wav,sad,ben\ny.wav,sad,ben\n", "2 of 3 paths are not recordings .*: x.wav, y.wav"),
        ("path,label,speaker\na.wav,happy,ada\nnotes.txt,sad,ben\n", "1 of 2 paths are not recordings .*: notes.txt"),
        ("path,label,speaker\na.wav,happy,ada\nb.wav,happy,ben\n", "one label only; a classifier needs recordings of two or more"),
        ('path,label,speaker\n"a.wav,happy,ada\n', "unexpected end of data"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    root = made(tmp_path / "mine", "a.wav", "b.wav", "notes.txt")
    (root / "table.csv").write_text(text)
    with pytest.raises(SerError, match=message):
        packed(root, "table.csv")


def test_a_table_that_is_not_there_or_not_in_utf8(tmp_path: Path) -> None:
    root = made(tmp_path / "mine", "a.wav")
    with pytest.raises(SerError, match=r"table\.csv does not exist; corpora\.folder\.source\.table is relative to the folder"):
        packed(root, "table.csv")
    (root / "table.csv").write_bytes("path,label,speaker\nä.wav".encode("latin-1"))
    with pytest.raises(SerError, match="is not written in UTF-8"):
        packed(root, "table.csv")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "does not exist; set corpora.folder.source.path. two ways: a CSV with the columns path, label, speaker"),
        (("notes.txt",), r"no recording in .* \(of 1 files\)"),
        (("a.wav", "happy/b.wav"), "holds 2 recordings, none of them as label/speaker/recording"),
        (("happy/ada/a.wav", "happy/ben/b.wav", "c.wav"), "one label only"),
        (
            ("ada/Angry/a.wav", "ada/very sad/b.wav", "ben/Angry/c.wav", "ben/02_calm/d.wav"),
            "the labels would be ada, ben and the speakers 02_calm, Angry, very sad: this looks like speaker/label/",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(SerError, match=message):
        packed(made(tmp_path / "mine", *names))


@pytest.mark.parametrize(
    "names",
    [
        ("yes/ada/a.wav", "no/joy/b.wav"),  # one of the speakers has such a name
        ("happy/joy/a.wav", "sad/joy/b.wav", "sad/grace/c.wav"),
        ("sad/joy/a.wav", "happy/love/b.wav"),  # the labels are emotions too
        ("a/joy/1.wav", "b/joy/2.wav"),  # a single speaker
    ],
)
def test_speakers_with_such_names_are_no_mistake(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert set(packed(made(tmp_path / "mine", *names))) == set(names)


def test_folders_the_wrong_way_round_in_an_archive_are_named_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("ada/angry/a.wav", "ben/sad/b.wav"):
            archive.writestr(name, name)
    with open_archive(tmp_path / "x.zip") as opened, pytest.raises(SerError, match=r"x\.zip: .*speaker/label/"):
        folder.labelled_members(opened)


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for order in (TREE, TREE[::-1]):
        root = made(tmp_path / f"{order[0][:3]}/mine", *order)
        packed(root)
        contents.append((root.parent / "packed.zip").read_bytes())
    assert contents[0] == contents[1]


def test_one_label_that_has_folders_below_its_speakers_is_still_one_label(tmp_path: Path) -> None:
    with pytest.raises(SerError, match="one label only"):
        packed(made(tmp_path / "mine", "happy/ada/monday/1.wav", "happy/ben/tuesday/1.wav"))


def test_a_folder_in_another_encoding(tmp_path: Path) -> None:
    root = made(tmp_path / "mine", *TREE)
    try:
        (root / "sad" / b"w\xfctend".decode("utf-8", "surrogateescape")).mkdir()
        (root / "sad" / b"w\xfctend".decode("utf-8", "surrogateescape") / "1.wav").write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert packed(root)["sad/wütend/1.wav"].speaker == "wütend"


PART = st.text(st.characters(exclude_characters="/\\", exclude_categories=("Cs", "Cc")), min_size=1).filter(
    lambda text: clean(text) and not is_hidden(text) and "." not in (text[0], clean(text)[0])  # hidden as a folder or as a file
)


@given(st.lists(st.tuples(PART, PART, PART), min_size=1, max_size=8, unique=True))
def test_any_tree_under_any_roots(parts: list[tuple[str, str, str]]) -> None:
    flat = {f"{label}/{speaker}/{name}.wav": (clean(label), clean(speaker)) for label, speaker, name in parts}
    for root in ("", "a/", "a/b/"):
        found = folder.tree([root + member for member in flat])
        if len({label for label, _ in flat.values()}) > 1:
            assert {member: (one.emotion, one.speaker) for member, one in found.items()} == {
                root + member: labels for member, labels in flat.items()
            }
    assert {member: (one.emotion, one.speaker) for member, one in folder.tree(flat, rooted=True).items()} == flat


@given(st.text())
def test_no_table_ends_in_anything_but_our_error(text: str) -> None:
    for content in (text, "path,label,speaker\n" + text):
        with contextlib.suppress(SerError):
            found = folder.read_table(content, "table")
            assert found
            assert all(one.emotion and one.speaker for one in found.values())


def test_two_names_that_become_one_are_refused(tmp_path):
    """A name in Latin-1 and the same name in UTF-8: one of the files would be missing without a word."""
    for label in ("happy", "sad"):
        (tmp_path / label / "s1").mkdir(parents=True)
        for name in (b"\xe9.wav", "é.wav".encode()):
            with open(os.fsencode(tmp_path / label / "s1") + b"/" + name, "wb") as file:
                file.write(name)
    with pytest.raises(SerError, match=r"mine: two files in .* are both called happy/s1/é.wav .*; rename one"):
        folder.write_archive(tmp_path / "x.zip", "mine", Folder(kind="folder", path=str(tmp_path)))


@pytest.mark.parametrize("label", [" joy", "\u00a0joy", "joy ", "'joy", '"joy"', "joy,so", "joy;so", "=joy", "- joy"])
def test_odd_names_of_folders_come_back_as_they_went_in(tmp_path: Path, label: str) -> None:
    root = made(tmp_path / "mine", f"{label}/ada/1.wav", f"{label}/ben/ 2.wav", "sad/ada/1.wav", "sad/ben/line\nbreak.wav")
    found = packed(root)
    assert {member: (one.emotion, one.speaker) for member, one in found.items()} == {
        f"{label}/ada/1.wav": (clean(label), "ada"),
        f"{label}/ben/ 2.wav": (clean(label), "ben"),
        "sad/ada/1.wav": ("sad", "ada"),
        "sad/ben/line\nbreak.wav": ("sad", "ben"),
    }


@pytest.mark.parametrize(
    ("name", "why"), [("1:/ada/x.wav", "a drive"), ("a\\b/ada/x.wav", "a backslash"), ("joy/ada/c\rr.wav", "a carriage return")]
)
def test_names_that_no_archive_keeps_are_refused(tmp_path: Path, name: str, why: str) -> None:
    root = made(tmp_path / "mine", name, *TREE)
    with pytest.raises(SerError, match=f"(?s){why}.*rename it"):
        packed(root)


def test_folders_behind_links_are_packed_once(tmp_path: Path) -> None:
    root = made(tmp_path / "mine", *TREE)
    made(tmp_path / "elsewhere", "3.wav", "deep/4.wav")
    (root / "sad/cem").symlink_to(tmp_path / "elsewhere")
    (root / "sad/ada/round").symlink_to(root)
    assert set(packed(root)) == {*TREE, "sad/cem/3.wav", "sad/cem/deep/4.wav"}


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scan = made(tmp_path / "mine", *TREE), os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("ben"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(SerError, match=r"mine/(happy|sad)/ben: this folder of recordings cannot be read: Permission denied"):
        packed(root)


def test_a_folder_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    root = made(tmp_path / "mine", *TREE)
    assert folder.root_of(Folder(kind="folder", path="~/mine", table=None)) == root


@pytest.mark.parametrize("kind", ["broken link", "pipe", "loop"])
def test_what_is_called_a_recording_and_is_none_is_named(tmp_path: Path, kind: str) -> None:
    root = made(tmp_path / "mine", *TREE)
    odd = root / "sad/ada/odd.wav"
    os.mkfifo(odd) if kind == "pipe" else odd.symlink_to("odd.wav" if kind == "loop" else "nowhere")
    with pytest.raises(SerError, match=r"sad/ada/odd\.wav: no regular file, or a link that leads to none"):
        packed(root)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("pipe", "pipe: no regular file"),
        ("/dev/zero", "/dev/zero: no regular file"),
        ("a\0b", "no file can have this name"),
        ("sad", "sad: a folder"),
    ],
)
def test_a_table_that_is_no_file_is_one_message(tmp_path: Path, table: str, said: str) -> None:
    root = made(tmp_path / "mine", *TREE)
    os.mkfifo(root / "pipe")
    with pytest.raises(SerError, match=said):
        packed(root, table)


def test_a_table_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MOST_TABLE", 10)
    root = made(tmp_path / "mine", *TREE)
    (root / "table.csv").write_text("path,label,speaker\n")
    with pytest.raises(SerError, match=r"table\.csv has more than 10 bytes"):
        packed(root, "table.csv")
