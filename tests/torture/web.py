"""Odd requests to the application behind ``ser serve``, in this process. Workers, which decode and judge, are tried by ``readers``."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

from ser.serving import bundle
from ser.serving.page.app import Server
from ser.serving.page.limits import Limits, RefusedError
from ser.serving.page.question import Question
from tests.torture.ground import Ground
from tests.torture.mutation import mutated, text


def opened(ground: Ground) -> Callable[[random.Random], None]:
    """A reader of requests, for ``readers``."""
    exported = ground.folder / "exports/demo"
    limits = Limits(megabytes=0.01, jobs=0, waiting=2, upload_seconds=2)
    servers = [Server(exported, bundle.read(exported), limits, token) for token in ("", "secret")]
    for server in servers:
        server.pool.ask = _asked  # type: ignore[method-assign]
    loop = asyncio.new_event_loop()
    return lambda chosen: loop.run_until_complete(_request(chosen.choice(servers), chosen))


async def _asked(question: Question, data: bytes | bytearray) -> tuple[int, bytes]:
    """In place of a worker, which ``answer`` tries."""
    return 200, json.dumps({"name": question.name, "bytes": len(data)}).encode()


async def _request(server: Server, chosen: random.Random) -> None:
    """One request with odd words everywhere; its answer is well-formed HTTP with JSON, or the page."""
    path = chosen.choice(("/predict", "/predict", "/", "/openapi.json", "/../x", "/" + text(chosen)))
    known = [
        b"host",
        b"content-type",
        b"content-length",
        b"origin",
        b"authorization",
        b"sec-fetch-site",
        b"content-encoding",
        b"expect",
        b"transfer-encoding",
    ]
    values = [
        b"localhost",
        b"127.0.0.1:8000",
        b"[::1]:80",
        b"[::1",
        b"evil.example",
        b"audio/wav",
        b"multipart/form-data",
        b"0",
        b"-1",
        b"9" * 40,
        b"null",
        b"Bearer secret",
        b"same-origin",
        b"gzip",
    ]
    headers = [
        (chosen.choice(known), mutated(value, chosen) if chosen.random() < 0.3 else value)
        for value in chosen.choices(values, k=chosen.randrange(7))
    ]
    headers += [(b"host", b"localhost")] * (chosen.random() < 0.8) + [(b"authorization", b"Bearer secret")] * (chosen.random() < 0.5)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "method": chosen.choice(("POST", "POST", "GET", "HEAD", "PUT", "OPTIONS", "X")),
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": mutated(b"name=a.wav&timeline=1&picture=0&token=secret", chosen),
        "headers": headers,
    }
    pieces = [chosen.randbytes(chosen.choice((0, 1, 100, 9000))) for _ in range(chosen.randrange(4))]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.disconnect"} if chosen.random() < 0.2 else {"type": "http.request", "body": b"", "more_body": False})
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await server.app(scope, receive, send)
    assert sent
    status, body = sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:])
    assert status != 500, body
    if status != 200:
        assert scope["method"] == "HEAD" or not body or json.loads(body)["reason"], body
        raise RefusedError(status, "refused", "")
