"""The Open Inference Protocol, version 2 (KServe's, Triton's), with its binary tensor extension.

One input, ``image`` BYTES [1]: an encoded picture, in JSON as base64, else raw. Four outputs: ``boxes``
FP32 [n, 4] xyxy in pixels of the picture, ``scores`` FP32 [n], ``labels`` INT64 [n], ``label_names``
BYTES [n]. Translation only; pictures go to the same engine as TorchServe's calls.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response

from boxwright.runtime import Detections

from .calls import Protocol, Refusal, find_model, place, predict, read_body, require_size
from .engine import Engine, ServedModel

__all__ = ["PROTOCOL"]

_PREFIX = "/v2"
_LENGTH = "Inference-Header-Content-Length"
_INPUT = {"name": "image", "datatype": "BYTES", "shape": [1]}
_OUTPUTS = {
    "boxes": ("FP32", "<f4", [-1, 4]),
    "scores": ("FP32", "<f4", [-1]),
    "labels": ("INT64", "<i8", [-1]),
    "label_names": ("BYTES", None, [-1]),
}
_SIZE = re.compile("[0-9]{1,18}")
_WINDOW_BITS = 47  # zlib's: gzip or zlib, told apart by the header


@dataclass(frozen=True)
class _Call:
    """What a client asks for.

    Attributes:
        picture: encoded bytes.
        id: to be repeated in the answer, or None.
        binary: names of the outputs in the order of the answer, and whether each is to be raw.
    """

    picture: bytes
    id: str | None
    binary: Mapping[str, bool]


def _add_routes(app: FastAPI, engine: Engine, max_body: int) -> None:
    @app.get(_PREFIX)
    async def server() -> Response:
        return _json({"name": "boxwright", "version": version_of("boxwright"), "extensions": ["binary_tensor_data"]})

    @app.get(f"{_PREFIX}/health/live")
    async def live() -> Response:
        return _json({"live": True})

    @app.get(f"{_PREFIX}/health/ready")
    async def ready() -> Response:
        return _json({"ready": True})

    for path in (f"{_PREFIX}/models/{{name}}", f"{_PREFIX}/models/{{name}}/versions/{{version}}"):
        _add_model_calls(app, engine, max_body, path)


def _add_model_calls(app: FastAPI, engine: Engine, max_body: int, path: str) -> None:
    @app.get(path)
    async def describe(name: str, version: str | None = None) -> Response:
        return _json(_description(find_model(engine, name, version)))

    @app.get(f"{path}/ready")
    async def model_ready(name: str, version: str | None = None) -> Response:
        return _json({"name": find_model(engine, name, version).name, "ready": True})

    @app.post(f"{path}/infer")
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        model = find_model(engine, name, version)
        with place(engine, model):
            call = _read_call(request, await _body(request, max_body))
            return _answer(model, call, await predict(engine, model, call.picture))


def _error(refusal: Refusal) -> Response:
    return _json({"error": refusal.message}, refusal.status, refusal.headers)


PROTOCOL = Protocol(_PREFIX, _add_routes, _error)


def _description(model: ServedModel) -> dict[str, Any]:
    outputs = [{"name": name, "datatype": kind, "shape": shape} for name, (kind, _, shape) in _OUTPUTS.items()]
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": model.predictor.execution.variant,
        "inputs": [_INPUT],
        "outputs": outputs,
    }


async def _body(request: Request, max_body: int) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "deflate"):
        raise Refusal(415, f"Content-Encoding {encoding!r} is not understood. Use gzip or deflate.")
    body = await read_body(request, max_body)
    return body if encoding == "identity" else _unpacked(body, max_body)


def _unpacked(body: bytes, max_body: int) -> bytes:
    unpacker = zlib.decompressobj(_WINDOW_BITS)
    try:
        unpacked = unpacker.decompress(body, max_body + 1)
    except zlib.error as broken:
        raise Refusal(400, f"The body cannot be unpacked: {broken}.") from None
    require_size(len(unpacked), max_body)
    if not unpacker.eof:
        raise Refusal(400, "The body cannot be unpacked: it ends too early.")
    return unpacked


def _read_call(request: Request, body: bytes) -> _Call:
    length = request.headers.get(_LENGTH, str(len(body)))
    if not _SIZE.fullmatch(length) or int(length) > len(body):
        raise Refusal(400, f"{_LENGTH} {length[:20]!r} is not a number up to the size of the body.")
    if int(length) == 0 and body:  # the whole body is the one input's data
        return _Call(body, None, dict.fromkeys(_OUTPUTS, False))
    try:
        document = json.loads(body[: int(length)])
        if not isinstance(document, dict):
            raise ValueError("the body is not an object with inputs")
        return _Call(_picture(document, body[int(length) :]), _id(document), _wanted(document))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as malformed:
        reason = f"key {malformed} is missing" if isinstance(malformed, KeyError) else str(malformed)
        raise Refusal(400, f"The request is malformed: {reason}.") from None


def _id(document: Mapping[str, Any]) -> str | None:
    given = document.get("id")
    return None if given is None else str(given)


def _picture(document: Mapping[str, Any], raw: bytes) -> bytes:
    tensors = document["inputs"]
    if len(tensors) != 1 or tensors[0]["name"] != "image":
        raise ValueError("there is one input, image")
    (tensor,) = tensors
    if tensor["datatype"] != "BYTES" or any(axis != 1 for axis in tensor["shape"]):
        raise ValueError("input image is BYTES of shape [1], an encoded picture")
    size = _parameters(tensor).get("binary_data_size")
    if size is not None:
        return _element(raw, size)
    elements = tensor["data"]
    while isinstance(elements, list) and len(elements) == 1:
        (elements,) = elements
    if not isinstance(elements, str):
        raise ValueError("data of image is one text, the picture in base64")
    try:
        return base64.b64decode(elements, validate=True)
    except binascii.Error as broken:
        raise ValueError(f"data of image is not base64: {broken}") from None


def _element(raw: bytes, size: Any) -> bytes:
    """The one element of a raw BYTES tensor: its length as uint32, little-endian, then its bytes."""
    if size != len(raw) or size < 4 or struct.unpack_from("<I", raw)[0] != size - 4:
        raise ValueError("the raw data of image is not one element of binary_data_size bytes")
    return raw[4:]


def _wanted(document: Mapping[str, Any]) -> Mapping[str, bool]:
    every = bool(_parameters(document).get("binary_data_output", False))
    named = document.get("outputs") or [{"name": name} for name in _OUTPUTS]
    wanted = {one["name"]: bool(_parameters(one).get("binary_data", every)) for one in named}
    unknown = sorted(set(wanted) - set(_OUTPUTS))
    if unknown:
        raise ValueError(f"there is no output {unknown[0]!r}, only {', '.join(_OUTPUTS)}")
    return wanted


def _parameters(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a request, an input or an output; null, as some clients write it, counts as empty."""
    given = part.get("parameters") or {}
    if not isinstance(given, dict):
        raise ValueError("parameters are not an object")
    return given


