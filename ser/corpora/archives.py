"""Read members of foreign archives without unpacking them; no name, length or link in them is trusted.

>>> with open_archive(path) as archive:  # doctest: +SKIP
...     for member in archive.members():
...         if member.problem is None:
...             data = archive.read(member.name)
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ser import SerError
from ser.runtime.text import run_first

MAX_MEMBERS = 1_000_000
MAX_MEMBER = 1 << 30  # bytes: 90 minutes of 48 kHz stereo in 16 bit
MAX_TOTAL = 64 << 30
MAX_RATIO = 200  # unpacked over packed; speech deflates to about two thirds, FLAC not at all
SMALL = 1 << 20  # bytes; smaller members may have any ratio, since a second of silence shrinks a thousandfold

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    RuntimeError,  # zipfile: encrypted, or packed by a method it does not know
)
"""What the standard library raises on damaged archives."""


class ArchiveError(SerError):
    """An archive that cannot be used at all."""


class MemberError(SerError):
    """One member that cannot be read. ``reason`` and ``detail`` go into ``rejected.csv``."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: path with ``/`` between its parts, unique in the archive; ``Archive.read`` takes it.
        size: bytes when unpacked, as the archive says.
        problem: None, or (reason, detail): ``unsafe_path``, ``link``, ``not_a_file``, ``encrypted``,
            ``bomb``, ``damaged``, ``duplicate_name``.
    """

    name: str
    size: int
    problem: tuple[str, str] | None = None


class Archive:
    """An open zip or tar, made by ``open_archive``. Each process opens its own."""

    def __init__(self, path: Path, packed: zipfile.ZipFile | tarfile.TarFile):
        self.path = path
        self._packed = packed
        self._entries: dict[str, zipfile.ZipInfo | tarfile.TarInfo] = {}
        self._members: list[Member] = []
        self._numbers: dict[str, int] = {}  # name that occurs twice → last number given to a duplicate
        total = 0
        for count, (name, size, entry, problem) in enumerate(_entries(packed)):
            total += size
            if count >= MAX_MEMBERS or total > MAX_TOTAL:
                raise ArchiveError(f"{path} claims more than {MAX_MEMBERS} members or {MAX_TOTAL >> 30} GiB: it is not read")
            problem = _unsafe(name) or problem
            if name in self._entries:
                name, problem = self._free(name), ("duplicate_name", f"another member is called {name!r}; the first is read")
            self._entries[name] = entry
            self._members.append(Member(name, size, problem))
        self._members.sort(key=lambda member: member.name)
        self._problems = {member.name: member.problem for member in self._members if member.problem}

    def members(self) -> list[Member]:
        """All files of the archive, without folders, by name. Those with a ``problem`` cannot be read."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """The member's bytes, never more than it claimed to have.

        Raises:
            MemberError: if the member has a problem or is damaged.
            KeyError: if there is no such member.
        """
        entry = self._entries[name]
        if problem := self._problems.get(name):
            raise MemberError(*problem)
        size = entry.file_size if isinstance(entry, zipfile.ZipInfo) else entry.size
        try:
            with self._open(entry) as stream:
                data = stream.read(size)
                rest = stream.read(1)  # zipfile checks the CRC only at the end
        except _BROKEN as error:
            raise MemberError("damaged", f"{type(error).__name__}: {error}") from None
        if len(data) != size or rest:
            raise MemberError("damaged", f"{len(data)} bytes instead of the {size} that the archive names")
        return data

    def _open(self, entry: zipfile.ZipInfo | tarfile.TarInfo) -> IO[bytes]:
        if isinstance(self._packed, zipfile.ZipFile):
            assert isinstance(entry, zipfile.ZipInfo)
            return self._packed.open(entry)
        assert isinstance(entry, tarfile.TarInfo)
        stream = self._packed.extractfile(entry)
        if stream is None:
            raise ValueError("no regular file")
        return stream

    def _free(self, name: str) -> str:
        """A name that no member has yet. To count on from the last duplicate takes linear time for many."""
        number = self._numbers.get(name, 1) + 1
        while (free := f"{name} ({number})") in self._entries:
            number += 1
        self._numbers[name] = number
        return free


@contextmanager
def open_archive(path: str | Path) -> Iterator[Archive]:
    """Open a zip or tar by its content, for reading.

    A compressed tar has no index, so it is decompressed into one temporary file while it is open.

    Raises:
        ArchiveError: if it is missing, neither of both, cut off, or beyond the bounds above.
    """
    path = Path(path)
    with ExitStack() as opened:
        try:
            archive = Archive(path, _index(path, opened))
        except FileNotFoundError:
            raise ArchiveError(run_first(path, "download")) from None
        except _BROKEN as error:
            raise ArchiveError(f"{path} is not a whole zip or tar archive ({error}): remove it and fetch it again") from None
        yield archive


def _index(path: Path, opened: ExitStack) -> zipfile.ZipFile | tarfile.TarFile:
    if zipfile.is_zipfile(path):
        return opened.enter_context(zipfile.ZipFile(path))
    plain = opened.enter_context(_plain_tar(path))
    return opened.enter_context(tarfile.open(fileobj=plain, mode="r:", encoding="utf-8", errors="surrogateescape"))


@contextmanager
def _plain_tar(path: Path) -> Iterator[IO[bytes]]:
    """The tar itself, or what it unpacks to, as a temporary file."""
    with path.open("rb") as stream:
        head = stream.read(2)
        stream.seek(0)
        openers: dict[bytes, type[gzip.GzipFile] | type[bz2.BZ2File] | type[lzma.LZMAFile]] = {
            b"\x1f\x8b": gzip.GzipFile,
            b"BZ": bz2.BZ2File,
            b"\xfd7": lzma.LZMAFile,
        }
        opener = openers.get(head)
        if opener is None:
            yield stream
            return
    bound = min(MAX_TOTAL, max(SMALL, MAX_RATIO * path.stat().st_size))
    with tempfile.TemporaryFile() as room:
        with opener(path) as packed:
            total = 0
            while block := packed.read(1 << 20):
                total += len(block)
                if total > bound:
                    raise ArchiveError(f"{path} unpacks to more than {bound} bytes, {MAX_RATIO} times its size: it is not read")
                room.write(block)
        room.seek(0)
        yield room


def _entries(
    packed: zipfile.ZipFile | tarfile.TarFile,
) -> Iterator[tuple[str, int, zipfile.ZipInfo | tarfile.TarInfo, tuple[str, str] | None]]:
    """Name, size, entry and problem of everything that is not a folder, in the archive's order."""
    if isinstance(packed, zipfile.ZipFile):
        for info in packed.infolist():
            name = _zip_name(info)
            if not name.endswith("/"):
                yield name, info.file_size, info, _zip_problem(info)
        return
    for entry in packed:
        if not entry.isdir():
            name = readable(entry.name).removeprefix("./")
            yield name, max(0, entry.size) if entry.isreg() else 0, entry, _tar_problem(entry)


