"""How it runs, never what it computes: places outside the repository, devices, processes, threads. The environment wins over `runtime`."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path

from ser import SerError
from ser.params.runtime import Runtime


def cache_dir(runtime: Runtime) -> Path:
    """Where archives and checkpoints live: SER_CACHE_DIR, ``runtime.cache_dir`` or ~/.cache/ser."""
    return Path(os.environ.get("SER_CACHE_DIR") or runtime.cache_dir or "~/.cache/ser").expanduser()


def mirror(runtime: Runtime) -> str | None:
    """Folder or address that is looked at before the official one: SER_MIRROR or ``runtime.mirror``."""
    return os.environ.get("SER_MIRROR") or runtime.mirror


def workers(runtime: Runtime) -> int:
    """Processes of preprocess and features: SER_WORKERS, ``runtime.workers`` or one per core that this process may use."""
    asked = os.environ.get("SER_WORKERS") or runtime.workers
    return cores() if asked == "auto" else _whole("SER_WORKERS", asked)


def devices(runtime: Runtime, trainings: int, there: int) -> int:
    """Devices (on a CPU: processes) that train one network together: SER_DEVICES, ``runtime.devices`` or what is right for the machine.

    Args:
        runtime: how it runs.
        trainings: networks to train. Side by side they use devices best, so with auto only devices beyond their number share one.
        there: devices of the machine; on a CPU 1.
    """
    asked = os.environ.get("SER_DEVICES") or runtime.devices
    return max(1, there // trainings) if asked == "auto" else _whole("SER_DEVICES", asked)


def passive_waiting() -> None:
    """Let idle OpenMP threads sleep instead of spin. Call it before torch is imported.

    Two trainings on two cores with spinning threads were seen to slow each other 10–18 ×, because each waits for the other's spinning.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def threads(runtime: Runtime) -> int:
    """torch CPU threads of one training: SER_THREADS, ``runtime.threads`` or one.

    The number follows neither load nor cores: sums in another order would give other bytes. Cores are used by training folds side by side.
    """
    asked = os.environ.get("SER_THREADS") or runtime.threads
    return 1 if asked == "auto" else _whole("SER_THREADS", asked)


def cores() -> int:
    """Cores that this process may use; macOS can only say how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_the_parent(first: Callable[[], object] | None = None) -> None:
    """In a process that multiprocessing started: end, after ``first``, as soon as the parent has ended. A killed one can end nobody."""
    threading.Thread(target=_wait_and_end, args=(first,), daemon=True).start()


def _wait_and_end(first: Callable[[], object] | None) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if first is not None:
        first()
    os._exit(1)


def _whole(variable: str, asked: str | int) -> int:
    """What was asked for, as a number.

    Raises:
        SerError: if it is none; only the environment can say so, for ``runtime`` has been checked.
    """
    if str(asked).isdecimal() and int(asked) >= 1:
        return int(asked)
    raise SerError(f"{variable} is {asked!r}; allowed: auto or a whole number from 1")
