"""What a command prints is read, or one message says why not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LEFT = 141
"""Exit status where the reader of a pipe has left before the end, as the shell gives it (128 + SIGPIPE)."""


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
    except BrokenPipeError:
        give_up()
        sys.stderr.close()  # it may lead to the same reader
        sys.exit(status)
    except OSError as error:
        if error.filename is not None:
            raise
        give_up()
        sys.exit(f"error: standard output cannot be written: {error.strerror}")


def flush() -> None:
    """Write out what has been printed so far; nothing where standard output is closed."""
    if sys.stdout is not None:
        sys.stdout.flush()


def give_up() -> None:
    """Drop what standard output has not taken: Python writes it when it ends, and would fail again with a report."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
