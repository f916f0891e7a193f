"""Write, copy, verify and lock files. A file or folder appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from ser import SerError
from ser.runtime.locks import UNTOUCHED, claimed

BLOCK = 1 << 20

_HINTS = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, or set SER_CACHE_DIR or TMPDIR to another disk")
_HINTS |= dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "this needs a place that can be read and written")
_HINTS |= dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "a file lies where a folder is needed")
_HINTS[errno.ENOTEMPTY] = "another process has written there; run one at a time"
_HINTS |= {
    errno.EISDIR: "a folder lies where a file is needed",
    errno.ELOOP: "a link lies where a file is needed; remove it",
    errno.ENAMETOOLONG: "use a shorter name",
}
_HINTS |= dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit with `ulimit -n`, or run less at once")
_HINTS |= dict.fromkeys((errno.EIO, errno.ESTALE, errno.EFBIG), "the disk cannot do this; check it, or use another one")
"""Error number of the system → what to do about it."""


class TransferError(SerError):
    """A file could not be fetched or written; the message gives the reason only, not what to do.

    Attributes:
        status: HTTP status of the server's answer, if that was the reason.
        unreachable: the host could not be reached at all.
    """

    def __init__(self, message: str, status: int | None = None, unreachable: bool = False):
        super().__init__(message)
        self.status = status
        self.unreachable = unreachable


def hashes(path: Path) -> dict[str, str]:
    """md5 and sha256 of a file, in hex."""
    sums = _Sums()
    with path.open("rb") as stream, bar(f"checking {path.name}", path.stat().st_size, 0) as progress:
        while block := stream.read(BLOCK):
            sums.update(block)
            progress.update(len(block))
    return sums.hex()


def verify(path: Path, checksum: str | None) -> dict[str, str]:
    """The file's hashes, after a check against ``md5:…`` or ``sha256:…``.

    Raises:
        TransferError: if they differ; it names both sums.
    """
    return _agree(hashes(path), checksum, path.stat().st_size)


def whole(path: Path, checksum: str) -> dict[str, str] | None:
    """Hashes of the file if it exists and has this checksum, else None."""
    try:
        return verify(path, checksum) if path.is_file() else None
    except TransferError:
        return None


def copy(source: Path, target: Path, *, checksum: str | None, title: str) -> dict[str, str]:
    """Copy a file; the target appears at once, whole and verified. Returns its hashes.

    Raises:
        TransferError: if the checksum differs, or the disk has too little space.
    """
    size = source.stat().st_size
    check_room(target.parent, size)
    sums = _Sums()
    with file_written_whole(target) as part:
        with no_room_told(part), source.open("rb") as read, part.open("wb") as write, bar(title, size, 0) as progress:
            while block := read.read(BLOCK):
                write.write(block)
                sums.update(block)
                progress.update(len(block))
        return _agree(sums.hex(), checksum, size)


def owned(root: Path, name: str) -> Path:
    """The folder ``root/name``, which a stage may fill and clear.

    Call it again right before anything is removed.

    Raises:
        SerError: if the name is not a plain name of a folder, or ``root/name`` is a link or lies elsewhere than
            directly in ``root``.
    """
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise SerError(f"{name!r} is not a name of a folder in {root}")
    folder = root / name
    if folder.resolve() != root.resolve() / name:
        raise SerError(f"{folder} is a link or lies elsewhere: nothing is written or removed there; remove the link, or link all of {root}")
    return folder


class _Sums:
    """md5 and sha256, block by block."""

    def __init__(self) -> None:
        self._known = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}

    def update(self, block: bytes) -> None:
        for known in self._known.values():
            known.update(block)

    def hex(self) -> dict[str, str]:
        return {name: known.hexdigest() for name, known in self._known.items()}


def _agree(sums: dict[str, str], checksum: str | None, size: int) -> dict[str, str]:
    if checksum is not None:
        kind, _, wanted = checksum.partition(":")
        if sums[kind] != wanted:
            raise TransferError(f"its {kind} is {sums[kind]} ({size} bytes); expected {wanted}")
    return sums


@contextmanager
def file_written_whole(target: Path, *, shared: bool = False) -> Iterator[Path]:
    """A path beside ``target`` for a new file, which replaces ``target`` when the block ends without error.

    Readers see the old file or the new one, both complete, even after a power failure. After an error the new
    file is removed.

    Args:
        target: file to write; its folder exists.
        shared: several processes or threads may write this file at once, so that each needs a path of its own.

    Raises:
        SerError: if it is not shared, and another process is writing it.
    """
    part = target.with_name(f"{target.name}.{os.getpid()}-{threading.get_native_id()}.part" if shared else f"{target.name}.part")
    with _as_target(part, target), _cleared(part) if shared else claimed(part, target, folder=False):
        with place_named(target):
            yield part
        if not shared and part.stat().st_mtime_ns == UNTOUCHED:
            raise FileNotFoundError(errno.ENOENT, "nothing was written", str(part))
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(part, target)


@contextmanager
def written_whole(folder: str | Path) -> Iterator[Path]:
    """A new folder beside ``folder``, which replaces ``folder`` when the block ends without an error.

    So a folder of that name holds all of a run's output. After an error the new folder is removed, and the
    old one stays.

    Raises:
        SerError: if another process is writing it, or it is a link to a folder elsewhere.
    """
    folder = Path(folder)
    if folder.is_symlink():
        raise SerError(f"{folder} is a link, which would be replaced by a folder here: remove it, or link all of {folder.parent}")
    partial = folder.with_name(f".{folder.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with claimed(partial, folder, folder=True):
        with place_named(folder):
            yield partial
        if folder.is_dir():  # in the place of anything else the system refuses a folder, with a reason
            _remove(folder)
        with _as_target(partial, folder):
            partial.rename(folder)


@contextmanager
def _cleared(part: Path) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def _as_target(part: Path, target: Path) -> Iterator[None]:
    """Name the file that a person knows in errors of its part."""
    try:
        yield
    except OSError as error:
        if error.filename == str(part):
            error.filename = str(target)
        raise


def _remove(folder: Path) -> None:
    """Remove a folder with all in it; its error names the folder, and not a file relative to somewhere within."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:  # another process removes it, too
        shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        error.filename = str(folder)
        raise


