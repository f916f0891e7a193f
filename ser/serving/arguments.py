"""What the arguments of ``ser`` name: recordings."""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from ser import SerError
from ser.corpora.labels import AUDIO
from ser.corpora.names import is_hidden
from ser.runtime.files import folders, regular

MOST = 4 << 30
"""Bytes that are read from standard input at most: six hours of 48 kHz stereo in 16 bit. Files are bounded in minutes."""
IN_MEMORY = 16 << 20
"""Bytes of standard input that stay in memory; more go to a temporary file, for a decoder has to go back and forth in them."""
BLOCK = 1 << 20
MEDIA = (".m4a", ".aac", ".mp4", ".webm", ".amr", ".wma")
"""Suffixes of recordings that PyAV reads, in lower case; where it is missing, it is said of each."""


def recordings(paths: Iterable[str]) -> list[str]:
    """Files as they are named, for each pattern (``'*.wav'``) what fits it, for each folder all recordings below it, sorted.

    A name that gives no recording stays in the list; ``opened`` says what is wrong with it.

    Raises:
        SerError: if no name gives a recording.
    """
    found: list[str] = []
    wrong: list[str] = []
    for name in (fitting for path in paths for fitting in _fitting(path)):
        below = _below(name) if name and os.path.isdir(name) else [name]
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
        raise OSError(errno.EISDIR, f"no recording in this folder ({', '.join((*AUDIO, *MEDIA))})")
    try:
        return regular(name)
    except FileNotFoundError:
        raise OSError(errno.ENOENT, "no such file or folder") from None
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise OSError(errno.EINVAL, f"{error.strerror}; pipe it in, and name it -") from None
        raise


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
    return sorted(_matching(name)) or [name]


def _matching(pattern: str) -> set[str]:
    """What fits a pattern; ``**`` stands for folders at any depth. ``glob`` would follow links that lead in circles, for ever."""
    parts = pattern.split("/")
    if "**" not in parts:
        return set(glob.glob(pattern))
    place = parts.index("**")
    above = "".join(f"{part}/" for part in parts[:place])
    rest = "/".join(itertools.dropwhile(lambda part: part == "**", parts[place:])) or "*"
    return {
        fitting
        for root in (glob.glob(above) if above else [""])
        for folder, _ in folders(root, is_hidden)
        for fitting in _matching(os.path.join(glob.escape(folder), rest))
    }


def _below(root: str) -> list[str]:
    inside = (Path(folder, name) for folder, names in folders(root, is_hidden) for name in names if not is_hidden(name))
    return sorted(str(path) for path in inside if path.suffix.lower() in (*AUDIO, *MEDIA) and path.is_file())
