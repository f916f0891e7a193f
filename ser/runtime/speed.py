"""The least speed of a transfer over HTTP, so that a server that sends a byte now and then is given up like a silent one."""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection

from ser.runtime.disk import TransferError

LEAST = 1000
"""Bytes that must come in a second, on average over ``SECONDS``."""
SECONDS = 60.0
"""Seconds of waiting for a server after which its speed is judged, again and again."""


class Steady(HTTPResponse):
    """An answer, from its status line on, that raises ``TransferError`` where it comes too slowly.

    Only the time in which bytes are waited for counts, and not what is done with them.
    """

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        """Take the answer from a socket, as http.client does."""
        super().__init__(sock, debuglevel, method, url)
        self.fp = io.BufferedReader(_Timed(self.fp.detach()))


class SteadyConnection(HTTPConnection):
    """A connection whose answers are ``Steady``."""

    response_class = Steady


class SteadyTlsConnection(HTTPSConnection):
    """The same over TLS."""

    response_class = Steady


class _Timed(io.RawIOBase):
    """A raw stream of a socket that knows how long it was waited for."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw, self._got, self._waited = raw, 0, 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        begun = time.monotonic()
        count = self._raw.readinto(buffer)
        self._waited += time.monotonic() - begun
        self._got += count or 0
        if self._waited >= SECONDS:
            if self._got < LEAST * SECONDS:
                raise TransferError(f"the server sends less than {LEAST:,} bytes a second over {SECONDS:g} s")
            self._got, self._waited = 0, 0.0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
