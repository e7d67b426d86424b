"""KServe's protocol, version 1: ``instances`` in, ``predictions`` out.

An instance is one picture in base64: a text, ``{"b64": text}``, ``{"data": text}`` as TorchServe's image handlers take
it, or one of these under ``image`` or ``image_bytes``. Each prediction is what ``/predictions/NAME`` answers.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .bodies import beside
from .calls import THRESHOLDS, Protocol, Service, number_of
from .encodings import answer_bytes, answer_document, content_of, error_document, read_json, threshold_in_url
from .open_inference import is_model_ready, not_offered, predicted
from .refusals import Refusal

__all__ = ["PROTOCOL"]

_PREFIX = "/v1"
_TEXTS = ("b64", "data", "body")
_AROUND = ("image", "image_bytes")
_ACTIONS = (":predict", ":explain")


@dataclass(frozen=True, eq=False)
class _Asked:
    pictures: list[bytes]
    threshold: float | None


def _routes(service: Service) -> list[BaseRoute]:
    async def models(request: Request) -> Response:
        return answer_document({"models": list(service.engine.models)})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        if name.endswith(_ACTIONS):
            raise Refusal(405, f"{request.url.path} is asked with POST.", headers={"Allow": "POST"})
        ready = is_model_ready(service, service.find(name))
        headers = {} if ready else {"Retry-After": "1"}
        return answer_document({"name": name, "ready": ready}, 200 if ready else 503, headers)

    async def predict(request: Request) -> Response:
        return await _predict(service, request)

    async def explain(request: Request) -> Response:
        raise not_offered("explain")

    return [
        Route(f"{_PREFIX}/models", models, methods=["GET"]),
        Route(f"{_PREFIX}/models/{{name}}:predict", predict, methods=["POST"]),
        Route(f"{_PREFIX}/models/{{name}}:explain", explain, methods=["POST"]),
        Route(f"{_PREFIX}/models/{{name}}", model, methods=["GET"]),
    ]


PROTOCOL = Protocol(_PREFIX, _routes, error_document)


async def _predict(service: Service, request: Request) -> Response:
    name = request.path_params["name"]
    in_url = threshold_in_url(request)
    service.require_room(name)
    asked = await _received(service, request)
    if None not in (in_url, asked.threshold):
        raise Refusal(400, "The URL and the parameters name a threshold. Send one.")
    threshold = asked.threshold if in_url is None else in_url
    found = await predicted(service, request, (name, None), asked.pictures, threshold)
    predictions = [one.detections.to_answer(one.model.class_names) for one in found]
    return answer_bytes(request, json.dumps({"predictions": predictions}).encode(), "application/json", {})


async def _received(service: Service, request: Request) -> _Asked:
    async with content_of(service, request) as content:
        return await beside(len(content), lambda: _read(content))


def _threshold(parameters: Any) -> float | None:
    """The lowest reported score, if the parameters name one.

    Raises:
        Refusal: 400, it is no score, or there is a parameter that nothing here would honour.
    """
    if not isinstance(parameters, dict):
        raise Refusal(400, "The parameters are not an object.")
    for name in parameters:
        if name not in THRESHOLDS:
            raise Refusal(400, f"Parameter {name!r} of the request is unknown. There is {', '.join(THRESHOLDS)}.")
    if len(parameters) > 1:
        raise Refusal(400, f"{' and '.join(THRESHOLDS)} are the same parameter. Send one.")
    for name, value in parameters.items():
        return number_of("" if isinstance(value, bool) else str(value), name)
    return None


def _read(content: bytes) -> _Asked:
    document = read_json(content)
    instances = document.pop("instances", None)
    threshold = _threshold(document.pop("parameters", None) or {})
    if document:
        raise Refusal(400, f"Key {next(iter(document))!r} is unknown. There are instances and parameters.")
    if not isinstance(instances, list) or not instances:
        raise Refusal(400, 'The request holds no pictures. Send {"instances": [{"b64": "..."}]}.')
    return _Asked([_picture(one, place) for place, one in enumerate(instances)], threshold)


def _picture(instance: Any, place: int) -> bytes:
    inner = instance
    if isinstance(inner, dict) and len(inner) == 1 and next(iter(inner)) in _AROUND:
        (inner,) = inner.values()
    if isinstance(inner, dict) and len(inner) == 1 and next(iter(inner)) in _TEXTS:
        (inner,) = inner.values()
    if not isinstance(inner, str):
        raise Refusal(400, f'Instance {place} is no picture. Send {{"b64": "..."}}, its bytes in base64.')
    _, _, text = inner.rpartition("base64,")  # of a data URL
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as broken:
        raise Refusal(400, f"Instance {place} is not base64: {broken}.") from None
