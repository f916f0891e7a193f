"""What a command prints is read, or one message says why not."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

LEFT = 141
"""Exit status where the reader of a pipe has left before the end, as the shell gives it (128 + SIGPIPE)."""


def all_open() -> None:
    """Put nothing in the place of a standard stream that is closed: a file opened later would take its number, and its bytes."""
    for place, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_RDWR), place)
                setattr(sys, name, os.fdopen(place, mode, closefd=False))


@contextmanager
def printed(status: int = LEFT) -> Iterator[None]:
    """Write out all that the block prints. Where standard output does not take it, end with one message and status 1.

    An error that names a file is not of standard output, and passes.

    Args:
        status: exit status where the reader has left, as ``… | head`` does; then nothing is said.
    """
    try:
        yield
        flush()
    except OSError as error:
        if error.filename is not None:
            raise
        if reader_has_left():
            leave(status)
        give_up()
        sys.exit(f"error: standard output cannot be written: {error.strerror}")


def flush() -> None:
    """Write out what has been printed so far; nothing where standard output is closed."""
    if sys.stdout is not None:
        sys.stdout.flush()


def reader_has_left() -> bool:
    """Whether standard output is a pipe that nobody reads. A broken pipe may also be a worker's, or a connection's."""
    asked = select.poll()
    asked.register(1, 0)
    return any(event & select.POLLERR for _, event in asked.poll(0))


def leave(status: int = LEFT) -> NoReturn:
    """End without a word where nobody reads."""
    give_up()
    sys.stderr.close()  # it may lead to the same reader
    sys.exit(status)


def give_up() -> None:
    """Drop what standard output has not taken: Python writes it when it ends, and would fail again with a report."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
