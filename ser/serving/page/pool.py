"""Workers that are asked one recording at a time, killed when they take too long, and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ser import SerError
from ser.runtime.signals import deaf_children
from ser.runtime.text import printable
from ser.serving.bundle import Bundle
from ser.serving.page.limits import Limits, RefusedError
from ser.serving.page.question import Question
from ser.serving.page.worker import work

Done = TypeVar("Done")
MOST_ANSWER = 64 << 20
"""Bytes of an answer; the longest, a timeline of ten hours, has a tenth."""
RETRY_SECONDS = 2
"""When a client that was refused should come again."""


class Worker:
    """One process with an opened model, and the connection to it. Its methods block."""

    def __init__(self, folder: Path, bundle: Bundle, limits: Limits) -> None:
        """Start it.

        Raises:
            SerError: if it cannot open the model, finds another in its place, or is not ready in time.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, folder, bundle, limits), name="ser-worker", daemon=True)
        with deaf_children():
            self._process.start()
        theirs.close()
        try:
            problem = json.loads(self._next(limits.start_seconds)).get("problem")
        except (TimeoutError, EOFError, OSError):
            self.kill()
            raise SerError("a worker could not be started in time, or ended while it opened the model: is there memory left?") from None
        if problem:
            self.kill()
            raise SerError(problem)

    @property
    def process_id(self) -> int | None:
        """Of the process."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether the process is there: the system may have killed an idle one."""
        return self._process.is_alive()

    def ask(self, question: Question, data: bytes | bytearray, seconds: float) -> tuple[int, bytes]:
        """Status and JSON body of the answer.

        Raises:
            TimeoutError: if there is none after so many seconds.
            EOFError, OSError: if the process has ended.
        """
        question.send(self._connection, data)
        answered = self._next(seconds)
        status, body = json.loads(answered)
        return int(status), json.dumps(body, ensure_ascii=False).encode()

    def kill(self) -> None:
        """End the process at once. A thread that waits for its answer then has an ``EOFError``; the connection closes with the object."""
        self._process.kill()
        self._process.join()

    def _next(self, seconds: float) -> bytes:
        if not self._connection.poll(seconds):
            raise TimeoutError
        return self._connection.recv_bytes(MOST_ANSWER)


class Pool:
    """The workers of a server, and the queue before them."""

    def __init__(self, folder: Path, bundle: Bundle, limits: Limits) -> None:
        self._folder, self._bundle, self._limits = folder, bundle, limits
        self._threads = ThreadPoolExecutor(max(1, limits.jobs), "worker")
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        self._living: set[Worker] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._here, self._stopped = 0, False
        self._problem = ""  # why the last worker could not be started

    async def start(self) -> None:
        """Start all workers.

        Raises:
            SerError: if one cannot open the model.
        """
        for worker in await asyncio.gather(*(self._threaded(self._started) for _ in range(self._limits.jobs))):
            self._idle.put_nowait(worker)

    def stop(self) -> None:
        """End all workers."""
        self._stopped = True
        for task in self._replacing:
            task.cancel()
        for worker in [*self._living]:
            worker.kill()
        self._threads.shutdown(wait=False)

    def process_ids(self) -> list[int]:
        """Of the workers that live."""
        return [worker.process_id for worker in self._living if worker.process_id is not None]

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue, from a request's head to its answer, so that neither uploads nor questions pile up.

        Raises:
            RefusedError: 503, if all are taken.
        """
        if self._here >= self._limits.jobs + self._limits.waiting:
            raise _busy(f"{self._here} recordings are being judged or waiting")
        self._here += 1
        try:
            yield
        finally:
            self._here -= 1

    async def ask(self, question: Question, data: bytes | bytearray) -> tuple[int, bytes]:
        """Status and JSON body of the answer of the next free worker. Where this is cancelled, the worker is ended and replaced.

        Raises:
            RefusedError: 504, if judging takes too long; 422, if the process ended over it; 503, if no worker becomes free, or none can be
                started.
        """
        seconds = self._limits.judging_seconds
        try:
            async with asyncio.timeout(seconds):
                while not (worker := await self._ready()).lives:
                    self._replace(worker)
        except TimeoutError:
            raise _busy(f"no worker became free within {seconds:g} s") from None
        try:
            answered = await self._threaded(worker.ask, question, data, seconds)
        except BaseException as error:
            self._replace(worker)
            if isinstance(error, TimeoutError):
                raise RefusedError(504, "too_slow", f"too_slow: not judged within {seconds:g} s; cut the recording into parts") from None
            if isinstance(error, EOFError | OSError):
                words = "ended: the process that read this recording ended; it is damaged, or takes more memory than the server allows"
                raise RefusedError(422, "ended", words) from None
            raise
        self._idle.put_nowait(worker)
        return answered

    async def _ready(self) -> Worker:
        """The next free worker.

        Raises:
            RefusedError: if there is none, and none can be started.
        """
        while self._living or not self._problem:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    return await self._idle.get()
        raise RefusedError(503, "model", f"model: {self._problem}")

    def _replace(self, worker: Worker) -> None:
        self._living.discard(worker)
        worker.kill()
        task = asyncio.create_task(self._another())
        self._replacing.add(task)  # the loop itself would let go of it
        task.add_done_callback(self._replacing.discard)

    async def _another(self) -> None:
        """Start a worker, again and again until it succeeds."""
        while True:
            try:
                self._idle.put_nowait(await self._threaded(self._started))
                self._problem = ""
                return
            except SerError as error:
                if str(error) != self._problem:
                    print(printable(f"error: {error}"), file=sys.stderr)
                self._problem = str(error)
                await asyncio.sleep(RETRY_SECONDS)

    def _started(self) -> Worker:
        worker = Worker(self._folder, self._bundle, self._limits)
        self._living.add(worker)
        if self._stopped:
            worker.kill()
        return worker

    async def _threaded(self, work: Callable[..., Done], *arguments: object) -> Done:
        """What blocks, on a thread of the pool's own: there is one for each worker."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _busy(what: str) -> RefusedError:
    return RefusedError(503, "busy", f"busy: {what}; try again", {"Retry-After": str(RETRY_SECONDS)})
