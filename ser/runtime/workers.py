"""Run one function over many tasks: in this process, in several, or on a Dask cluster.

Results come in the order of the tasks and are the same bytes in each case.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing.forkserver
import os
import pickle
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.util import get_temp_dir
from typing import TYPE_CHECKING, Any, TypeVar

from ser import SerError
from ser.params.runtime import Runtime
from ser.runtime import cluster, swept
from ser.runtime.machine import cause_of_death, end_with_the_parent, keep_freed_memory, workers
from ser.runtime.signals import deaf_children, deferred, ignore_interrupts

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Task = TypeVar("Task")
Result = TypeVar("Result")

AHEAD = 3
"""Tasks in progress per worker. It bounds memory, because finished results wait there for their turn."""
LOOKS_EVERY = 5.0
"""Seconds between two looks whether a cluster is still there."""


def spread(function: Callable[[Task], Result], tasks: Iterable[Task], runtime: Runtime) -> Iterator[Result]:
    """Yield ``function(task)`` for each task, in the order of the tasks.

    With ``runtime.scheduler`` the tasks run on that Dask cluster. Its workers must see the same files and
    have the same code and libraries (``ser.runtime.cluster``); the tasks of a worker that dies run again on
    another. Otherwise they run in ``ser.runtime.machine.workers`` local processes, where 1 means this
    process, without a pool. Numerical libraries always use one thread.

    Args:
        function: defined at the top of a module; it and the tasks are pickled.
        tasks: consumed only as results are fetched.
        runtime: how it runs.

    Raises:
        SerError: if the cluster cannot be used or is lost, or a local process dies.
        Exception: any exception of ``function``, when its result is due.
    """
    call = functools.partial(_on_one_thread, function)
    if runtime.scheduler is not None:
        there = functools.partial(cluster.run_there, cluster.side(), call)
        with cluster.cluster(runtime.scheduler) as (executor, count, look):
            yield from in_order(executor, there, tasks, AHEAD * count, look)
    elif (count := workers(runtime)) == 1:
        yield from map(call, tasks)
    else:
        start_early(function, runtime)
        with tempfile.TemporaryDirectory(dir=get_temp_dir()) as folder, _pool(count, get_temp_dir()) as executor:
            # A task starts only after the previous result in its file was taken, so that the file is free.
            paths = itertools.cycle(os.path.join(folder, str(number)) for number in range(AHEAD * count))
            children = (executor._processes or {}).values()  # filled as tasks are submitted
            try:
                yield from map(_take, in_order(executor, functools.partial(_leave, call), zip(paths, tasks, strict=False), AHEAD * count))
            except BrokenProcessPool:
                raise SerError(f"a worker process died, {cause_of_death(children)}; try again with SER_WORKERS=1") from None


def _pool(count: int, folder: str) -> ProcessPoolExecutor:
    with semaphores_told():
        return ProcessPoolExecutor(count, multiprocessing.get_context("forkserver"), _begin, (folder,))


@contextmanager
def semaphores_told() -> Iterator[None]:
    """Say what is missing where the queues of worker processes cannot be made: the system's error names no place.

    Raises:
        SerError: instead of an OSError in this block.
    """
    try:
        yield
    except OSError as error:
        raise SerError(
            f"worker processes cannot be started: {error.strerror}; they need /dev/shm with some room, for semaphores, "
            "and SER_WORKERS=1 does without them"
        ) from None


def start_early(function: Callable[[Any], Any], runtime: Runtime) -> None:
    """Import the module of ``function`` in the background, while the caller prepares tasks for ``spread``.

    Workers are forked from a small server that has done nothing but imports. This process may already hold
    threads, locks and open files.
    """
    if runtime.scheduler is None and workers(runtime) > 1:
        multiprocessing.get_context("forkserver").set_forkserver_preload([swept.__name__, function.__module__])
        os.environ[swept.FOLDER] = get_temp_dir()
        try:
            with deaf_children():  # the server ignores Ctrl-C too, but only after its imports
                multiprocessing.forkserver.ensure_running()
        finally:
            del os.environ[swept.FOLDER]


@dataclass(frozen=True)
class _Left:
    """A result whose arrays lie in a file.

    The pipe between two processes would pass them in pieces of 64 kB, copied five times.
    """

    pickled: bytes
    path: str
    sizes: list[int]


def _leave(call: Callable[[Task], Result], path_and_task: tuple[str, Task]) -> _Left:
    """Run the task and write its arrays over the file's old content.

    A new file would cost more than the copy: the system clears and frees its pages.
    """
    path, task = path_and_task
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(call(task), 5, buffer_callback=buffers.append)
    pieces = [buffer.raw() for buffer in buffers]
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.writelines(pieces)
    except OSError as error:
        size, reason = sum(piece.nbytes for piece in pieces) / 1e6, error.strerror
        raise SerError(f"a worker cannot write {size:.1f} MB to {path}: {reason}; free some space, or set TMPDIR elsewhere") from None
    return _Left(pickled, path, [piece.nbytes for piece in pieces])


def _take(left: _Left) -> Any:
    """The result, with arrays of its own.

    Raises:
        SerError: if the file was truncated by something else; the arrays would end in zeros.
    """
    content = memoryview(bytearray(sum(left.sizes)))
    with open(left.path, "rb") as file:
        read = file.readinto(content)
    if read != len(content):
        raise SerError(f"{left.path} holds {read} of {len(content)} bytes of a worker's result; run it again, with TMPDIR on a safer disk")
    # The pickle is our own worker's, from the pool's private pipe. The file holds only the values of arrays.
    ends = list(itertools.accumulate(left.sizes, initial=0))
    return pickle.loads(left.pickled, buffers=[content[start:end] for start, end in itertools.pairwise(ends)])


def in_order(
    executor: Executor, call: Callable[[Task], Result], tasks: Iterable[Task], bound: int, look: Callable[[], object] | None = None
) -> Iterator[Result]:
    """Results in the order of the tasks, at most ``bound`` (≥ 1) of them in progress or waiting for their turn.

    While a result is not there, ``look`` is called each ``LOOKS_EVERY`` seconds; it raises where none will ever come.
    """
    pending: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            with deferred():  # it may start a process, which would be forgotten half-started
                pending.append(executor.submit(call, task))
            if len(pending) >= bound:
                yield _result(pending.popleft(), look)
        while pending:
            yield _result(pending.popleft(), look)
    finally:
        for future in pending:
            future.cancel()


def _result(future: Future[Result], look: Callable[[], object] | None) -> Result:
    while look is not None and not wait([future], LOOKS_EVERY).done:
        look()
    return future.result()


def _on_one_thread(function: Callable[[Task], Result], task: Task) -> Result:
    """Run a task on one core. More BLAS threads would split products differently and change the last bits."""
    _tune_malloc()
    with _thread_pools().limit(limits=1):
        return function(task)


@functools.cache
def _tune_malloc() -> None:
    """Keep up to 64 MB of the arrays of a clip for the next one.

    On clips of 4 s, fresh pages take half of the time.
    """
    keep_freed_memory(64 << 20)


@functools.cache
def _thread_pools() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController  # of the laboratory: a predictor imports this module and runs no workers

    return ThreadpoolController()


def _begin(folder: str) -> None:
    """Let the parent handle interrupts, and end this worker when the parent ends.

    Args:
        folder: removed when the parent is killed: the results, and the socket of the server that forks workers.
    """
    ignore_interrupts()
    end_with_the_parent(functools.partial(_remove, folder))


def _remove(folder: str) -> None:
    """Remove the folder, although the current task may still write there for a moment."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            return
