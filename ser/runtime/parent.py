"""A stage ends with the DVC that runs it.

A killed DVC leaves its stage running, and that would later write over the outputs of the next run.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

EVERY = 0.5
"""Seconds between two looks."""


def end_with_dvc() -> None:
    """Send SIGTERM to this process as soon as the DVC that started it has ended; nothing happens where DVC did not start it."""
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=_wait_and_end, args=(_line_of_descent(),), daemon=True).start()


def _line_of_descent() -> dict[int | None, int]:
    """This process (None) and its parent; where that is a shell that runs DVC's command (``sh -c``), the shell and its parent too."""
    parent = os.getppid()
    found: dict[int | None, int] = {None: parent}
    shell, *options = _words(parent)
    if shell.endswith(b"sh") and b"-c" in options and (above := _parent(parent)) is not None:
        found[parent] = above
    return found


def _wait_and_end(descent: dict[int | None, int]) -> None:
    while all((os.getppid() if child is None else _parent(child)) == parent for child, parent in descent.items()):
        time.sleep(EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


def _parent(process: int) -> int | None:
    """None if the process has ended, or the system does not say."""
    try:
        return int(Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _words(process: int) -> list[bytes]:
    """Command line of a process; its first word is empty if the process has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return [b""]
