"""TorchServe's REST calls over HTTP; translation only.

URLs, bodies and error texts follow TorchServe 0.12's Java handlers, which are what clients meet. Where
it answers a bad picture with 503, this server says 400, 413 or 415.
"""

from __future__ import annotations

import json
import logging
import os
import re
import uuid
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from boxwright.runtime import Detections, PictureError

from . import v2
from .body import BodyRefused, read_body
from .engine import Busy, Engine, ServedModel

__all__ = ["MAX_BODY", "create_app"]

MAX_BODY = 32 * 1024**2
"""Largest accepted request body in bytes."""

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]  # TorchServe takes any; curl -T sends PUT
_NO_CACHE = {
    "Cache-Control": "no-cache; no-store, must-revalidate, private",
    "Expires": "Thu, 01 Jan 1970 00:00:00 UTC",
    "Pragma": "no-cache",
}
_log = logging.getLogger(__name__)


class _Refusal(Exception):
    """An answer of TorchServe's error shape."""

    def __init__(self, status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.headers = status, kind, message, headers or {}


def create_app(engine: Engine, max_body: int = MAX_BODY) -> FastAPI:
    """The ASGI application of an engine.

    Args:
        engine: its models.
        max_body: largest accepted request body in bytes.
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

    @app.exception_handler(_Refusal)
    async def refuse(request: Request, refusal: _Refusal) -> Response:
        return _error(refusal)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        return _fitting_error(request, _unrouted(error.status_code, request.url.path))

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody reads it

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return _fitting_error(
            request, _Refusal(500, "InternalServerException", "Internal error; see the server's log.")
        )

    v2.add_inference_protocol(app, engine, max_body)

    @app.get("/ping")
    async def ping() -> Response:
        return _json({"status": "Healthy"})

    @app.get("/models")
    async def list_models(request: Request) -> Response:
        return _json(_page(engine, request.query_params))

    @app.get("/models/{name}")
    @app.get("/models/{name}/{version}")
    async def describe(request: Request, name: str, version: str | None = None) -> Response:
        model = _find(engine, name, None if version == "all" else version)
        return _json([_description(engine, model, request.query_params.get("customized") == "true")])

    @app.api_route("/predictions/{name}", methods=_METHODS)
    @app.api_route("/predictions/{name}/{version}", methods=_METHODS)
    @app.api_route("/predictions/{name}/{version}/{rest:path}", methods=_METHODS)
    async def predict(request: Request, name: str, version: str | None = None, rest: str = "") -> Response:
        model = _find(engine, name, version)
        try:
            with engine.place(model):
                picture = await _picture_bytes(request, max_body)
                detections = await _predict(engine, model, picture)
                return _answer(detections.to_answer(model.class_names))
        except Busy:
            message = f'Model "{model.name}" has {engine.queue_size} requests waiting already. Try again later.'
            raise _Refusal(503, "ServiceUnavailableException", message, {"Retry-After": "1"}) from None

    return app


async def _predict(engine: Engine, model: ServedModel, picture: bytes) -> Detections:
    try:
        return await engine.predict(model, picture)
    except PictureError as error:
        raise _Refusal(error.http_status, type(error).__name__, str(error)) from None
    except Exception:  # whatever fails inside a network must not end the server
        _log.exception("model %s failed", model.name)
        raise _Refusal(503, "InternalServerException", "Prediction failed") from None


def _find(engine: Engine, name: str, version: str | None) -> ServedModel:
    model = engine.models.get(name)
    if model is None:
        raise _Refusal(404, "ModelNotFoundException", f"Model not found: {name}")
    if version is not None and version != model.version:
        message = f"Model version: {version} does not exist for model: {name}"
        raise _Refusal(404, "ModelVersionNotFoundException", message)
    return model


async def _picture_bytes(request: Request, max_body: int) -> bytes:
    try:
        body = await read_body(request, max_body)
    except BodyRefused as refused:
        raise _Refusal(refused.status, refused.kind, str(refused)) from None
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _form_file(request, body)
    if not body:
        raise _Refusal(400, "BadRequestException", "The request holds no picture. Send one as the body.")
    return body


async def _form_file(request: Request, body: bytes) -> bytes:
    parser = MultiPartParser(request.headers, _once(body), max_part_size=len(body))
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, LookupError) as error:
        raise _Refusal(400, "BadRequestException", f"The form cannot be read: {error}") from None
    try:
        field = form.get("data") or form.get("body") or next(iter(form.values()), None)
        if not isinstance(field, UploadFile):
            raise _Refusal(400, "BadRequestException", "The form holds no file. Send the picture as 'data'.")
        return await field.read()
    finally:
        await form.close()


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _answer(document: list[dict[str, Any]]) -> Response:
    """A prediction, to the letter what TorchServe makes of a handler's list."""
    return Response(json.dumps(document, indent=2), media_type="application/json")


def _json(document: Any, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(document, indent=2) + "\n"
    return Response(text, status_code=status, media_type="application/json", headers=headers)


def _fitting_error(request: Request, refusal: _Refusal) -> Response:
    """In the shape of the protocol that the path belongs to."""
    if f"{request.url.path}/".startswith(f"{v2.PREFIX}/"):
        return v2.error(refusal.status, refusal.message)
    return _error(refusal)


def _error(refusal: _Refusal) -> Response:
    body = {"code": int(refusal.status), "type": refusal.kind, "message": refusal.message}
    return _json(body, refusal.status, refusal.headers)


def _unrouted(status: int, path: str) -> _Refusal:
    if status == HTTPStatus.METHOD_NOT_ALLOWED or path == "/":  # TorchServe answers OPTIONS there
        status = HTTPStatus.METHOD_NOT_ALLOWED
        message = "Requested method is not allowed, please refer to API document."
        return _Refusal(status, "MethodNotAllowedException", message)
    message = "Requested resource is not found, please refer to API document."
    return _Refusal(status, "ResourceNotFoundException", message)


def _page(engine: Engine, query: Any) -> dict[str, Any]:
    limit, start = _number(query.get("limit"), 100), _number(query.get("next_page_token"), 0)
    names = sorted(engine.models)
    shown = [{"modelName": name, "modelUrl": engine.models[name].url} for name in names[start : start + limit]]
    token = {"nextPageToken": str(start + limit)} if start + limit < len(names) else {}
    return {**token, "models": shown}


def _number(text: str | None, default: int) -> int:
    """TorchServe reads what is no number as the default."""
    return int(text) if text is not None and re.fullmatch("[0-9]{1,9}", text) else default


def _description(engine: Engine, model: ServedModel, customized: bool) -> dict[str, Any]:
    started = model.started.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    document: dict[str, Any] = {
        "modelName": model.name,
        "modelVersion": model.version,
        "modelUrl": model.url,
        "runtime": "python",
        "minWorkers": len(model.predictors),
        "maxWorkers": len(model.predictors),
        "batchSize": 1,
        "maxBatchDelay": 0,
        "loadedAtStartup": True,
        "workers": [
            {"id": str(9000 + session), "startTime": started, "status": "READY", "pid": os.getpid()}
            for session in range(len(model.predictors))
        ],
        "jobQueueStatus": {
            "remainingCapacity": engine.queue_size - model.pending,
            "pendingRequests": model.pending,
        },
    }
    if customized:
        document["customizedMetadata"] = model.predictor.spec.to_json()
    return document