def check_room(folder: Path, size: int) -> None:
    """Check the free space before a file is written.

    Raises:
        TransferError: if the folder's file system has less than ``size`` bytes free.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise TransferError(f"not enough space in {folder}: {_megabytes(size)} needed, {_megabytes(free)} free")


@contextmanager
def no_room_told(part: Path, note: str = "") -> Iterator[None]:
    """Turn the disk's write errors into a TransferError with the reason, the free space and a note."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        free = _megabytes(shutil.disk_usage(part.parent).free)
        raise TransferError(f"{part} cannot be written: {error.strerror} ({free} free){note}") from None


@contextmanager
def place_named(path: Path) -> Iterator[None]:
    """Name the file in the errors of this block: the system does not, when a write fails."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _HINTS:
            error.filename = str(path)
        raise


def disk_error(error: OSError) -> str | None:
    """What a person can do about an error of the disk, in one line; None for an error of another kind."""
    hint = _HINTS.get(error.errno or 0)
    if hint is None:
        return None
    place = Path(error.filename or ".")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = next(folder for folder in place.absolute().parents if folder.is_dir())
        hint = f"{_megabytes(shutil.disk_usage(folder).free)} free; {hint}"
    return f"{error.filename or 'a file'}: {error.strerror} ({hint})"


def bar(title: str, whole: int | None, have: int) -> tqdm:
    """Progress bar with size, rate and time left; hidden below 16 MiB, which finish at once."""
    small = whole is not None and whole < 16 * BLOCK
    return tqdm(desc=title, total=whole, initial=have, unit="B", unit_scale=True, unit_divisor=1024, disable=small, leave=False)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
