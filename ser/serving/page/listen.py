"""Where the server listens, what it says, and until when it runs."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import secrets
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ser import SerError
from ser.runtime.text import printable
from ser.serving.page.limits import Limits

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from ser.serving.page.app import Server

SHORTEST_TOKEN = 12
"""Characters of a token at least."""
MOST_CONNECTIONS = 128
"""Open at once; more are refused before they are heard."""
SLOWEST = 1000
"""Bytes a second that a client must take of an answer, once its system holds no more."""


def serve(options: argparse.Namespace) -> int:
    """``ser serve``: until interrupted.

    Raises:
        SerError: if a package is missing, or the model cannot be opened, or the address cannot be had.
    """
    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise SerError(f"ser serve needs {package}: pip install 'ser[serve]' (in a clone: pip install '.[serve]')")
    from ser.serving import bundle as bundles
    from ser.serving import references
    from ser.serving.cli import about
    from ser.serving.page.app import Server
    from ser.serving.page.guard import is_loopback

    folder = references.default(Path("exports")) if options.bundle is None else references.opened(options.bundle)
    bundle = bundles.read(folder)
    limits = Limits(megabytes=options.max_mb, minutes=options.max_minutes, jobs=options.jobs)
    with listening(options.host, options.port) as bound:
        address, port = bound.getsockname()[:2]
        local = is_loopback(address)
        token = chosen_token(options.token, local)
        print(printable(f"{folder.name if folder.parent == references.PACKAGED else folder}: {about(bundle)}"), file=sys.stderr)
        print(f"recordings: {limits.said()}; never kept", file=sys.stderr)
        if not local:
            print(
                "not encrypted: put a proxy with TLS before it; browsers give the microphone to https and this machine only",
                file=sys.stderr,
            )
        where = _address(address, port) + (f"?token={token}" if token else "")
        app = Server(folder, bundle, limits, token)
        asyncio.run(run(app, bound, lambda http: print(f"{where}  (Ctrl-C ends it)", flush=True)))
    return 0


def listening(host: str, port: int) -> socket.socket:
    """A socket on this address.

    Raises:
        SerError: if there is no such address, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        raise SerError(
            f"cannot listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}; choose another --port or --host"
        ) from None
    return found


def chosen_token(given: str | None, local: bool) -> str:
    """The token that clients have to know: the given one, one made up where other machines reach the server, else none (empty).

    Raises:
        SerError: if the given one is too short, or could not stand in an address.
    """
    if given is None:
        return "" if local else secrets.token_urlsafe(24)
    if len(given) < SHORTEST_TOKEN or not given.isascii() or not given.replace("-", "").replace("_", "").isalnum():
        raise SerError(f"--token: at least {SHORTEST_TOKEN} letters, digits, - and _ are needed; leave it out, and one is made up")
    return given


async def run(app: Server, bound: socket.socket, ready: Callable[[uvicorn.Server], None]) -> None:
    """Start the workers, serve until a signal or ``should_exit`` ends it, and end the workers.

    Args:
        app: the application.
        bound: where it listens.
        ready: called once the workers are ready, with the HTTP server. That has no log, because addresses may hold the token.

    Raises:
        SerError: if a worker cannot open the model.
    """
    import uvicorn

    http = uvicorn.Server(
        uvicorn.Config(
            app.app,
            http=closing_idle(app.limits.head_seconds),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=2,
        )
    )
    try:
        await app.pool.start()
        bound.listen()  # whoever is told the address may ask at once
        ready(http)
        await http.serve(sockets=[bound])
    finally:
        app.pool.stop()


def closing_idle(seconds: float) -> type[H11Protocol]:
    """HTTP that closes a connection on which nothing is asked, or of whose answers less than ``SLOWEST`` is taken, for so many seconds.

    uvicorn keeps such connections, and their number is limited.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class ClosingIdle(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None
        _sending: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._heard()
            elif self._waiting is None:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._heard()
            self._sent()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._waiting is None:
                self._wait()

        def _wait(self) -> None:
            self._waiting = self.loop.call_later(seconds, self._close)

        def _heard(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

        def _close(self) -> None:
            self._waiting = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()
                self._watch()  # it closes when all is sent

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch()

        def resume_writing(self) -> None:
            self._sent()
            super().resume_writing()

        def _watch(self) -> None:
            self._sent()
            self._sending = self.loop.call_later(seconds, self._give_up, self.transport.get_write_buffer_size())

        def _sent(self) -> None:
            if self._sending is not None:
                self._sending.cancel()
                self._sending = None

        def _give_up(self, before: int) -> None:
            left = self.transport.get_write_buffer_size()
            if left and left > before - SLOWEST * seconds:
                self.transport.abort()
            else:
                self._watch()

    return ClosingIdle


def _address(bound: str, port: int) -> str:
    name = socket.gethostname() if bound in ("0.0.0.0", "::") else f"[{bound}]" if ":" in bound else bound
    return f"http://{name}:{port}/"
