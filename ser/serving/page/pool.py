"""Workers that are asked one recording at a time, killed when they take too long, and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
from collections.abc import AsyncIterator
from pathlib import Path

from ser import SerError
from ser.serving.page.limits import Limits, RefusedError
from ser.serving.page.question import Question
from ser.serving.page.worker import work

MOST_ANSWER = 64 << 20
"""Bytes of an answer; the longest, a timeline of ten hours, has a tenth."""
RETRY_SECONDS = 2
"""When a client that was refused should come again."""


class Worker:
    """One process with an opened model, and the connection to it. Its methods block."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Start it.

        Raises:
            SerError: if it cannot open the model, or is not ready in time.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, folder, limits), name="ser-worker", daemon=True)
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
        """End the process at once."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _next(self, seconds: float) -> bytes:
        if not self._connection.poll(seconds):
            raise TimeoutError
        return self._connection.recv_bytes(MOST_ANSWER)


class Pool:
    """The workers of a server, and the queue before them."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._idle: asyncio.Queue[Worker | None] = asyncio.Queue()  # None: to be started by whoever takes it
        self._all: set[Worker] = set()
        self._here = 0

    async def start(self) -> None:
        """Start all workers.

        Raises:
            SerError: if one cannot open the model.
        """
        for worker in await asyncio.gather(*(asyncio.to_thread(self._started) for _ in range(self._limits.jobs))):
            self._idle.put_nowait(worker)

    def stop(self) -> None:
        """End all workers."""
        for worker in [*self._all]:
            self._ended(worker)

    def process_ids(self) -> list[int]:
        """Of the workers that live."""
        return [worker.process_id for worker in self._all if worker.process_id is not None]

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue, from a request's head to its answer, so that neither uploads nor questions pile up.

        Raises:
            RefusedError: 503, if all are taken.
        """
        if self._here >= self._limits.jobs + self._limits.waiting:
            raise RefusedError(
                503, "busy", f"busy: {self._here} recordings are being judged or waiting; try again", {"Retry-After": str(RETRY_SECONDS)}
            )
        self._here += 1
        try:
            yield
        finally:
            self._here -= 1

    async def ask(self, question: Question, data: bytes | bytearray) -> tuple[int, bytes]:
        """Status and JSON body of the answer of the next free worker.

        Raises:
            RefusedError: 504, if judging takes too long; 422, if the process ended over it; 503, if there is no worker.
        """
        worker = await self._idle.get()
        good = False
        try:
            if worker is None:
                worker = await asyncio.to_thread(self._started)
            answered = await asyncio.to_thread(worker.ask, question, data, self._limits.judging_seconds)
            good = True
            return answered
        except TimeoutError:
            seconds = f"{self._limits.judging_seconds:g} s"
            raise RefusedError(504, "too_slow", f"too_slow: not judged within {seconds}; cut the recording into parts") from None
        except (EOFError, OSError):
            words = "ended: the process that read this recording ended; it is damaged, or takes more memory than the server allows"
            raise RefusedError(422, "ended", words) from None
        except SerError as error:
            raise RefusedError(503, "no_worker", f"no_worker: {error}", {"Retry-After": str(RETRY_SECONDS)}) from None
        finally:
            if worker is not None and not good:
                self._ended(worker)
            self._idle.put_nowait(worker if good else None)

    def _started(self) -> Worker:
        worker = Worker(self._folder, self._limits)
        self._all.add(worker)
        return worker

    def _ended(self, worker: Worker) -> None:
        self._all.discard(worker)
        worker.kill()
