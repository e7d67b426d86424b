"""TorchServe's inference calls; translation only.

URLs, bodies and error texts follow TorchServe 0.12's Java handlers, which are what clients meet. Where
it answers a bad picture with 503, this server says 400, 413 or 415.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .bodies import beside, has_many_values, is_large
from .calls import THRESHOLDS, Found, Protocol, Service, number_of
from .intake import Body
from .refusals import Refusal

__all__ = ["PROTOCOL", "answer_json", "error_json", "no_workflows"]

_Endpoint = Callable[[Request], Awaitable[Response]]

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]  # TorchServe takes any; curl -T sends PUT
_PICTURES = ("data", "body")
"""Form fields that are the picture, also when they are sent without a file name."""

_ABSENT = "NotImplementedException"
_SPACES = b" \t\n\r\v\f"


@dataclass(frozen=True, eq=False)
class _Asked:
    """What a request asks for: complete pictures, the lowest score, and whether they came as a list."""

    pictures: list[Body]
    threshold: float | None


def _routes(service: Service) -> list[BaseRoute]:
    async def ping(request: Request) -> Response:
        return _ping(service)

    predictions = _predictions(service)

    async def invocations(request: Request) -> Response:
        name = request.query_params.get("model_name") or _only_model(service)
        return await _answer(service, request, name, None, also=("model_name",))

    async def explanations(request: Request) -> Response:
        service.find(request.path_params["name"], request.path_params.get("version"))
        raise Refusal(501, "There are no explanations here: they would run code from archives.", _ABSENT)

    async def workflows(request: Request) -> Response:
        raise no_workflows()

    anyhow: Sequence[tuple[str, _Endpoint]] = (
        ("/predictions/{name}", predictions),
        ("/predictions/{name}/{version}", predictions),
        ("/predictions/{name}/{version}/{rest:path}", predictions),
        ("/explanations/{name}", explanations),
        ("/explanations/{name}/{version}", explanations),
        ("/explanations/{name}/{version}/{rest:path}", explanations),
        ("/wfpredict/{name:path}", workflows),
    )
    return [
        Route("/ping", ping, methods=["GET", "POST"]),
        Route("/invocations", invocations, methods=["POST"]),
        Route("/models/{name}/invoke", predictions, methods=["POST"]),
        *(Route(path, endpoint, methods=_METHODS) for path, endpoint in anyhow),
    ]


def _late_routes(service: Service) -> list[BaseRoute]:
    """The short form of predictions: any name may stand where other calls have a word."""
    paths = ("/{name}/predict", "/{name}/{version}/predict")
    return [Route(path, _predictions(service), methods=_METHODS) for path in paths]


def _predictions(service: Service) -> _Endpoint:
    async def predictions(request: Request) -> Response:
        path = request.path_params
        return await _answer(service, request, path["name"], path.get("version"))

    return predictions


def no_workflows() -> Refusal:
    """501 with the reason."""
    return Refusal(501, "There are no workflows here: they would run code from archives.", _ABSENT)


def _ping(service: Service) -> Response:
    """Healthy while it is ready for pictures."""
    if not service.ready:
        return answer_json({"status": "Unhealthy"}, 503, {"Retry-After": "1"})
    return answer_json({"status": "Healthy"})


def _only_model(service: Service) -> str:
    """SageMaker names no model. As in TorchServe it is the one that the server started with, whatever came later.

    Raises:
        Refusal: 400, it started with several, or with none.
    """
    known = service.engine.models
    names = [name for name, model in known.items() if model.at_startup]
    if len(names) != 1:
        raise Refusal(400, "Parameter model_name is required.")
    return names[0]


async def _answer(
    service: Service, request: Request, name: str, version: str | None, also: tuple[str, ...] = ()
) -> Response:
    in_query = _threshold_of_query(request, also)
    service.require_room(name, version)
    asked = await _asked(service, request)
    if None not in (in_query, asked.threshold):
        for picture in asked.pictures:
            picture.release()
        raise Refusal(400, "The URL and the form name a threshold. Send one.")
    threshold = asked.threshold if in_query is None else in_query
    found = await service.predict(request, name, version, asked.pictures, threshold)
    answers = [_answered(one) for one in found]
    # to the letter what TorchServe makes of a handler's list
    document = json.dumps(answers[0] if len(answers) == 1 else answers, indent=2)
    return Response(document, media_type="application/json")


def _answered(found: Found) -> list[dict[str, Any]]:
    return found.detections.to_answer(found.model.class_names)


def _threshold_of_query(request: Request, also: tuple[str, ...]) -> float | None:
    """The lowest score that the query asks for; parameters in ``also`` were read by others.

    Raises:
        Refusal: 400, there is a parameter that nothing here would honour.
    """
    threshold = None
    for key, value in request.query_params.multi_items():
        if key in THRESHOLDS:
            threshold = _first(threshold, number_of(value, key))
        elif key not in also:
            raise Refusal(400, f"Parameter {key!r} is unknown. There is threshold, the lowest score to report.")
    return threshold


def _first(before: float | None, number: float) -> float:
    if before is not None:
        raise Refusal(400, f"{' and '.join(THRESHOLDS)} are the same parameter. Send it once.")
    return number


async def _asked(service: Service, request: Request) -> _Asked:
    body = await service.receive(request)
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith("multipart/form-data"):
        return await _form_beside(service, request.headers["content-type"], _read(body))
    if not body.size:
        body.release()
        raise Refusal(400, "The request holds no picture. Send one as the body.")
    if kind.startswith(("text/", "application/json")):
        content = _read(body)
        # some clients declare every body as JSON: like TorchServe we take bytes that are no text as they are
        if content.isascii():
            content = await beside(len(content), lambda: _decoded(content))
        return _Asked([service.intake.kept(content)], None)
    return _Asked([body], None)


def _read(body: Body) -> bytes:
    content = body.read()
    body.release()
    return content


def _decoded(text: bytes) -> bytes:
    """The picture in a text or JSON body, which hold it in base64, as TorchServe's image handlers take it."""
    if has_many_values(text):
        raise Refusal(400, "The body holds no picture, but a document of many values. Send the picture's bytes.")
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        content = text.decode("ascii", "replace")
    if isinstance(content, dict):
        content = content.get("data", content.get("body"))
    if not isinstance(content, str):
        raise Refusal(400, "The body holds no picture. Send its bytes, or its base64 as text.")
    _, _, content = content.rpartition("base64,")  # of a data URL
    try:
        return base64.b64decode(content.encode("ascii", "replace").translate(None, _SPACES), validate=True)
    except binascii.Error as broken:
        raise Refusal(400, f"The body's text is not base64: {broken}. Send the picture's bytes.") from None


