"""Files and folders that a user names: they may be of any kind, size and shape."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ser import SerError

OF_ANOTHER_FORM = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading JSON of another form, or of no form at all, raises."""


def regular(name: str | Path) -> IO[bytes]:
    """A regular file, open to be read; no other kind, which might never begin or never end.

    Raises:
        OSError: if it cannot be opened or is no regular file; ``strerror`` says which.
    """
    try:
        file = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would block here
    except ValueError as error:
        raise OSError(errno.ENOENT, f"no file can have this name: {error}", str(name)) from None
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        number, said = (errno.EISDIR, "a folder") if stat.S_ISDIR(mode) else (errno.EINVAL, "no regular file")
        raise OSError(number, said, str(name))
    return os.fdopen(file, "rb")


def text(name: str | Path, most: int) -> str:
    """The text of a file that a person may have written, such as a table; a byte order mark is left out.

    Args:
        name: of the file.
        most: bytes that it may have.

    Raises:
        FileNotFoundError: if there is none.
        SerError: if it cannot be read, is no regular file, has more bytes, or is not in UTF-8.
    """
    if "\0" in str(name):
        raise SerError(f"{str(name)!r}: no file can have this name")
    try:
        with regular(name) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise SerError(f"{name} has more than {most} bytes")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SerError(f"{name}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SerError(f"{name} is not written in UTF-8: save it in that encoding ('CSV UTF-8' in a spreadsheet)") from None


def folders(
    root: str, left_out: Callable[[str], bool], unreadable: Callable[[OSError], None] = lambda _: None
) -> Iterator[tuple[str, list[str]]]:
    """A folder and those below it, with the names of what they hold beside folders: through links too, but each folder once.

    Args:
        root: the folder; empty for the current one.
        left_out: whether a folder of this name, and what is below it, does not count.
        unreadable: called with the error where a folder cannot be read; by default it is left out.
    """
    real, linked, seen = [root], list[str](), set[tuple[int, int]]()
    while real or linked:
        folder = real.pop() if real else linked.pop()
        try:
            facts = os.stat(folder or ".")
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(folder or ".") as listing:
                entries = [(entry.name, _leads_on(entry), entry.is_symlink()) for entry in listing]
        except OSError as error:
            unreadable(error)
            continue
        for name, leads_on, is_link in entries:
            if leads_on and not left_out(name):
                (linked if is_link else real).append(os.path.join(folder, name))
        yield folder, [name for name, leads_on, _ in entries if not leads_on]


def _leads_on(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
