"""What the arguments of ``ser`` name: recordings."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from ser import SerError
from ser.corpora.labels import AUDIO, not_audio

MOST = 4 << 30
"""Bytes that are read from standard input at most: six hours of 48 kHz stereo in 16 bit. Files are bounded in minutes."""
IN_MEMORY = 16 << 20
"""Bytes of standard input that stay in memory; more go to a temporary file, for a decoder has to go back and forth in them."""
BLOCK = 1 << 20


def recordings(paths: Iterable[str]) -> list[str]:
    """Files as they are named, for each pattern (``'*.wav'``) what fits it, for each folder all recordings below it, sorted.

    A name that gives no recording stays in the list; ``opened`` says what is wrong with it.

    Raises:
        SerError: if no name gives a recording.
    """
    found: list[str] = []
    wrong: list[str] = []
    for name in (fitting for path in paths for fitting in _fitting(path)):
        below = _below(Path(name)) if name and os.path.isdir(name) else [name]
        found += below or [name]
        if not below or not (name == "-" or os.path.exists(name)):
            wrong.append(name)
    if found == wrong:
        try:
            opened(wrong[0]).close()
        except OSError as error:
            raise SerError(f"{wrong[0] or repr(wrong[0])}: {error.strerror}") from None
    return found


def opened(name: str) -> IO[bytes]:
    """The bytes of a recording: a regular file, or all of standard input where the name is ``-``; it can seek.

    Raises:
        OSError: if it cannot be read, is not a regular file, or standard input has more than ``MOST`` bytes; ``strerror`` says which.
    """
    if not name:
        raise OSError(errno.ENOENT, "an empty name")
    if name == "-":
        return _spooled(sys.stdin.buffer)
    if os.path.isdir(name):
        raise OSError(errno.EISDIR, f"no recording in this folder ({', '.join(AUDIO)})")
    try:
        file = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would block here
    except FileNotFoundError:
        raise OSError(errno.ENOENT, "no such file or folder") from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "no regular file; pipe it in, and name it -")
    return os.fdopen(file, "rb")


def _spooled(source: IO[bytes]) -> IO[bytes]:
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY))
        while block := source.read(min(BLOCK, MOST + 1 - kept.tell())):
            kept.write(block)
            if kept.tell() > MOST:
                raise OSError(errno.EFBIG, f"more than {MOST:,} bytes; cut it into parts")
        kept.seek(0)
        stack.pop_all()  # it is closed by whoever reads it
        return kept


def _fitting(name: str) -> list[str]:
    """The files and folders that a pattern fits; the name itself where it is none, names a file, or fits nothing."""
    if not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    return sorted(glob.glob(name, recursive=True)) or [name]


def _below(folder: Path) -> list[str]:
    inside = (entry for entry in folder.rglob("*") if not_audio(entry.relative_to(folder).as_posix()) is None)
    return sorted(str(entry) for entry in inside if entry.is_file())
