"""Lets an answer arrive that is given before the request was read to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

import anyio

__all__ = ["LINGER_SECONDS", "Lingering"]

LINGER_SECONDS = 30.0
"""Most time for the rest of a body that nobody needs; a client that still sends then loses its answer."""

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class Lingering:
    """Reads and forgets the rest of a request's body before an early answer, such as a refusal of its size.

    Closing a connection with bytes that were not read resets it, and takes the answer from the client (RFC 9112,
    section 9.6). Not read: bodies whose client waits for ``100 Continue``, or was too slow already (408).
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer one request, see the ASGI specification; of another kind than HTTP it passes as it is."""
        body = _Body(receive, asked_first=any(name == b"expect" for name, _ in scope["headers"]))

        async def answer(message: _Message) -> None:
            if message["type"] == "http.response.start" and message["status"] != HTTPStatus.REQUEST_TIMEOUT:
                await body.forget_rest()
            await send(message)

        await self.app(scope, body.receive, answer)


class _Body:
    """A request's body, on its way."""

    def __init__(self, source: _Receive, asked_first: bool) -> None:
        self.source = source
        self.ended = False
        self.held_back = asked_first  # until the first read, which is what tells the client to go on

    async def receive(self) -> _Message:
        self.held_back = False
        message = await self.source()
        self.ended = not message.get("more_body", False)  # also if the client is gone
        return message

    async def forget_rest(self) -> None:
        if self.held_back:
            return
        with anyio.move_on_after(LINGER_SECONDS):
            while not self.ended:
                await self.receive()