async def _form_beside(service: Service, kind: str, content: bytes) -> _Asked:
    """See ``_form``; a large one is read on a thread, in a loop of its own: its parser is for loops."""
    if not is_large(len(content)):
        return await _form(service, kind, content)
    return await anyio.to_thread.run_sync(lambda: asyncio.run(_form(service, kind, content)))


async def _form(service: Service, kind: str, content: bytes) -> _Asked:
    """All files of a form, in order, and the lowest score if it is a field.

    Raises:
        Refusal: 400, it cannot be read, holds no file, or a field that nothing here would honour.
    """
    # as latin-1 every byte is a character, so that a picture in a field without a file name stays whole
    headers = Headers({"content-type": f"{kind}; charset=latin-1"})
    parser = MultiPartParser(headers, _once(content), max_part_size=len(content))
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, LookupError) as error:
        raise Refusal(400, f"The form cannot be read: {error}") from None
    pictures: list[Body] = []
    threshold = None
    try:
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                pictures.append(service.intake.kept(await value.read()))
            elif key in THRESHOLDS:
                threshold = _first(threshold, number_of(value, key))
            elif key in _PICTURES:
                pictures.append(service.intake.kept(value.encode("latin-1")))
            else:
                raise Refusal(400, f"Form field {key!r} is unknown. There is threshold, the lowest score to report.")
        if not pictures:
            raise Refusal(400, "The form holds no file. Send the picture as 'data'.")
    except BaseException:
        for picture in pictures:
            picture.release()
        raise
    finally:
        await form.close()
    return _Asked(pictures, threshold)


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def answer_json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A document as TorchServe writes it: indented, with a newline at the end."""
    text = json.dumps(document, indent=2) + "\n"
    return Response(text, status_code=status, media_type="application/json", headers=headers)


def error_json(refusal: Refusal) -> Response:
    """A refusal as TorchServe writes it."""
    body = {"code": refusal.status, "type": refusal.kind, "message": refusal.message}
    return answer_json(body, refusal.status, refusal.headers)


PROTOCOL = Protocol("", _routes, error_json, _late_routes)
