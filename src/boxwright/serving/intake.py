"""Request bodies on their way in: bounded in size, number of bytes, time and slowness, and spooled to disk."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

import anyio

from .refusals import Refusal
from .settings import Limits

__all__ = ["Body", "Gone", "Intake"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]


class Body:
    """What was received: in memory as far as it is small, else in a temporary file.

    Attributes:
        size: in bytes.
    """

    def __init__(self, intake: Intake, in_memory: int) -> None:
        self.size = 0
        self._intake = intake
        self._once = threading.Lock()
        self._file = tempfile.SpooledTemporaryFile(max_size=in_memory)  # noqa: SIM115 - released by its reader

    @classmethod
    def of(cls, content: bytes) -> Body:
        """A body that is there already, and counted elsewhere."""
        body = cls(Intake(Limits()), len(content) + 1)
        body._file.write(content)
        return body

    def write(self, chunk: bytes) -> None:
        """Add what came next.

        Raises:
            Refusal: 503, there is no room for it.
        """
        self._intake.take(len(chunk))
        self.size += len(chunk)
        try:
            self._file.write(chunk)
        except OSError as error:
            raise Refusal(503, f"The body cannot be kept: {error.strerror}.", _BUSY, {"Retry-After": "1"}) from error

    def read(self) -> bytes:
        """All of it."""
        self._file.seek(0)
        return self._file.read()

    def release(self) -> None:
        """Give its memory or its file back. May be called twice."""
        if not self._once.acquire(blocking=False):
            return  # the loop releases what a client has left, at the same time as the thread that decodes it
        self._intake.give(self.size)
        self.size = 0
        self._file.close()


_BUSY = "ServiceUnavailableException"


class Intake:
    """Receives bodies, within limits that all of them share.

    A body that comes too slowly holds nothing but the bytes it has sent: it takes no place in a model's queue.

    Args:
        limits: see ``Limits``.

    Attributes:
        limits: the same.
        in_flight: bytes of all bodies that were not released yet.
        receiving: bodies on their way in.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.in_flight = 0
        self.receiving = 0
        self._lock = threading.Lock()  # bodies are released by the threads that decode them

    def require_size(self, size: int, most: int | None = None) -> None:
        """Raise unless a body of this many bytes may be sent.

        Args:
            size: of the body.
            most: largest allowed, where it is less than ``Limits.max_body``.

        Raises:
            Refusal: 413, it is too large; 503, all bodies together would be.
        """
        most = self._most(most)
        if size > most:
            message = f"The request body is larger than {most} bytes."
            raise Refusal(413, message, "RequestEntityTooLargeException")
        self._require_room(size)

    def _require_room(self, size: int) -> None:
        if self.in_flight + size > self.limits.in_flight:
            message = f"Bodies of {self.in_flight} bytes are on their way already. Try again later."
            raise Refusal(503, message, _BUSY, {"Retry-After": "1"})

    def _most(self, most: int | None) -> int:
        return self.limits.max_body if most is None else min(most, self.limits.max_body)

    def take(self, size: int) -> None:
        """Count bytes that came in; see ``require_size``."""
        with self._lock:
            self.require_size(size)
            self.in_flight += size

    def hold(self, size: int) -> None:
        """Count bytes that are kept beside bodies, until they are given back.

        Raises:
            Refusal: 503, there is no room for them.
        """
        with self._lock:
            self._require_room(size)
            self.in_flight += size

    def give(self, size: int) -> None:
        """Count bytes that were released."""
        with self._lock:
            self.in_flight -= size

    def empty(self) -> Body:
        """A body to write to."""
        return Body(self, self.limits.in_memory)

    def kept(self, content: bytes) -> Body:
        """A body of what is there already.

        Raises:
            Refusal: 503, there is no room for it.
        """
        body = self.empty()
        try:
            body.write(content)
        except BaseException:
            body.release()
            raise
        return body

    async def receive(self, receive: _Receive, announced: int | None, most: int | None = None) -> Body:
        """A whole body.

        Args:
            receive: ASGI's, at the beginning of the body.
            announced: its Content-Length; None if it comes in chunks.
            most: its largest size in bytes, where it is less than ``Limits.max_body``.

        Raises:
            Refusal: too large (413), too slow (408), or no room (503).
            Gone: the client has left.
        """
        self.require_size(announced or 0, most)
        body = self.empty()
        self.receiving += 1
        try:
            async for chunk in self._chunks(receive):
                if body.size + len(chunk) > self._most(most):
                    self.require_size(body.size + len(chunk), most)
                body.write(chunk)
        except BaseException:
            body.release()
            raise
        finally:
            self.receiving -= 1
        return body

    async def _chunks(self, receive: _Receive) -> AsyncIterator[bytes]:
        began, size, more = time.monotonic(), 0, True
        while more:
            message = await self._next(receive, began, size)
            if message["type"] == "http.disconnect":
                raise Gone
            chunk = message.get("body", b"")
            size += len(chunk)
            more = message.get("more_body", False)
            yield chunk

    async def _next(self, receive: _Receive, began: float, size: int) -> _Message:
        """The next message, within the time that the body has left at the rate it must keep."""
        limits = self.limits
        # a body that keeps the rate is never late: each byte that came buys the time it was to take
        left = min(limits.body_seconds, limits.patience + size / limits.least_rate) - (time.monotonic() - began)
        try:
            with anyio.fail_after(max(left, 0.0)):
                return await receive()
        except TimeoutError:
            message = f"The body came too slowly ({size} bytes in {time.monotonic() - began:.0f} s). Send it again."
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, message, "RequestTimeoutException") from None


class Gone(Exception):
    """The client has left: nobody reads an answer."""
