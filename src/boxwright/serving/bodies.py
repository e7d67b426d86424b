"""What is done to a body whatever protocol it is of: unpacked, bounded, and worked on beside the event loop."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread

from .refusals import Refusal

__all__ = ["MOST_VALUES", "SMALL_BODY", "beside", "has_many_values", "is_large", "unpacked"]

_Value = TypeVar("_Value")

MOST_VALUES = 10_000
"""Most commas and brackets of a JSON body: a request has a few, and each may become an object of 100 bytes."""

SMALL_BODY = 64 * 1024
"""Most bytes of a body that holds parameters and no picture: it is read on the event loop."""

_BESIDE = 256 * 1024
"""Bytes from which work on a body leaves the event loop, where all other requests would wait for it."""

_WINDOW_BITS = 47  # zlib's: gzip or zlib, told apart by the header


def is_large(size: int) -> bool:
    """Whether work on this many bytes would hold up the event loop."""
    return size >= _BESIDE


async def beside(size: int, work: Callable[[], _Value]) -> _Value:
    """The value of a function that takes longer the larger a body is; on a thread if ``size`` bytes are many."""
    return await anyio.to_thread.run_sync(work) if is_large(size) else work()


def has_many_values(text: bytes) -> bool:
    """Whether a JSON body may become more than ``MOST_VALUES`` objects."""
    return sum(map(text.count, (b",", b"[", b"{"))) > MOST_VALUES


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """A body as it was before it was packed.

    Args:
        body: as it came.
        encoding: its ``Content-Encoding``.
        most: bytes that it may have then.

    Raises:
        Refusal: 415, an unknown encoding; 400, it cannot be unpacked; 413, it is larger.
    """
    if encoding not in ("gzip", "deflate"):
        raise Refusal(415, f"Content-Encoding {encoding[:20]!r} is not understood. Use gzip or deflate.")
    unpacker = zlib.decompressobj(_WINDOW_BITS)
    try:
        content = unpacker.decompress(body, most + 1)
    except zlib.error as broken:
        raise Refusal(400, f"The body cannot be unpacked: {broken}.") from None
    if len(content) > most:
        raise Refusal(413, f"The request body is larger than {most} bytes.", "RequestEntityTooLargeException")
    if not unpacker.eof:
        raise Refusal(400, "The body cannot be unpacked: it ends too early.")
    return content
