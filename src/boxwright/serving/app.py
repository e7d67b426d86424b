"""The application: all protocols, and what every answer of theirs has."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from . import torchserve, v2
from .calls import Refusal
from .engine import Engine
from .lingering import Lingering

__all__ = ["MAX_BODY", "create_app"]

MAX_BODY = 32 * 1024**2
"""Largest accepted request body in bytes."""

_PROTOCOLS = (v2.PROTOCOL, torchserve.PROTOCOL)
"""Errors have the shape of the first whose prefix the path has; the last one's is empty."""

_NO_CACHE = {
    "Cache-Control": "no-cache; no-store, must-revalidate, private",
    "Expires": "Thu, 01 Jan 1970 00:00:00 UTC",
    "Pragma": "no-cache",
}


def create_app(engine: Engine, max_body: int = MAX_BODY) -> FastAPI:
    """The ASGI application of an engine.

    Args:
        engine: its models.
        max_body: largest accepted request body in bytes, also when unpacked.
    """
    app = FastAPI(title="boxwright", openapi_url=None, redirect_slashes=False)

    @app.middleware("http")
    async def mark(request: Request, call_next: Any) -> Response:
        request.scope["path"] = request.scope["path"].rstrip("/") or "/"
        response: Response = await call_next(request)
        response.headers.update({"x-request-id": str(uuid.uuid4()), **_NO_CACHE})
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            response.headers["Connection"] = "close"
        return response

    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> Response:
        path = f"{request.url.path}/"
        return next(one for one in _PROTOCOLS if path.startswith(f"{one.prefix}/")).error(refusal)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        return await refuse(request, _unrouted(error.status_code, request.url.path))

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody reads it

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        message = "Internal error; see the server's log."
        return await refuse(request, Refusal(500, message, "InternalServerException"))

    for protocol in _PROTOCOLS:
        protocol.add_routes(app, engine, max_body)
    app.add_middleware(Lingering)  # the last one added is the outermost: it sees the answers of all others
    return app


def _unrouted(status: int, path: str) -> Refusal:
    """TorchServe's words where no route fits."""
    refer = "please refer to API document."
    if status == HTTPStatus.METHOD_NOT_ALLOWED or path == "/":  # TorchServe answers OPTIONS there
        return Refusal(405, f"Requested method is not allowed, {refer}", "MethodNotAllowedException")
    return Refusal(status, f"Requested resource is not found, {refer}", "ResourceNotFoundException")
