"""A real server on a free port of this machine, in a thread of the tests, and requests to it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from ser.serving import bundle as bundles
from ser.serving.page.app import Server
from ser.serving.page.limits import Limits
from ser.serving.page.listen import listening, run

Body = bytes | Iterable[bytes] | None


@dataclass(frozen=True)
class Answered:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """A running server."""

    server: Server
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Body = None, headers: Mapping[str, str] | None = None) -> Answered:
        """One request; a body of pieces is sent chunked, without a length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, dict(headers or {}), encode_chunked=not isinstance(body, bytes | None))
            response = connection.getresponse()
            return Answered(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        finally:
            connection.close()

    def predict(self, body: Body, query: str = "", **headers: str) -> Answered:
        """``POST /predict``."""
        return self.ask("POST", f"/predict{query}", body, headers)

    def begun(self, size: int = 1000) -> socket.socket:
        """A connection on which an upload of ``size`` bytes has begun, and no more comes."""
        found = socket.create_connection(("127.0.0.1", self.port), timeout=300)
        found.sendall(f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\nRIFF".encode())
        return found


@contextmanager
def served(folder: Path, limits: Limits, token: str = "") -> Iterator[Served]:
    """Serve a bundle; with ``jobs=0`` no worker is started, for what is refused before one is asked."""
    server = Server(folder, bundles.read(folder), limits, token)
    ready, running = threading.Event(), list[uvicorn.Server]()

    def started(http: uvicorn.Server) -> None:
        running.append(http)
        ready.set()

    with listening("127.0.0.1", 0) as bound:
        thread = threading.Thread(target=lambda: asyncio.run(run(server, bound, started)), daemon=True)
        thread.start()
        try:
            assert ready.wait(300)
            yield Served(server, bound.getsockname()[1])
        finally:
            for http in running:
                http.should_exit = True
            thread.join(300)
            assert not thread.is_alive()
