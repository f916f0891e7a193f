"""A stage ends with the DVC that runs it, and a DVC with the command that runs it.

A killed DVC leaves its stage running, and that would later write over the outputs of the next run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

EVERY = 0.5
"""Seconds between two looks."""
PR_SET_PDEATHSIG = 1
"""Of ``linux/prctl.h``."""
ADOPT = (b"init", b"systemd", b"launchd")
"""Programs that adopt the children of processes that have ended, beside the first process of the system."""


def end_with_dvc() -> None:
    """Send SIGTERM to this process as soon as the DVC that started it has ended; nothing happens where DVC did not start it."""
    if _DESCENT:
        threading.Thread(target=_wait_and_end, args=(_DESCENT,), daemon=True).start()


def child_ends_with_this() -> Callable[[], object]:
    """For ``preexec_fn`` of a child process: it gets SIGTERM when this process ends, however that happens. On Linux; elsewhere nothing."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    prctl, this = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != this:  # it has ended in the meantime
            os._exit(128 + signal.SIGTERM)

    return ask


def _line_of_descent() -> dict[int | None, int]:
    """This process (None) and its parent; where that is a shell that runs DVC's command (``sh -c``), the shell and its parent too."""
    parent = os.getppid()
    found: dict[int | None, int] = {None: parent}
    shell, *options = _words(parent)
    if shell.endswith(b"sh") and b"-c" in options and (above := _parent(parent)) is not None:
        found[parent] = above
    return found


def _wait_and_end(descent: dict[int | None, int]) -> None:
    *_, dvc = descent.values()
    while not _adopted(dvc) and all((os.getppid() if child is None else _parent(child)) == parent for child, parent in descent.items()):
        time.sleep(EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


def _adopted(parent: int) -> bool:
    """Whether this is who adopts, and not DVC, so that DVC ended before it was first looked for.

    In a container DVC may be the first process.
    """
    program, *_ = words = _words(parent)
    return (parent == 1 or Path(program.decode(errors="replace")).name.encode() in ADOPT) and not any(
        name in word for word in words for name in (b"python", b"dvc")
    )


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


_DESCENT = _line_of_descent() if "DVC_STAGE" in os.environ else {}
"""As it was when this module was imported, which ``stages`` does first: DVC may be killed while larger modules are read."""
