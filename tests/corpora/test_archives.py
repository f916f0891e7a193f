from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import multiprocessing
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser.corpora import archives, packing
from ser.corpora.archives import ArchiveError, Member, MemberError, open_archive

NOISE = bytes((i * 7919 >> 3) & 255 for i in range(5000))


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return path


def tarred(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as packed:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))
    return path


def problems(path: Path) -> dict[str, str | None]:
    with open_archive(path) as archive:
        return {member.name: member.problem[0] if member.problem else None for member in archive.members()}


@pytest.mark.parametrize(
    "pack",
    [
        zipped,
        lambda path, members: zipped(path, members, zipfile.ZIP_STORED),
        lambda path, members: zipped(path, members, zipfile.ZIP_LZMA),
        tarred,
        lambda path, members: tarred(path, members, "w:gz"),
        lambda path, members: tarred(path, members, "w:bz2"),
        lambda path, members: tarred(path, members, "w:xz"),
    ],
    ids=["deflated", "stored", "lzma", "tar", "tar.gz", "tar.bz2", "tar.xz"],
)
def test_members_are_sorted_and_read_where_they_lie(tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path]) -> None:
    members = {"b/2.wav": NOISE, "a/1.wav": b"", "./c.wav": b"c"}
    path = pack(tmp_path / "archive", members)
    with open_archive(path) as archive:
        assert archive.members() == [Member("a/1.wav", 0), Member("b/2.wav", 5000), Member("c.wav", 1)]
        assert archive.read("b/2.wav") == NOISE
        assert archive.read("a/1.wav") == b""
        assert archive.read("c.wav") == b"c"
        with pytest.raises(KeyError):
            archive.read("d.wav")
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_no_members_and_an_empty_archive_has_none(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.mkdir("folder")
    assert problems(tmp_path / "a.zip") == {}
    assert problems(tarred(tmp_path / "a.tar", {})) == {}


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(
    "name", ["/etc/passwd", "line\rend.wav", "../../up.wav", "a/../../up.wav", "a/..", "C:/x.wav", "C:\\x.wav", "..\\up.wav"]
)
def test_paths_that_lead_out_are_refused(tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path], name: str) -> None:
    path = pack(tmp_path / "archive", {name: b"evil", "good.wav": b"good"})
    found = problems(path)
    if pack is tarred and "\\" in name and not name.startswith("C:"):
        assert found == {name: None, "good.wav": None}  # in a tar a backslash is a character like others
        return
    assert sorted(found.values(), key=str) == [None, "unsafe_path"]
    bad = next(member for member, problem in found.items() if problem)
    with open_archive(path) as archive, pytest.raises(MemberError) as told:
        archive.read(bad)
    assert told.value.reason == "unsafe_path"


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for name, mode in (("link.wav", 0o120777), ("device.wav", 0o060666), ("file.wav", 0o100644)):
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, mode << 16
            packed.writestr(entry, "/etc/passwd")
    assert problems(tmp_path / "a.zip") == {"device.wav": "not_a_file", "file.wav": None, "link.wav": "link"}

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("s.wav", tarfile.SYMTYPE), ("h.wav", tarfile.LNKTYPE), ("d.wav", tarfile.CHRTYPE), ("f.wav", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert problems(tmp_path / "a.tar") == {"d.wav": "not_a_file", "f.wav": "not_a_file", "h.wav": "link", "s.wav": "link"}


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"secret.wav": NOISE, "open.wav": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # flag of the central directory's first entry
    path.write_bytes(data)
    assert problems(path) == {"secret.wav": "encrypted", "open.wav": None}


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"bomb.wav": bytes(10 << 20), "short silence.wav": bytes(100_000)})
    assert problems(path) == {"bomb.wav": "bomb", "short silence.wav": None}


