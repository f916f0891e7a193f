"""What the arguments of ``ser`` name: recordings."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from ser import SerError
from ser.corpora.labels import AUDIO, not_audio

MOST = 1 << 30
"""Bytes of a recording at most: 90 minutes of 48 kHz stereo in 16 bit."""


def recordings(paths: Iterable[str]) -> list[str]:
    """Files as they are named, and for each folder all recordings below it, sorted.

    A name that gives no recording stays in the list; ``content`` says what is wrong with it.

    Raises:
        SerError: if no name gives a recording.
    """
    found: list[str] = []
    wrong: list[str] = []
    for name in paths:
        below = _below(Path(name)) if name and os.path.isdir(name) else [name]
        found += below or [name]
        if not below or not (name == "-" or os.path.exists(name)):
            wrong.append(name)
    if found == wrong:
        try:
            content(wrong[0])
        except OSError as error:
            raise SerError(f"{wrong[0] or repr(wrong[0])}: {error.strerror}") from None
    return found


def content(name: str) -> bytes:
    """The bytes of a recording, read from a regular file, or from standard input where the name is ``-``.

    Raises:
        OSError: if it cannot be read, is no regular file, or has more than ``MOST`` bytes; ``strerror`` says which.
    """
    if not name:
        raise OSError(errno.ENOENT, "an empty name")
    if name == "-":
        return _bounded(sys.stdin.buffer)
    if os.path.isdir(name):
        raise OSError(errno.EISDIR, f"no recording in this folder ({', '.join(AUDIO)})")
    try:
        file = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would block here
    except FileNotFoundError:
        raise OSError(errno.ENOENT, "no such file or folder") from None
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "no regular file; pipe it in, and name it -")
        return _bounded(stream)


def _bounded(stream: IO[bytes]) -> bytes:
    read = stream.read(MOST + 1)
    if len(read) > MOST:
        raise OSError(errno.EFBIG, f"more than {MOST:,} bytes; cut it into parts")
    return read


def _below(folder: Path) -> list[str]:
    inside = (entry for entry in folder.rglob("*") if not_audio(entry.relative_to(folder).as_posix()) is None)
    return sorted(str(entry) for entry in inside if entry.is_file())
