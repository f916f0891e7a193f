"""The routes: the page, ``POST /predict``, and the description of both."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ser.serving.bundle import Bundle
from ser.serving.page import upload
from ser.serving.page.document import Page
from ser.serving.page.guard import Guard
from ser.serving.page.limits import Limits, RefusedError
from ser.serving.page.openapi import description
from ser.serving.page.pool import Pool
from ser.serving.page.question import Question

Answer = tuple[int, bytes]
YES = ("1", "true", "yes")


class Server:
    """A model behind HTTP.

    Attributes:
        app: the ASGI application.
        limits: of requests.
        pool: the workers; whoever runs the application starts and ends them.
    """

    def __init__(self, folder: Path, bundle: Bundle, limits: Limits, token: str = "") -> None:
        """Prepare it; nothing is started yet.

        Args:
            folder: of the bundle.
            bundle: its facts.
            limits: of requests.
            token: what a client has to know; empty: nothing.
        """
        self.pool, self.limits = Pool(folder, bundle, limits), limits
        self._page = Page.of(bundle, limits)
        self._description = description(bundle, limits, bool(token))
        routes = [
            Route("/", self._show, methods=["GET"]),
            Route("/predict", self._predict, methods=["POST"]),
            Route("/openapi.json", self._describe, methods=["GET"]),
        ]
        handlers = {RefusedError: _refused, ClientDisconnect: _gone, HTTPException: _not_there, Exception: _failed}
        self.app = Guard(Starlette(routes=routes, exception_handlers=handlers), token)

    async def _show(self, request: Request) -> Response:
        return HTMLResponse(self._page.html, headers={"Content-Security-Policy": self._page.policy})

    async def _describe(self, request: Request) -> Response:
        return JSONResponse(self._description)

    async def _predict(self, request: Request) -> Response:
        asked = request.query_params
        question = Question(
            upload.shown(asked.get("name", "")), asked.get("timeline", "").lower() in YES, asked.get("picture", "").lower() in YES
        )
        async with self.pool.place():
            upload.checked(request.headers, self.limits)
            data = await upload.received(request.stream(), self.limits)
            status, body = await _while_there(request, self.pool.ask(question, data))
        return Response(body, status, media_type="application/json")


async def _while_there(request: Request, answer: Coroutine[None, None, Answer]) -> Answer:
    """The answer, unless the client leaves before it: then nobody is to wait for what nobody reads.

    Raises:
        ClientDisconnect: if it left.
    """
    asking, leaving = asyncio.create_task(answer), asyncio.create_task(_left(request))
    await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    if not asking.done():
        asking.cancel()
        await asyncio.wait((asking,))
        raise ClientDisconnect
    return asking.result()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return JSONResponse({"reason": error.reason, "problem": error.problem}, error.status, dict(error.headers))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _not_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        words = "method: recordings are sent by POST to /predict; the page / and /openapi.json are read by GET"
        return JSONResponse({"reason": "method", "problem": words}, 405, dict(error.headers or {}))
    words = "not_found: there are /, /predict and /openapi.json"
    return JSONResponse({"reason": "not_found", "problem": words}, error.status_code)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"reason": "failed", "problem": "failed: an error in the server; its terminal shows where"}, 500)