def _answer(model: ServedModel, call: _Call, detections: Detections) -> Response:
    values = _values(detections, model.class_names)
    outputs, raws = [], []
    for name, binary in call.binary.items():
        datatype, kind, shape = _OUTPUTS[name]
        output = {"name": name, "datatype": datatype, "shape": [len(detections), *shape[1:]]}
        if binary:
            raws.append(_raw(values[name], kind))
            outputs.append({**output, "parameters": {"binary_data_size": len(raws[-1])}})
        else:
            outputs.append({**output, "data": values[name]})
    document = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    if call.id is not None:
        document["id"] = call.id
    if not raws:
        return _json(document)
    header = json.dumps(document).encode()
    return Response(header + b"".join(raws), media_type="application/octet-stream", headers={_LENGTH: str(len(header))})


def _values(detections: Detections, names: Sequence[str]) -> dict[str, list[Any]]:
    """By output, flat."""
    labels: list[int] = detections.labels.tolist()
    return {
        "boxes": detections.boxes.ravel().tolist(),
        "scores": detections.scores.tolist(),
        "labels": labels,
        "label_names": [names[label] for label in labels],
    }


def _raw(values: Sequence[Any], kind: str | None) -> bytes:
    if kind is not None:
        return np.asarray(values, kind).tobytes()
    encoded = [text.encode() for text in values]
    return b"".join(struct.pack("<I", len(one)) + one for one in encoded)


def _json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(document), status, headers, "application/json")