def test_a_bomb_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBER", 4000)
    for path in (
        zipped(tmp_path / "a.zip", {"big.wav": NOISE, "a.wav": b"x"}),
        tarred(tmp_path / "a.tar", {"big.wav": NOISE, "a.wav": b"x"}),
    ):
        assert problems(path) == {"a.wav": None, "big.wav": "bomb"}


@pytest.mark.parametrize(("bound", "value"), [("MAX_TOTAL", 6000), ("MAX_MEMBERS", 1)])
def test_an_archive_beyond_all_measure_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int) -> None:
    path = zipped(tmp_path / "a.zip", {"1.wav": NOISE, "2.wav": NOISE})
    monkeypatch.setattr(archives, bound, value)
    with pytest.raises(ArchiveError, match="it is not read"), open_archive(path):
        pass


def test_a_compressed_tar_cannot_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL", 1000)
    for name, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        path = tmp_path / f"a.tar.{name}"
        path.write_bytes(pack(bytes(50 << 20)))
        with pytest.raises(ArchiveError, match="200 times its size"), open_archive(path):
            pass


def test_a_lie_about_the_size_is_no_more_than_damage(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.wav": NOISE}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\1\2")
    for claimed in (10, 40_000):
        data[central + 24 : central + 28] = struct.pack("<I", claimed)
        path.write_bytes(data)
        with open_archive(path) as archive, pytest.raises(MemberError) as told:
            archive.read("a.wav")
        assert told.value.reason == "damaged"


def test_a_damaged_member_does_not_spoil_its_neighbours(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = zipped(tmp_path / "a.zip", {"bad.wav": NOISE, "good.wav": b"good"}, method)
        data = bytearray(path.read_bytes())
        data[60:80] = bytes(20)
        path.write_bytes(data)
        with open_archive(path) as archive:
            assert archive.read("good.wav") == b"good"
            with pytest.raises(MemberError) as told:
                archive.read("bad.wav")
        assert told.value.reason == "damaged"


def test_names_in_other_encodings_survive(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"خشم.wav": b"1", "Zorn/wütend.wav": b"2", "b\u00e4.wav": b"3"})
    assert set(problems(path)) == {"خشم.wav", "Zorn/wütend.wav", "bä.wav"}
    data = path.read_bytes()
    data = data.replace("bä.wav".encode(), b"b\x81?.wav")  # code page 437, whose 0x81 is ü
    central = data.index(b"PK\1\2")
    flags = [i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"]
    assert central == flags[0]
    without = bytearray(data)
    for start in flags:
        without[start + 9] &= ~0x08  # nobody says that the names are UTF-8
    for start in (i for i in range(len(data)) if data[i : i + 4] == b"PK\3\4"):
        without[start + 7] &= ~0x08
    path.write_bytes(without)
    assert set(problems(path)) == {"خشم.wav", "Zorn/wütend.wav", "bü?.wav"}
    with open_archive(path) as archive:
        assert {archive.read(member.name) for member in archive.members()} == {b"1", b"2", b"3"}


def test_names_that_are_no_text_survive_in_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", encoding="latin-1") as tar:
        for name in ("wütend.wav", "fröhlich.wav"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    names = list(problems(path))
    assert names == ["fröhlich.wav", "wütend.wav"]
    assert all(name.encode("utf-8") for name in names)


def test_two_members_of_one_name_are_both_counted(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", {"a.wav": b"first", "b.wav": b"second", "c.wav": b"third"})
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"b.wav", b"a.wav").replace(b"c.wav", b"a.wav"))
    assert problems(tmp_path / "a.zip") == {"a.wav": None, "a.wav (2)": "duplicate_name", "a.wav (3)": "duplicate_name"}
    with open_archive(tmp_path / "a.zip") as archive:
        assert archive.read("a.wav") == b"first"


@pytest.mark.parametrize("data", [b"", b"PK", b"no archive at all", b"\x1f\x8b\x08broken", b"BZh9broken", b"\xfd7zXZ\0broken"])
def test_what_is_no_archive_says_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ArchiveError, match=r"a\.zip is not a whole zip or tar"), open_archive(tmp_path / "a.zip"):
        pass