def _zip_problem(info: zipfile.ZipInfo) -> tuple[str, str] | None:
    kind = info.external_attr >> 28  # upper bits of the Unix mode, when a Unix packed it
    if info.create_system == 3 and kind not in (0, 0o10):
        return ("link", "symbolic link") if kind == 0o12 else ("not_a_file", "device or special file")
    if info.flag_bits & 0x1:
        return "encrypted", "the archive wants a password"
    if info.file_size > MAX_MEMBER:
        return "bomb", f"claims {info.file_size} bytes; at most {MAX_MEMBER} are read"
    if info.file_size > SMALL and info.file_size > MAX_RATIO * max(1, info.compress_size):
        return "bomb", f"{info.compress_size} packed bytes claim {info.file_size}; at most a ratio of {MAX_RATIO} is read"
    return None


def _tar_problem(entry: tarfile.TarInfo) -> tuple[str, str] | None:
    if entry.issym() or entry.islnk():
        return "link", f"link to {readable(entry.linkname)!r}"
    if not entry.isreg() or entry.issparse():
        return "not_a_file", "device, pipe or sparse file"
    if entry.size < 0:
        return "damaged", f"claims {entry.size} bytes"
    if entry.size > MAX_MEMBER:
        return "bomb", f"claims {entry.size} bytes; at most {MAX_MEMBER} are read"
    return None


def _unsafe(name: str) -> tuple[str, str] | None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/"):
        return "unsafe_path", "absolute path"
    if len(name) > 1 and name[1] == ":":
        return "unsafe_path", "absolute path: a colon in the second place stands for a drive"
    if ".." in parts:
        return "unsafe_path", "path leads out of its folder"
    if "\r" in name:
        return "unsafe_path", "a carriage return in its name, which ends a line of a table"
    return None


def unkept(name: str) -> str | None:
    """Why a file of this name would not come out of a zip as it went in; None if it would."""
    if "\\" in name:
        return "a backslash in a name separates folders in archives"
    return problem[1] if (problem := _unsafe(name)) else None


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The intended name: zipfile reads UTF-8 without a flag as code page 437; some packers write ``\\``."""
    name = info.filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename
    return name.replace("\\", "/").removeprefix("./")


def readable(name: str) -> str:
    """A name in valid UTF-8: other bytes (``surrogateescape``) become Latin-1, so that names stay distinct."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")
    return name
