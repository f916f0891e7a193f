"""The process that decodes and judges: under a memory limit, without a disk, and with nothing that it could tell but its answers.

Decoders are the part that bytes from outside could break. So they run here and not in the server. Questions and answers are bytes and JSON,
never pickles: a worker that was taken over cannot make the server run code.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from ser import SerError
from ser.runtime.machine import end_with_the_parent
from ser.runtime.signals import ignore_interrupts
from ser.serving.bundle import Bundle
from ser.serving.page.limits import Limits
from ser.serving.page.question import Question

if TYPE_CHECKING:
    from ser.serving.page.answer import Json
    from ser.serving.predict import Predictor


def work(connection: Connection, folder: Path, bundle: Bundle, limits: Limits) -> None:
    """Answer questions until the connection ends (the process's main function).

    The first message says whether the model could be opened, and is still that of the server: ``{}``, or ``{"problem": …}``. Then comes,
    for each question, ``[status, body]``.
    """
    ignore_interrupts()  # the server ends its workers
    _few_arenas()
    end_with_the_parent()
    from ser.serving.predict import Predictor  # not in the server, which needs a tenth of the memory without it

    try:
        predictor = Predictor(folder, minutes=limits.minutes)
        if predictor.bundle != bundle:  # the page tells of that one, and so do the other workers
            raise SerError(f"{folder} holds another model than when the server started: start it again")
    except SerError as error:
        connection.send_bytes(json.dumps({"problem": str(error)}).encode())
        return
    limited(limits.memory_megabytes + 3 * limits.megabytes)  # a connection holds what it receives up to three times
    connection.send_bytes(b"{}")
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            question, data = Question.received(connection, limits.most_bytes)
            status, body = _answered(predictor, question, data)
            connection.send_bytes(json.dumps([status, body]).encode())


def _answered(predictor: Predictor, question: Question, data: bytes) -> tuple[int, Json]:
    from ser.serving.page.answer import answer

    try:
        return answer(predictor, question, data)
    except MemoryError:
        return 422, {
            "reason": "memory",
            "problem": "memory: judging this recording takes more memory than the server allows; cut it into parts",
        }
    except SerError as error:
        return 500, {"reason": "model", "problem": f"model: {error}"}
    except Exception:  # whatever it is, the next recording is judged
        traceback.print_exc(file=sys.stderr)
        return 500, {"reason": "failed", "problem": "failed: an error in the server; its terminal shows where"}


def limited(megabytes: float) -> None:
    """Give this process an end of its memory, and no files: nothing of a recording can be written, not even in a core dump.

    Where a limit is not known to the system (macOS has no address space's, Windows has none), it is left out; the time limit stays.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + round(megabytes * 1e6)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _few_arenas() -> None:
    """Let all threads share two heaps. glibc reserves 64 MB of address space for the heap of each thread, which the limit would count."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-8, 2)  # M_ARENA_MAX of malloc.h