@pytest.mark.parametrize("pack", [zipped, lambda path, members: tarred(path, members, "w:gz")], ids=["zip", "tar.gz"])
def test_a_cut_archive_says_so(tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path]) -> None:
    path = pack(tmp_path / "a.zip", {f"{i}.wav": NOISE for i in range(20)})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ArchiveError, match="not a whole zip or tar"), open_archive(path):
        pass


def test_a_missing_archive_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"a\.zip not found: run `dvc repro download` first"), open_archive(tmp_path / "a.zip"):
        pass


def test_an_error_of_the_reader_stays_its_own(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {})
    with pytest.raises(FileNotFoundError, match="mine"), open_archive(path):
        raise FileNotFoundError("mine")


def read_all(path: Path) -> list[bytes]:
    with open_archive(path) as archive:
        return [archive.read(member.name) for member in archive.members()]


def test_several_processes_read_one_archive(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {f"{i:02}.wav": NOISE[i:] for i in range(20)})
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(read_all, [path] * 4) == [[NOISE[i:] for i in range(20)]] * 4


@settings(max_examples=150)
@given(st.data())
def test_a_scribble_on_an_archive_never_ends_in_anything_but_our_errors(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("scribble")
    pack = data.draw(st.sampled_from([zipped, tarred]))
    path = pack(folder / "a", {"a.wav": NOISE[:300], "folder/b.wav": b"", "c.txt": b"text"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content))) or len(content)])
    try:
        with open_archive(path) as archive:
            for member in archive.members():
                with contextlib.suppress(MemberError):
                    assert len(archive.read(member.name)) == member.size
    except ArchiveError:
        pass


def test_our_own_archive_is_the_same_for_the_same_content(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(NOISE)
    packing.pack(tmp_path / "1.zip", {"b.wav": tmp_path / "x.wav", "a.wav": tmp_path / "x.wav"}, {"labels.csv": "path\n"}, "")
    (tmp_path / "x.wav").touch()
    packing.pack(tmp_path / "2.zip", {"a.wav": tmp_path / "x.wav", "b.wav": tmp_path / "x.wav"}, {"labels.csv": "path\n"}, "")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.zip") as packed:
        assert packed.namelist() == ["labels.csv", "a.wav", "b.wav"]
        assert packed.testzip() is None


def test_a_size_below_zero_is_damage(tmp_path):
    """A member of −1 bytes would be read to the end of the archive, and would make room for others below the bound of all."""
    head = tarfile.TarInfo("a.wav").tobuf()
    for size in (-1, -512):
        changed = bytearray(head)
        changed[124:136] = size.to_bytes(12, "big", signed=True)
        changed[148:156] = b" " * 8
        changed[148:156] = b"%06o\0 " % sum(changed[:512])
        (tmp_path / "x.tar").write_bytes(bytes(changed) + bytes(2048))
        with open_archive(tmp_path / "x.tar") as archive:
            (member,) = archive.members()
            assert (member.size, member.problem) == (0, ("damaged", f"claims {size} bytes"))
            with pytest.raises(MemberError, match="damaged"):
                archive.read(member.name)


def test_packed_recordings_are_the_same_bytes_for_every_python(tmp_path):
    """Python writes what might need zip64 in other bytes since 3.11.4."""
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    packing.pack(tmp_path / "mine.zip", {name: tmp_path / name for name in ("b.wav", "a.wav")}, {"labels.csv": "path,label\n"}, "mine")
    with zipfile.ZipFile(tmp_path / "mine.zip") as packed:
        assert [(entry.filename, entry.extract_version) for entry in packed.infolist()] == [
            ("labels.csv", 20),
            ("a.wav", 20),
            ("b.wav", 20),
        ]
        assert packed.read("b.wav") == b"b.wav" * 1000
