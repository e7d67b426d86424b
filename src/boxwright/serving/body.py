"""Reads the bodies of requests, up to a size and for a time."""

from __future__ import annotations

import anyio
from fastapi import Request

__all__ = ["BODY_SECONDS", "BodyRefused", "read_body", "require_size"]

BODY_SECONDS = 120.0
"""From the first byte to the last; while it waits, a request holds one of the places in the queue."""


class BodyRefused(Exception):
    """A body that is too large or comes too slowly.

    Attributes:
        status: of HTTP.
        kind: in TorchServe's manner.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


async def read_body(request: Request, max_body: int) -> bytes:
    """The whole body.

    Args:
        request: whose body was not read yet.
        max_body: largest accepted size in bytes.

    Raises:
        BodyRefused: it is larger, or takes longer than ``BODY_SECONDS``.
    """
    content = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for chunk in request.stream():
                content += chunk
                require_size(len(content), max_body)
    except TimeoutError:
        message = f"The request body did not arrive within {BODY_SECONDS:g} seconds. Send it again."
        raise BodyRefused(408, "RequestTimeoutException", message) from None
    return bytes(content)


def require_size(size: int, max_body: int) -> None:
    """Nothing, up to a size.

    Raises:
        BodyRefused: beyond it.
    """
    if size > max_body:
        raise BodyRefused(413, "RequestEntityTooLargeException", f"The request body is larger than {max_body} bytes.")
