"""The connections of a server: none is kept for nothing, and an answer leaves in one piece."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["GuardedConnection", "guarded"]


_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class GuardedConnection(H11Protocol):
    """uvicorn's connection, closed if no whole head of a request comes in time, or nobody reads what it sends.

    Neither idle nor slow ones stay; one more than ``most`` is refused.
    """

    head_seconds: ClassVar[float] = 30.0
    most: ClassVar[int] = 4096
    _watch: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See ``asyncio.Protocol``."""
        super().connection_made(_InOnePiece(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > self.most:
            self.transport.write(_FULL)
            self.transport.close()
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Uvicorn calls it when an answer was sent."""
        super().on_response_complete()
        self._stop_waiting()
        if self.cycle is None or self.cycle.response_complete:  # else the next request came together with the last
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._stop_waiting()
        self._stop_sending()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self.head_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._stop_sending()
        super().resume_writing()

    def _wait_for_head(self) -> None:
        self._watch = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _stop_sending(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _give_up(self) -> None:
        self._watch = None
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()  # what nobody reads would keep it open
        else:
            self.transport.close()


class _InOnePiece:
    """A transport that sends what is written in one go together: uvicorn writes an answer's head and body apart.

    Two packets per answer cost a system call, and 40 ms where a client delays its acknowledgement.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send with all that is written before the event loop turns."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Send what was written, then close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(b"".join(parts))


def guarded(head_seconds: float, most: int) -> type[Any]:
    """The connection class of a server that waits this long for a request's head, and has so many at the same time."""
    return type("Connection", (GuardedConnection,), {"head_seconds": head_seconds, "most": most})
