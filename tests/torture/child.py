"""A call in a forked child, with a folder, an environment and a time of its own; and what is left when it has ended.

The parent has imported everything, so that a trial costs milliseconds where an interpreter and torch would cost seconds.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing.process
import multiprocessing.util
import os
import resource
import runpy
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

MOST_SAID = 4000
"""Bytes of a child's output that are kept."""
PATIENCE = 5
"""Times the seconds of the processor that a child may take by the clock."""
LOOKS = 0.02
"""Seconds between two looks at a child."""


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: exit status; negative: ended by this signal; None: it hung, and was killed.
        said: the end of what it wrote to stdout and stderr.
        seconds: from its start to its end.
    """

    code: int | None
    said: str
    seconds: float

    @property
    def hung(self) -> bool:
        """Whether it did not end in time."""
        return self.code is None

    @property
    def traced(self) -> bool:
        """Whether it showed a traceback, or died in a way that is nobody's intention."""
        return "Traceback (most recent call last)" in self.said or self.code in (
            -signal.SIGSEGV,
            -signal.SIGABRT,
            -signal.SIGFPE,
            -signal.SIGBUS,
        )


@dataclass
class Child:
    """A running child in a session of its own."""

    pid: int
    pipe: int
    since: float = field(default_factory=time.monotonic)
    said: bytes = b""

    def kill(self, number: int, group: bool = False) -> None:
        """Send a signal to it, or to its whole group; nothing where it has ended."""
        try:
            os.killpg(self.pid, number) if group else os.kill(self.pid, number)
        except ProcessLookupError:
            return

    def wait(self, seconds: float) -> Ended:
        """Wait for its end. Its whole session is killed after so many seconds of the processor, or ``PATIENCE`` times as many by the clock:
        on a busy machine nothing hangs that only waits for its turn.
        """
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._listen()
            if pid:
                return self._ended(os.waitstatus_to_exitcode(status))
            passed = time.monotonic() - self.since
            if passed > PATIENCE * seconds or (passed > seconds and _busy(self.pid) > seconds):
                break
            time.sleep(LOOKS)
        for process in in_session(self.pid):
            _kill(process)
        os.waitpid(self.pid, 0)
        self._listen()
        return self._ended(None)

    def _listen(self) -> None:
        """Take what was said so far. Nobody waits for more: a process that lives on may hold the pipe."""
        with suppress(BlockingIOError):
            while piece := os.read(self.pipe, 1 << 16):
                self.said = (self.said + piece)[-MOST_SAID:]

    def _ended(self, code: int | None) -> Ended:
        os.close(self.pipe)
        return Ended(code, self.said.decode("utf-8", "replace"), time.monotonic() - self.since)


def start(call: Callable[[], object], folder: Path, environment: Mapping[str, str], memory: int | None = None) -> Child:
    """Begin a call in a child.

    Args:
        call: what it does; ``SystemExit`` ends it as in a program of its own.
        folder: its working directory.
        environment: variables that are set there.
        memory: bytes of address space that it may take beyond what it has; None: no limit.
    """
    hears, says = os.pipe()  # not a file: limits of a file's size would hold for it too
    os.set_blocking(hears, False)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(call, folder, environment, memory, says)
    os.close(says)
    return Child(pid, hears)


def run(call: Callable[[], object], folder: Path, environment: Mapping[str, str], seconds: float, memory: int | None = None) -> Ended:
    """A call in a child, from its start to its end."""
    return start(call, folder, environment, memory).wait(seconds)


def stage(name: str, corpus: str = "demo") -> None:
    """Run a stage as ``python -m stages.NAME`` does (in a child)."""
    module(f"stages.{name}", *([] if name == "report" else ["--dataset", corpus]))


def module(name: str, *arguments: str) -> None:
    """Run a module as ``python -m NAME`` does (in a child)."""
    sys.argv = [name, *arguments]
    warnings.simplefilter("ignore", RuntimeWarning)  # it is imported already, which runpy finds strange
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def in_session(leader: int) -> list[int]:
    """Processes that live in the session which a child began, itself among them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _session(entry) == leader:
            found.append(int(entry.name))
    return found


def orphans(leader: int, seconds: float = 5.0) -> list[str]:
    """Commands of the processes that outlive a child by so many seconds. They are ended here."""
    until = time.monotonic() + seconds
    while (left := in_session(leader)) and time.monotonic() < until:
        time.sleep(LOOKS)
    commands = [_command(process) for process in left]
    for process in left:
        _kill(process)
    return commands


@contextmanager
def changed(owner: Any, name: str, value: object) -> Iterator[None]:
    """Another value of an attribute within this block."""
    plain = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, plain)


def command_of(name: str, corpus: str = "demo") -> Sequence[str]:
    """The command line of a stage, for a process with an interpreter of its own."""
    return [sys.executable, "-m", f"stages.{name}", *([] if name == "report" else ["--dataset", corpus])]


def _child(call: Callable[[], object], folder: Path, environment: Mapping[str, str], memory: int | None, said: int) -> None:
    code = 1
    try:
        _become(folder, environment, memory, said)
        call()
        code = 0
    except SystemExit as error:
        code = _status(error)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)  # as the program itself would show it: ``stages`` has one of its own
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
    finally:
        try:
            multiprocessing.util._exit_function()  # ends and clears what the call's own pools left, as at the end of any program
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _become(folder: Path, environment: Mapping[str, str], memory: int | None, said: int) -> None:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (1, 2):
        os.dup2(said, number)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False) for number in (1, 2))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    logging.root.handlers.clear()
    multiprocessing.util._finalizer_registry.clear()  # the parent's
    multiprocessing.process._children.clear()
    tqdm.set_lock(threading.RLock())  # the one from before the fork is shared by all: a child that is killed while it holds it stops them
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: when the torture is stopped, this is too
    os.chdir(folder)
    os.environ.update(environment)
    tempfile.tempdir = None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory is not None:
        most = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _status(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def _session(process: Path) -> int | None:
    try:
        state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
    except (OSError, ValueError):
        return None
    return int(session) if state != "Z" else None


def _busy(process: int) -> float:
    """Seconds of the processor that a process has taken."""
    try:
        fields = Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _command(process: int) -> str:
    try:
        return Path("/proc", str(process), "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip() or str(process)
    except OSError:
        return str(process)


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return
