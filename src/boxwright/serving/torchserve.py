"""TorchServe's REST calls; translation only.

URLs, bodies and error texts follow TorchServe 0.12's Java handlers, which are what clients meet. Where
it answers a bad picture with 503, this server says 400, 413 or 415.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from .calls import Protocol, Refusal, find_model, place, predict, read_body
from .engine import Engine, ServedModel

__all__ = ["PROTOCOL"]

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]  # TorchServe takes any; curl -T sends PUT


def _add_routes(app: FastAPI, engine: Engine, max_body: int) -> None:
    @app.get("/ping")
    async def ping() -> Response:
        return _json({"status": "Healthy"})

    @app.get("/models")
    async def list_models(request: Request) -> Response:
        return _json(_page(engine, request.query_params))

    @app.get("/models/{name}")
    @app.get("/models/{name}/{version}")
    async def describe(request: Request, name: str, version: str | None = None) -> Response:
        model = find_model(engine, name, None if version == "all" else version)
        return _json([_description(engine, model, request.query_params.get("customized") == "true")])

    @app.api_route("/predictions/{name}", methods=_METHODS)
    @app.api_route("/predictions/{name}/{version}", methods=_METHODS)
    @app.api_route("/predictions/{name}/{version}/{rest:path}", methods=_METHODS)
    async def answer(request: Request, name: str, version: str | None = None, rest: str = "") -> Response:
        model = find_model(engine, name, version)
        with place(engine, model):
            detections = await predict(engine, model, await _picture_bytes(request, max_body))
            # to the letter what TorchServe makes of a handler's list
            document = json.dumps(detections.to_answer(model.class_names), indent=2)
            return Response(document, media_type="application/json")


def _error(refusal: Refusal) -> Response:
    body = {"code": refusal.status, "type": refusal.kind, "message": refusal.message}
    return _json(body, refusal.status, refusal.headers)


PROTOCOL = Protocol("", _add_routes, _error)


async def _picture_bytes(request: Request, max_body: int) -> bytes:
    body = await read_body(request, max_body)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _form_file(request, body)
    if not body:
        raise Refusal(400, "The request holds no picture. Send one as the body.")
    return body


async def _form_file(request: Request, body: bytes) -> bytes:
    parser = MultiPartParser(request.headers, _once(body), max_part_size=len(body))
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, LookupError) as error:
        raise Refusal(400, f"The form cannot be read: {error}") from None
    try:
        field = form.get("data") or form.get("body") or next(iter(form.values()), None)
        if not isinstance(field, UploadFile):
            raise Refusal(400, "The form holds no file. Send the picture as 'data'.")
        return await field.read()
    finally:
        await form.close()


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(document, indent=2) + "\n"
    return Response(text, status_code=status, media_type="application/json", headers=headers)


def _page(engine: Engine, query: Any) -> dict[str, Any]:
    limit, start = _number(query.get("limit"), 100), _number(query.get("next_page_token"), 0)
    names = sorted(engine.models)
    shown = [{"modelName": name, "modelUrl": engine.models[name].url} for name in names[start : start + limit]]
    token = {"nextPageToken": str(start + limit)} if start + limit < len(names) else {}
    return {**token, "models": shown}


def _number(text: str | None, default: int) -> int:
    """As TorchServe: what is not a number is the default."""
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
