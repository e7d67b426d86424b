"""The Open Inference Protocol, version 2 (KServe's, Triton's), over HTTP.

With its extensions for binary tensors, parameters, configuration, statistics and the model repository. Translation
only: ``v2_tensors`` has the tensors, ``open_inference`` what is said of models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .bodies import SMALL_BODY, beside
from .calls import Found, Protocol, Service
from .encodings import answer_bytes, answer_document, content_of, error_document, read_json, threshold_in_url
from .model import ServedModel
from .open_inference import (
    change_repository,
    is_model_ready,
    model_config,
    model_metadata,
    model_parameters,
    model_statistics,
    not_offered,
    predicted,
    repository_index,
    server_metadata,
)
from .v2_tensors import (
    Call,
    Output,
    Parameters,
    elements_of,
    malformed,
    outputs_of,
    pictures_of_raw,
    pictures_of_texts,
    read_input,
    read_output,
    read_parameters,
    wanted_outputs,
)

__all__ = ["PROTOCOL"]

_PREFIX = "/v2"
_LENGTH = "Inference-Header-Content-Length"
_SIZE = re.compile("[0-9]{1,18}")

_KEYS = ("id", "parameters", "inputs", "outputs", "model_name", "model_version")
_INPUT_KEYS = ("name", "datatype", "shape", "parameters", "data")
_OUTPUT_KEYS = ("name", "parameters")

_Endpoint = Callable[[Request], Awaitable[Response]]


def _routes(service: Service) -> list[BaseRoute]:
    return [*_server_routes(service), *_repository_routes(service), *_absent_routes(), *_model_routes(service)]


def _server_routes(service: Service) -> list[BaseRoute]:
    async def server(request: Request) -> Response:
        return answer_document(server_metadata(service))

    async def live(request: Request) -> Response:
        return answer_document({"live": True})

    async def ready(request: Request) -> Response:
        return _readiness({"ready": service.ready})

    async def models(request: Request) -> Response:
        return answer_document({"models": list(service.engine.models)})

    async def statistics(request: Request) -> Response:
        return answer_document(model_statistics(service))

    return [
        _get("", server),
        _get("/health/live", live),
        _get("/health/ready", ready),
        _get("/models", models),
        _get("/models/stats", statistics),
    ]


def _repository_routes(service: Service) -> list[BaseRoute]:
    async def index(request: Request) -> Response:
        async with content_of(service, request, SMALL_BODY) as content:
            document = read_json(content)
        only_ready = document.pop("ready", False)
        if not isinstance(only_ready, bool) or document:
            raise malformed('an index is asked for with {"ready": true} or nothing')
        return answer_document(await repository_index(service, only_ready))

    def change(load: bool) -> _Endpoint:
        async def endpoint(request: Request) -> Response:
            async with content_of(service, request, SMALL_BODY) as content:
                document = read_json(content)
            parameters = _parameters(document)
            if document.keys() - {"parameters"}:
                raise malformed("there is one key, parameters")
            await change_repository(service, request.path_params["name"], load, parameters)
            return answer_document({})

        return endpoint

    return [
        _post("/repository/index", index),
        _post("/repository/models/{name}/load", change(load=True)),
        _post("/repository/models/{name}/unload", change(load=False)),
    ]


def _absent_routes() -> list[BaseRoute]:
    """Calls of extensions that are not offered: clients learn why, instead of that there is no such path."""

    def absent(path: str, what: str) -> BaseRoute:
        async def refuse(request: Request) -> Response:
            raise not_offered(what)

        return Route(f"{_PREFIX}{path}", refuse, methods=["GET", "POST"])

    memories = [
        absent(f"/{kind}sharedmemory/{rest}", "shared memory")
        for kind in ("system", "cuda")
        for rest in ("status", "unregister", "region/{region}/{call}")
    ]
    return [
        *memories,
        absent("/trace/setting", "trace"),
        absent("/models/{name}/trace/setting", "trace"),
        absent("/logging", "logging"),
        absent("/models/{name}/explain", "explain"),
        absent("/models/{name}/versions/{version}/explain", "explain"),
    ]


def _model_routes(service: Service) -> list[BaseRoute]:
    def model_of(request: Request) -> ServedModel:
        return service.find(request.path_params["name"], request.path_params.get("version"))

    async def describe(request: Request) -> Response:
        model = model_of(request)
        return answer_document({**model_metadata(service, model), "parameters": model_parameters(model)})

    async def ready(request: Request) -> Response:
        model = model_of(request)
        return _readiness({"name": model.name, "ready": is_model_ready(service, model)})

    async def configuration(request: Request) -> Response:
        return answer_document(model_config(model_of(request)))

    async def statistics(request: Request) -> Response:
        path = request.path_params
        model = model_of(request)
        models = service.engine.versions(path["name"]) if "version" not in path else [model]
        return answer_document(model_statistics(service, models))

    async def infer(request: Request) -> Response:
        return await _infer(service, request)

    return [
        route
        for path in ("/models/{name}", "/models/{name}/versions/{version}")
        for route in (
            _get(path, describe),
            _get(f"{path}/ready", ready),
            _get(f"{path}/config", configuration),
            _get(f"{path}/stats", statistics),
            _post(f"{path}/infer", infer),
        )
    ]


def _get(path: str, endpoint: _Endpoint) -> BaseRoute:
    return Route(f"{_PREFIX}{path}", endpoint, methods=["GET"])


def _post(path: str, endpoint: _Endpoint) -> BaseRoute:
    return Route(f"{_PREFIX}{path}", endpoint, methods=["POST"])


def _readiness(document: Mapping[str, Any]) -> Response:
    return answer_document(document) if document["ready"] else answer_document(document, 503, {"Retry-After": "1"})


PROTOCOL = Protocol(_PREFIX, _routes, error_document)
REPOSITORY = Protocol(_PREFIX, _repository_routes, error_document)
"""The calls that load and unload models alone, e.g. for the management port."""


# inference


async def _infer(service: Service, request: Request) -> Response:
    asked = request.path_params["name"], request.path_params.get("version")
    in_url = threshold_in_url(request)
    model = service.require_room(*asked)
    call = await _received(service, request, in_url)
    _require_same(model, call)
    found = await predicted(service, request, asked, call.pictures, call.parameters.threshold, call.parameters.timeout)
    return _answer(request, call, found)


async def _received(service: Service, request: Request, in_url: float | None) -> Call:
    length = request.headers.get(_LENGTH)
    async with content_of(service, request) as content:
        return await beside(len(content), lambda: _read_call(content, length, in_url))


def _read_call(content: bytes, header_length: str | None, in_url: float | None) -> Call:
    if header_length is None and content[:64].lstrip()[:1] not in (b"", b"{", b"["):
        raise malformed(f"it is not JSON; a picture's bytes alone need the header {_LENGTH}: 0")
    length = str(len(content)) if header_length is None else header_length
    if not _SIZE.fullmatch(length) or int(length) > len(content):
        raise malformed(f"{_LENGTH} {length[:20]!r} is not a number up to the size of the body")
    text, raw = content[: int(length)], content[int(length) :]
    if not text and raw:  # the whole body is the one input's data
        return Call([raw], wanted_outputs({}, 1, binary=False), Parameters(in_url))
    return _read_document(read_json(text), raw, in_url)


def _read_document(document: Mapping[str, Any], raw: bytes, in_url: float | None) -> Call:
    _require_known(document, "the request", _KEYS)
    parameters = _both(read_parameters(_parameters(document)), in_url)
    pictures = _read_inputs(_required(document, "inputs"), raw)
    outputs = _objects(document.get("outputs") or [], "outputs")
    for one in outputs:
        _require_known(one, "an output", _OUTPUT_KEYS)
    named = {
        _text(_required(one, "name")): read_output(one["name"], _parameters(one), parameters.binary) for one in outputs
    }
    if len(named) < len(outputs):
        raise malformed("an output is asked for twice")
    given = document.get("id")
    return Call(
        pictures,
        wanted_outputs(named, len(pictures), parameters.binary),
        parameters,
        None if given is None else str(given),
        model=(document.get("model_name"), document.get("model_version")),
    )


def _require_known(part: Mapping[str, Any], what: str, known: Sequence[str]) -> None:
    for key in part:
        if key not in known:
            raise malformed(f"key {key[:40]!r} of {what} is unknown; there is {', '.join(known)}")


def _require_same(model: ServedModel, call: Call) -> None:
    """Raise unless the body names the model and the version that the URL does; empty and null name none."""
    said = zip(("model_name", "model_version"), call.model, (model.name, model.version), strict=True)
    for what, named, asked in said:
        if named not in (None, "", asked):
            raise malformed(f"{what} is {str(named)[:40]!r}, and the URL leads to {asked!r}")


def _both(parameters: Parameters, in_url: float | None) -> Parameters:
    if in_url is None:
        return parameters
    if parameters.threshold is not None:
        raise malformed("the URL and the parameters name a threshold; send one")
    return replace(parameters, threshold=in_url)


def _read_inputs(inputs: Any, raw: bytes) -> list[bytes]:
    tensors = _objects(inputs, "inputs")
    if len(tensors) != 1:
        raise malformed("there is one input, image")
    (tensor,) = tensors
    _require_known(tensor, "an input", _INPUT_KEYS)
    parameters = _parameters(tensor)
    name, datatype, shape = (_required(tensor, key) for key in ("name", "datatype", "shape"))
    count, in_base64 = read_input(name, datatype, shape if isinstance(shape, list) else [], parameters)
    size = parameters.get("binary_data_size")
    if size is None:
        if raw:
            raise malformed(f"there are {len(raw)} bytes behind the JSON that no input claims")
        return pictures_of_texts(_required(tensor, "data"), count)
    if tensor.get("data") is not None:
        raise malformed("input image has data and binary_data_size; send one")
    if type(size) is not int or size != len(raw):
        raise malformed(f"binary_data_size of image is {size!r}, and {len(raw)} bytes are behind the JSON")
    return pictures_of_raw(elements_of(raw), count, in_base64)


def _objects(given: Any, what: str) -> list[Mapping[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise malformed(f"{what} are not a list of objects")
    return given


def _required(part: Mapping[str, Any], key: str) -> Any:
    if key not in part:
        raise malformed(f"key {key!r} is missing")
    return part[key]


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise malformed(f"{given!r} is no name")
    return given


def _parameters(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a request, an input or an output; null, as some clients write it, counts as empty."""
    given = part.get("parameters")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise malformed("parameters are not an object")
    return given


def _answer(request: Request, call: Call, found: Sequence[Found]) -> Response:
    values, raws = outputs_of(found), []
    outputs = []
    for name, binary in call.outputs.items():
        output = _announced(values[name])
        if binary:
            raws.append(values[name].raw())
            output["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            output["data"] = values[name].plain()
        outputs.append(output)
    document: dict[str, Any] = {"model_name": found[0].model.name, "model_version": found[0].model.version}
    if call.id is not None:
        document["id"] = call.id
    header = json.dumps({**document, "outputs": outputs}).encode()
    if not raws:
        return answer_bytes(request, header, "application/json", {})
    headers = {_LENGTH: str(len(header))}
    return answer_bytes(request, header + b"".join(raws), "application/octet-stream", headers)


def _announced(output: Output) -> dict[str, Any]:
    return {"name": output.type.name, "datatype": output.type.datatype, "shape": output.shape}
