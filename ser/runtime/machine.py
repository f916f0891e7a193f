"""How it runs, never what it computes: folders outside the repository, devices, processes, threads.

Environment variables take precedence over `runtime` in params.yaml.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path

from ser import SerError
from ser.params.runtime import MOST, Runtime


def cache_dir(runtime: Runtime | None) -> Path:
    """Folder of archives, checkpoints and bundles: SER_CACHE_DIR, ``runtime.cache_dir`` if there are parameters, or ~/.cache/ser."""
    return at_home(os.environ.get("SER_CACHE_DIR") or (runtime and runtime.cache_dir) or "~/.cache/ser")


def at_home(path: str) -> Path:
    """A path in which ``~`` stands for a home folder.

    Raises:
        SerError: if there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise SerError(f"{path}: there is no such home folder; write the whole path, or set HOME") from None


def mirror(runtime: Runtime) -> str | None:
    """Folder or address to try before the official one: SER_MIRROR or ``runtime.mirror``."""
    return os.environ.get("SER_MIRROR") or runtime.mirror


def workers(runtime: Runtime) -> int:
    """Number of worker processes: SER_WORKERS, ``runtime.workers`` or one per core of this process."""
    asked = os.environ.get("SER_WORKERS") or runtime.workers
    return cores() if asked == "auto" else _whole("SER_WORKERS", asked)


def devices(runtime: Runtime, trainings: int, there: int) -> int:
    """Devices (CPU: processes) that train one network together: SER_DEVICES, ``runtime.devices`` or auto.

    Auto gives each network one device. Only if devices outnumber networks do several devices share a network.

    Args:
        runtime: how it runs.
        trainings: number of networks to train.
        there: number of devices of the machine; 1 on a CPU.
    """
    asked = os.environ.get("SER_DEVICES") or runtime.devices
    return max(1, there // trainings) if asked == "auto" else _whole("SER_DEVICES", asked)


def passive_waiting() -> None:
    """Let idle OpenMP threads sleep instead of spin. Call it before torch is imported.

    Two trainings with spinning threads on two cores slowed each other by 10–18 ×: each waits while the other
    spins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def threads(runtime: Runtime) -> int:
    """torch CPU threads of one training: SER_THREADS, ``runtime.threads`` or one.

    The number depends on neither load nor cores, because another order of summation gives other bytes.
    Several cores are used by training several folds at once.
    """
    asked = os.environ.get("SER_THREADS") or runtime.threads
    return 1 if asked == "auto" else _whole("SER_THREADS", asked)


def cores() -> int:
    """Number of cores that this process may use; on macOS, of all cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory(most: int | None = None) -> None:
    """Let this process keep freed memory for its next arrays, instead of returning it to the system.

    By default glibc maps large arrays one by one and unmaps them when they are freed. Each new one then costs
    page faults and zeroing. Other C libraries have no such settings, and nothing is changed there.

    Args:
        most: bytes of free memory at the end of the heap that stay, where arrays up to 32 MB share it; None:
            all memory stays, and no array is mapped on its own.
    """
    trim_threshold, top_pad, mmap_threshold, mmap_max = -1, -2, -3, -4  # names and numbers of malloc.h
    everything = {mmap_max: 0, trim_threshold: 2**31 - 1, top_pad: 64 << 20}
    settings = everything if most is None else {mmap_threshold: 32 << 20, trim_threshold: most}
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for setting, value in settings.items():
            mallopt(setting, value)


def launched() -> bool:
    """Whether torchrun, or a launcher with its variables, started this process as one of several ranks.

    Raises:
        SerError: if a variable that a launcher sets is no number.
    """
    return of_launcher("WORLD_SIZE", 1) > 1 and {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def of_launcher(variable: str, otherwise: int) -> int:
    """A variable that a launcher of several ranks sets; ``otherwise`` where it is unset or empty.

    Raises:
        SerError: if it is no whole number from 0 to ``MOST``.
    """
    said = os.environ.get(variable, "")
    if said == "":
        return otherwise
    if said.isascii() and said.isdecimal() and len(said) <= len(str(MOST)) and int(said) <= MOST:
        return int(said)
    raise SerError(f"{variable} is {_short(said)}, which is no number of a launcher such as torchrun: unset it")


def end_with_the_parent(first: Callable[[], object] | None = None) -> None:
    """End this child process, after calling ``first``, as soon as its parent has ended.

    A parent that is killed cannot end its children itself.

    Args:
        first: called before the process ends.
    """
    threading.Thread(target=_wait_and_end, args=(first,), daemon=True).start()


def cause_of_death(processes: Iterable[BaseProcess]) -> str:
    """Why a process of a broken pool ended, in words. Those that the pool itself then terminated count last."""
    codes = {process.exitcode for process in processes if process.exitcode}
    first = min(codes, key=lambda code: (code == -signal.SIGTERM, code), default=-signal.SIGKILL)
    if first == -signal.SIGKILL:
        return "probably killed by the out-of-memory killer"
    return f"ended by {signal.Signals(-first).name}" if first < 0 else f"ended with status {first}"


def _wait_and_end(first: Callable[[], object] | None) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if first is not None:
        first()
    os._exit(1)


def _whole(variable: str, asked: str | int) -> int:
    """The setting as a number.

    Raises:
        SerError: if it is not a whole number from 1 to ``MOST``. Only a variable can be wrong: ``runtime`` has
            been checked.
    """
    said = str(asked)
    if said.isdecimal() and len(said) <= len(str(MOST)) and 1 <= int(said) <= MOST:
        return int(said)
    raise SerError(f"{variable} is {_short(said)}; allowed: auto or a whole number from 1 to {MOST}")


def _short(said: str) -> str:
    return repr(said if len(said) <= 40 else f"{said[:39]}…")
