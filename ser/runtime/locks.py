"""One process at a time: locks that end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ser import SerError

UNTOUCHED = 0
"""Nanoseconds since 1970."""


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``, the file ``<path>.lock``: one process at a time, the others wait."""
    with _lock_file(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def lock_if_free(path: Path) -> IO[str] | None:
    """The lock of ``path``, held until it is closed or this process ends; None if another process holds it."""
    lock = _lock_file(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        lock.close()
        if isinstance(error, BlockingIOError):
            return None
        raise
    return lock


def _lock_file(path: Path) -> IO[str]:
    return path.with_name(path.name + ".lock").open("w")


@contextmanager
def claimed(part: Path, target: Path, *, folder: bool) -> Iterator[None]:
    """Make ``part`` an empty file or folder of this process alone, as long as the block runs; after an error it is removed.

    A file has the time ``UNTOUCHED`` until it is written.

    The claim is a lock on ``part`` itself, which ends with the process, so that a killed one leaves nothing that must be cleared away.

    Args:
        part: what is written first; its folder exists.
        target: what it becomes, for the message.
        folder: whether it is a folder.

    Raises:
        SerError: if another process holds it, or something else than a file lies there.
    """
    while True:
        if folder:
            with suppress(FileExistsError):
                part.mkdir()
        try:
            claim = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW if folder else os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:
            if part.parent.is_dir():
                continue  # another process has just renamed or removed it
            raise
        try:
            if not folder and not stat.S_ISREG(os.fstat(claim).st_mode):
                os.close(claim)
                raise SerError(f"{part} is no file, and {target} cannot be written: remove it, and run this again")
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(claim, part):
                break
        except BlockingIOError:
            os.close(claim)
            raise SerError(f"{target} is being written by another process: wait for it or end it, and run this again") from None
        os.close(claim)
    try:
        if folder:
            _empty(part)
        else:
            os.ftruncate(claim, 0)
            os.utime(claim, ns=(UNTOUCHED, UNTOUCHED))
        yield
    except BaseException:
        if _is(claim, part):
            shutil.rmtree(part, ignore_errors=True)
            with suppress(OSError):
                part.unlink(missing_ok=True)
        raise
    finally:
        os.close(claim)


def _is(claim: int, part: Path) -> bool:
    """Whether the path still leads to what is open."""
    try:
        here, there = os.fstat(claim), part.lstat()
    except OSError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _empty(folder: Path) -> None:
    for entry in list(folder.iterdir()):
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
