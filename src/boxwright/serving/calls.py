"""What every protocol does with a call: find the model, queue, read the body, predict; or refuse it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
from fastapi import FastAPI, Request, Response

from boxwright.runtime import Detections, PictureError

from .engine import Busy, Engine, ServedModel

__all__ = ["BODY_SECONDS", "Protocol", "Refusal", "find_model", "place", "predict", "read_body", "require_size"]

BODY_SECONDS = 120.0
"""From the first byte to the last; while it waits, a request holds one of the places in the queue."""

_log = logging.getLogger(__name__)


class Refusal(Exception):
    """Why a call is not answered; each protocol has a shape of its own for it.

    Attributes:
        status: of HTTP.
        message: for people.
        kind: TorchServe's name for it.
        headers: of the answer.
    """

    def __init__(
        self, status: int, message: str, kind: str = "BadRequestException", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.headers = int(status), message, kind, dict(headers or {})


@dataclass(frozen=True)
class Protocol:
    """A way to ask over HTTP.

    Attributes:
        prefix: of its paths.
        add_routes: adds its calls to an application, for an engine and a largest body in bytes.
        error: encodes a refusal.
    """

    prefix: str
    add_routes: Callable[[FastAPI, Engine, int], None]
    error: Callable[[Refusal], Response]


def find_model(engine: Engine, name: str, version: str | None) -> ServedModel:
    """A served model by name and, if given, version.

    Raises:
        Refusal: 404, there is no such model.
    """
    model = engine.models.get(name)
    if model is None:
        raise Refusal(404, f"Model not found: {name}", "ModelNotFoundException")
    if version not in (None, model.version):
        message = f"Model version: {version} does not exist for model: {name}"
        raise Refusal(404, message, "ModelVersionNotFoundException")
    return model


@contextmanager
def place(engine: Engine, model: ServedModel) -> Iterator[None]:
    """A place in a model's queue, see ``Engine.place``; a full queue is a Refusal, 503."""
    try:
        with engine.place(model):
            yield
    except Busy:
        message = f'Model "{model.name}" has {engine.queue_size} requests waiting already. Try again later.'
        raise Refusal(503, message, "ServiceUnavailableException", {"Retry-After": "1"}) from None


async def predict(engine: Engine, model: ServedModel, picture: bytes) -> Detections:
    """The detections of an encoded picture, see ``Engine.predict``.

    Raises:
        Refusal: the picture cannot be used, or the network failed (503).
    """
    try:
        return await engine.predict(model, picture)
    except PictureError as error:
        raise Refusal(error.http_status, str(error), type(error).__name__) from None
    except Exception:  # whatever fails inside a network must not end the server
        _log.exception("model %s failed", model.name)
        raise Refusal(503, "Prediction failed", "InternalServerException") from None


async def read_body(request: Request, max_body: int) -> bytes:
    """The whole body.

    Args:
        request: its body was not read yet.
        max_body: largest accepted size in bytes.

    Raises:
        Refusal: it is larger (413), or takes longer than ``BODY_SECONDS`` (408).
    """
    content = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for chunk in request.stream():
                content += chunk
                require_size(len(content), max_body)
    except TimeoutError:
        message = f"The request body did not arrive within {BODY_SECONDS:g} seconds. Send it again."
        raise Refusal(408, message, "RequestTimeoutException") from None
    return bytes(content)


def require_size(size: int, max_body: int) -> None:
    """Raise unless a body is small enough.

    Raises:
        Refusal: 413, it is larger than ``max_body`` bytes.
    """
    if size > max_body:
        message = f"The request body is larger than {max_body} bytes."
        raise Refusal(413, message, "RequestEntityTooLargeException")
