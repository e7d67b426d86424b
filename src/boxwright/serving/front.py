"""What happens to every request before it is routed, and to every answer before it is sent."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import ASGIApp

from .refusals import Refusal, note_refusal
from .torchserve import error_json

__all__ = ["LINGER_SECONDS", "Front"]

LINGER_SECONDS = 30.0
"""Most time for the rest of a body that nobody needs; a client that still sends then loses its answer."""

_LINGER_BYTES = 64 * 1024**2
"""Most of it that is read and forgotten."""

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

_ID = re.compile(rb"[\w.:/+=-]{1,128}")
_ABSOLUTE = re.compile(r"(?i)\Ahttps?://[^/]*")

_ALWAYS = (
    (b"cache-control", b"no-cache; no-store, must-revalidate, private"),
    (b"expires", b"Thu, 01 Jan 1970 00:00:00 UTC"),
    (b"pragma", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
)


class Front:
    """Around an application: one form of paths, request ids, the headers all answers have, and refusals that arrive.

    - The absolute form of a request target (RFC 9112, section 3.2.2) and a slash at the end of a path are as without.
    - Content-Length together with Transfer-Encoding is refused: two servers would read two requests from it
      (RFC 9112, section 6.1).
    - The client's ``x-request-id`` is kept if it is one, else there is a new one.
    - An early answer, such as a refusal of the body's size, first reads and forgets the rest of the body: closing a
      connection with bytes that were not read resets it, and takes the answer from the client (RFC 9112, section
      9.6). Not read: bodies whose client waits for ``100 Continue``, or was too slow already (408).

    Args:
        app: the application.
        origins: of pages that may ask from a browser; ``*`` is any.
        encode: encodes a refusal for a path; by default as TorchServe does.
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: Sequence[str] = (),
        encode: Callable[[str, Refusal], Response] = lambda path, refusal: error_json(refusal),
    ) -> None:
        self.app = app
        self.origins = frozenset(one.encode() for one in origins)
        self.encode = encode

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer one request, see the ASGI specification; of another kind than HTTP it passes as it is."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        scope["path"] = _ABSOLUTE.sub("", scope["path"], count=1).rstrip("/") or "/"
        body = _Body(receive, asked_first=b"expect" in headers)
        given = headers.get(b"x-request-id", b"")
        request_id = given if _ID.fullmatch(given) else str(uuid.uuid4()).encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode("latin-1")
        added = [(b"x-request-id", request_id), *_ALWAYS, *self._for_origin(headers.get(b"origin"))]

        async def answer(message: _Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", [])
                named = {name.lower() for name, _ in own}
                message["headers"] = [*own, *(header for header in added if header[0] not in named)]
                if message["status"] >= HTTPStatus.BAD_REQUEST:
                    message["headers"].append((b"connection", b"close"))
                if message["status"] != HTTPStatus.REQUEST_TIMEOUT:
                    await body.forget_rest()
            await send(message)

        if b"content-length" in headers and b"transfer-encoding" in headers:
            refusal = Refusal(400, "Content-Length and Transfer-Encoding exclude each other.")
            note_refusal(scope, refusal)
            await self.encode(scope["path"], refusal)(scope, body.receive, answer)
            return
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _allow_origin(answer, headers)
            return
        await self.app(scope, body.receive, answer)

    def _for_origin(self, origin: bytes | None) -> tuple[tuple[bytes, bytes], ...]:
        """CORS headers for a page from elsewhere; none unless it may ask."""
        if origin is None or not self.origins & {origin, b"*"}:
            return ()
        exposed = b"x-request-id, inference-header-content-length, retry-after"
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", exposed),
            (b"vary", b"origin"),
        )


async def _allow_origin(send: _Send, headers: dict[bytes, bytes]) -> None:
    """Answer a browser that asks before it asks; without allow-origin, which ``Front`` adds, it goes no further."""
    asked = headers.get(b"access-control-request-headers", b"")
    allowed = [
        (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
        (b"access-control-max-age", b"600"),
        *([(b"access-control-allow-headers", asked)] if asked else []),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": allowed})
    await send({"type": "http.response.body", "body": b""})


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
        if self.held_back or self.ended:
            return
        left = _LINGER_BYTES
        with anyio.move_on_after(LINGER_SECONDS):
            while not self.ended and left > 0:
                left -= len((await self.receive()).get("body", b""))
