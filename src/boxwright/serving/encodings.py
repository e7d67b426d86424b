"""What KServe's protocols over HTTP share: bodies in their encodings, errors, and the one parameter of URLs."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .bodies import MOST_VALUES, has_many_values
from .calls import THRESHOLDS, Service, number_of
from .refusals import Refusal

__all__ = [
    "answer_bytes",
    "answer_document",
    "content_of",
    "error_document",
    "read_json",
    "threshold_in_url",
]

_LEVEL = 1  # answers are small; more effort would cost milliseconds and save bytes
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
_ACCEPTED = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?))?\s*")


@asynccontextmanager
async def content_of(service: Service, request: Request, most: int | None = None) -> AsyncIterator[bytes]:
    """The whole body of a request, unpacked; it counts as being in flight until the block ends.

    Raises:
        Refusal: see ``Service.receive``.
        Gone: the client has left.
    """
    body = await service.receive(request, most)
    try:
        yield body.read()
    finally:
        body.release()


def threshold_in_url(request: Request) -> float | None:
    """The lowest reported score, if the URL names one.

    Raises:
        Refusal: 400, it is no score, or there is a parameter that nothing here would honour.
    """
    items = request.query_params.multi_items()
    for name, _ in items:
        if name not in THRESHOLDS:
            raise Refusal(400, f"Parameter {name!r} of the URL is unknown. There is {', '.join(THRESHOLDS)}.")
    if len(items) > 1:
        raise Refusal(400, f"The URL names {len(items)} thresholds. Send one.")
    return number_of(items[0][1], items[0][0]) if items else None


def read_json(text: bytes) -> dict[str, Any]:
    """The object that a body holds; an empty body is an empty object.

    Raises:
        Refusal: 400, it is something else.
    """
    if has_many_values(text):
        raise Refusal(400, f"The request is malformed: it holds more than {MOST_VALUES} values.")
    try:
        document = json.loads(text or b"{}")
    except (ValueError, RecursionError) as malformed:
        raise Refusal(400, f"The request is malformed: it is not JSON: {malformed}.") from None
    if not isinstance(document, dict):
        raise Refusal(400, "The request is malformed: it is not a JSON object.")
    return document


def answer_document(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document as JSON."""
    return Response(json.dumps(document), status, headers, "application/json")


def error_document(refusal: Refusal) -> Response:
    """A refusal as KServe's protocols write it: ``{"error": text}``."""
    return answer_document({"error": refusal.message}, refusal.status, refusal.headers)


def answer_bytes(request: Request, content: bytes, media_type: str, headers: Mapping[str, str]) -> Response:
    """An answer, packed if the client asks for it (``Accept-Encoding``)."""
    added = {**headers, "Vary": "Accept-Encoding"}
    encoding = _encoding_for(request.headers.get("accept-encoding", ""))
    if encoding is not None:
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[encoding])
        content = packer.compress(content) + packer.flush()
        added["Content-Encoding"] = encoding
    return Response(content, 200, added, media_type)


def _encoding_for(accepted: str) -> str | None:
    """The one with the highest weight among those that the client names; None leaves the answer as it is."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        fits = _ACCEPTED.fullmatch(part)
        if fits:
            weights[fits[1]] = float(fits[2] or 1.0)
    named = {name: weights.get(name, 0.0) for name in _WINDOW_BITS}
    best = max(named, key=lambda name: named[name])
    return best if named[best] > 0.0 and named[best] >= weights.get("identity", 0.0) else None
