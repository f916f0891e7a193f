"""A Dask cluster whose workers are what this process is: the same code, libraries and kernels, so the same bytes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ser import SerError, __version__
from ser.runtime import kernels, provenance

if TYPE_CHECKING:
    from distributed import Client

Task = TypeVar("Task")
Result = TypeVar("Result")
PATIENCE = 60.0
"""Seconds that a cluster may be without workers, and its scheduler without an answer."""


@dataclass(frozen=True)
class Side:
    """What the bytes of a result depend on, in one process.

    Attributes:
        version: of ``ser``.
        code: hash of all modules of ``ser``, 16 hexadecimal digits.
        libraries: version of each package that is installed.
        kernels: variables that choose kernels of numerical libraries.
    """

    version: str
    code: str
    libraries: dict[str, str]
    kernels: dict[str, str]

    def difference(self, other: Side) -> str | None:
        """Why a worker cannot give this process' bytes, and what to do; None where it can.

        A library that only one of both has is not compared: a worker needs no torch to compute features.

        Args:
            other: the worker.
        """
        if self.version != other.version:
            return f"has ser {other.version}, and this process {self.version}: {_SAME}"
        if self.code != other.code:
            return f"has other code in ser {other.version} ({other.code}) than this process ({self.code}): {_SAME}"
        for name in sorted(self.libraries.keys() & other.libraries.keys()):
            if self.libraries[name] != other.libraries[name]:
                versions = f"has {name} {other.libraries[name]}, and this process {self.libraries[name]}"
                return f"{versions}: install the same there (requirements.txt), and start it again"
        if self.kernels != other.kernels:
            variables = " ".join(f"{name}='{value}'" for name, value in self.kernels.items())
            return f"uses other kernels than this process; start it with: env {variables} dask worker ADDRESS"
        return None


_SAME = "check out the same commit there, and start it again"


@functools.cache
def side() -> Side:
    """What this process is."""
    return Side(__version__, _code(Path(__file__).parents[1]), provenance.versions(), kernels.environment())


def _code(folder: Path) -> str:
    seen = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        seen.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        seen.update(path.read_bytes())
    return seen.hexdigest()[:16]


def run_there(expected: Side, call: Callable[[Task], Result], task: Task) -> Result:
    """Run a task in a worker, which may have joined after the start.

    Args:
        expected: the process that wants the result.
        call: what is run.
        task: its argument.

    Raises:
        SerError: if this worker would give other bytes.
    """
    if (said := expected.difference(side())) is not None:
        raise SerError(f"a Dask worker {said}")
    return call(task)


@contextlib.contextmanager
def cluster(address: str) -> Iterator[tuple[Executor, int, Callable[[], None]]]:
    """Executor of the Dask cluster at ``address``, the number of its threads, and what looks whether it still has workers.

    Raises:
        SerError: if nobody answers there or any longer, no worker is left, a worker would give other bytes, or a task ends one worker
            after the other.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise SerError("runtime.scheduler needs an optional package: pip install 'distributed>=2024.8', or set it to null") from None
    try:
        client = Client(address, timeout=20)
    except (OSError, TimeoutError, TypeError, ValueError) as error:
        raise SerError(f"runtime.scheduler: no Dask scheduler answers at {address} ({error}); start one, or set it to null") from None
    with client:
        threads = sum(client.ncores().values())
        if threads == 0:
            raise SerError(f"runtime.scheduler: the Dask scheduler at {address} has no workers; start some: dask worker {address}")
        _check(client.run(side, on_error="return"))
        try:
            yield client.get_executor(pure=False), threads, _Look(client, address)
        except KilledWorker as error:
            raise SerError(
                f"runtime.scheduler: a task ended one Dask worker after the other ({error}); their logs say why. Have they too little "
                "memory? runtime.scheduler: null runs it here"
            ) from None
        except (OSError, TimeoutError, CancelledError):  # so ends what waits for a scheduler that has gone
            if client.status == "running":
                raise
            raise _gone(address) from None
        except (ImportError, AttributeError):  # so fails a task whose function a worker does not have
            _check(client.run(side, on_error="return"))
            raise


class _Look:
    """Raise once a cluster has had no worker for ``PATIENCE`` seconds, in which a nanny would have started one again."""

    def __init__(self, client: Client, address: str) -> None:
        self.client = client
        self.address = address
        self.last_seen = time.monotonic()

    def __call__(self) -> None:
        try:
            workers = self.client.sync(self.client.scheduler.ncores, callback_timeout=PATIENCE)
        except (OSError, TimeoutError, CancelledError):
            raise _gone(self.address) from None
        if workers:
            self.last_seen = time.monotonic()
        elif (without := time.monotonic() - self.last_seen) > PATIENCE:
            raise SerError(
                f"runtime.scheduler: the Dask scheduler at {self.address} has had no worker for {without:.0f} s; start some: "
                f"dask worker {self.address}"
            )


def _gone(address: str) -> SerError:
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).disabled = True  # its farewell is a traceback
    return SerError(f"runtime.scheduler: the Dask scheduler at {address} has gone or does not answer; start it again, or set it to null")


def _check(sides: dict[str, Side | BaseException]) -> None:
    """Refuse workers that would give other bytes.

    Args:
        sides: what each worker, named by its address, says of itself; an error where it could not say.
    """
    for worker, found in sorted(sides.items()):
        said = side().difference(found) if isinstance(found, Side) else f"has no ser, or a very different one ({found!r}): {_SAME}"
        if said is not None:
            raise SerError(f"runtime.scheduler: the Dask worker {worker} {said}")
