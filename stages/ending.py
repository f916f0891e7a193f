"""How commands end: with one message and status 1 where a person can put things right. A traceback shows faults of ours only."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ser import SerError
from ser.runtime import output
from ser.runtime.disk import disk_error
from ser.runtime.text import printable_lines
from stages import INTERRUPTED

PROGRAMS = ("git", "dvc")
"""That some commands run."""


@contextmanager
def in_words() -> Iterator[None]:
    """End as a command does what the block raises.

    Errors that the user can fix (``SerError``, a missing output of an earlier stage, a full or read-only disk, a file that cannot be read)
    end with one message and exit status 1, Ctrl-C with 130, a pipe whose reader has left with 141.
    """
    try:
        yield
    except SerError as error:
        sys.exit(message(error))
    except OSError as error:
        sys.exit(message(_of_system(error)))
    except sqlite3.Error as error:  # DVC's own: of all files that it has hashed
        sys.exit(message(f"a database of DVC cannot be used: {error}; its disk may be full (DVC_SITE_CACHE_DIR), or too many files open"))
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(130)


def message(said: object) -> str:
    """The line of an error; what it quotes must not command the terminal."""
    return printable_lines(f"error: {said}")


def _of_system(error: OSError) -> str:
    """What a person can do about an error of the system.

    Raises:
        OSError: the error itself, if it names no place: then it is one of ours.
    """
    if isinstance(error, BrokenPipeError) and output.reader_has_left():  # `python -m stages.table | head`
        output.leave()
    if isinstance(error, FileNotFoundError):
        if error.filename is None and str(error.strerror).startswith("No usable temporary directory"):
            return f"{error.strerror}: set TMPDIR to a folder that can be written"
        if error.filename in PROGRAMS:
            return f"the program {error.filename} is not installed, or not in PATH, and this command needs it"
        if error.filename is not None and not Path(error.filename).is_absolute():
            return f"{error.filename} not found: an earlier stage writes it; `dvc repro` runs the missing stages"
    if (told := disk_error(error)) is not None:
        if error.filename is None:
            output.give_up()
        return told
    if error.filename is None:
        raise error
    return f"{error.filename}: {error.strerror or error}"
