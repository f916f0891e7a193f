"""Who may ask: the server's own pages and programs, not pages of other sites; and what browsers are told about every answer."""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ser.serving.page.limits import RefusedError

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-store",
}
NO_CONTENT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The policy of all answers but the page, which has one of its own."""


@dataclass(frozen=True)
class Guard:
    """An ASGI application that lets through what may ask.

    Attributes:
        app: the application behind it.
        token: what has to be sent as ``Authorization: Bearer …``, for the page alone also as ``?token=``. Empty: nothing, but the name
            that the server is called by must be one of this machine's, so that no foreign name that leads here (DNS rebinding) makes the
            page of another site its own.
    """

    app: ASGIApp
    token: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse, one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {"Content-Security-Policy": NO_CONTENT, **HEADERS}.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(Headers(scope=scope), scope)
        except RefusedError as refused:
            await _refuse(refused, sending)
            return
        await self.app(scope, receive, sending)

    def _check(self, headers: Mapping[str, str], scope: Scope) -> None:
        host = headers.get("host", "")
        if not self.token and not is_local(host):
            raise RefusedError(403, "wrong_host", "wrong_host: this server answers to localhost and 127.0.0.1 only")
        origin = headers.get("origin")
        if (origin is not None and origin.partition("://")[2] != host) or (
            scope["method"] not in ("GET", "HEAD") and headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
        ):
            raise RefusedError(403, "wrong_origin", "wrong_origin: pages of other sites may not ask this server")
        if self.token and not self._knows(headers, scope):
            words = "token: send the header `Authorization: Bearer TOKEN`, or open the page with ?token=TOKEN; the terminal shows it"
            raise RefusedError(401, "token", words, {"WWW-Authenticate": "Bearer"})

    def _knows(self, headers: Mapping[str, str], scope: Scope) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip(), self.token):
            return True
        in_address = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return scope["path"] == "/" and _same(in_address, self.token)


def is_local(host: str) -> bool:
    """Whether ``host`` of a request names this machine, with any port: a tunnel may have another."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or is_loopback(name)


def is_loopback(address: str) -> bool:
    """Whether it is an address that only this machine can reach."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


async def _refuse(refused: RefusedError, send: Send) -> None:
    body = json.dumps({"reason": refused.reason, "problem": refused.problem}).encode()
    fields = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
    headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
