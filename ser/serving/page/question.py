"""What is asked about a recording, and how it is sent to a worker."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

MOST_HEAD = 1 << 16
"""Bytes of a question without its recording."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        name: of the recording, for the answer alone; never opened.
        timeline: whether emotion over time is asked for.
        picture: whether waveform and log-mel are.
    """

    name: str
    timeline: bool = False
    picture: bool = False

    def send(self, connection: Connection, data: bytes | bytearray) -> None:
        """Send the question and the recording."""
        connection.send_bytes(json.dumps(asdict(self)).encode())
        connection.send_bytes(data)

    @classmethod
    def received(cls, connection: Connection, most: int) -> tuple[Question, bytes]:
        """The next question, and the recording of ``most`` bytes at most.

        Raises:
            EOFError: if there will be none.
        """
        return cls(**json.loads(connection.recv_bytes(MOST_HEAD))), connection.recv_bytes(most)
