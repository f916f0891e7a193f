"""What a request may cost, and how one is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """Bounds of one server.

    Attributes:
        megabytes: of one upload, 10⁶ bytes each.
        minutes: of one recording.
        jobs: recordings judged at once, each in a process of its own.
        waiting: further requests that wait or are uploading; each may hold ``megabytes``.
        head_seconds: from a connection, or an answer on it, to the end of a request's head.
        upload_seconds: from a request's head to its last byte.
        start_seconds: from the start of a worker to its first question.
        memory_megabytes: address space that a worker may take on top of the opened model and the upload.
        seconds: of judging one recording; None: 30 s and 15 s for each of the ``minutes``.
    """

    megabytes: float = 50.0
    minutes: float = 10.0
    jobs: int = 1
    waiting: int = 16
    head_seconds: float = 15.0
    upload_seconds: float = 60.0
    start_seconds: float = 120.0
    memory_megabytes: float = 1500.0
    seconds: float | None = None

    @property
    def most_bytes(self) -> int:
        """Bytes of one upload at most."""
        return round(self.megabytes * 1e6)

    @property
    def judging_seconds(self) -> float:
        """Seconds of judging one recording at most. A minute of speech with its timeline takes 3 s, on a busy core 6 s."""
        return self.seconds if self.seconds is not None else 30 + 15 * self.minutes

    def said(self) -> str:
        """The limits that a user meets, in words."""
        return f"at most {self.megabytes:g} MB and {self.minutes:g} minutes per recording, {self.jobs} at once, {self.waiting} waiting"


@dataclass
class RefusedError(Exception):
    """A request that is not answered, and why.

    Attributes:
        status: of HTTP.
        reason: one short word, the same for the same cause.
        problem: what is wrong and what to do, in words.
        headers: to send along.
    """

    status: int
    reason: str
    problem: str
    headers: Mapping[str, str] = field(default_factory=dict)
