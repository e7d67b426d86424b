"""In front of replicas: whole requests are passed on, and asked again where a replica is lost with them.

What is asked changes nothing, so asking twice is safe. Nothing here knows Ray.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from boxwright.serving.app import encoded
from boxwright.serving.engine import Engine
from boxwright.serving.front import Front
from boxwright.serving.intake import Gone, Intake
from boxwright.serving.metrics import CONTENT_TYPE, Metrics
from boxwright.serving.refusals import Refusal
from boxwright.serving.settings import ServerSettings

__all__ = ["Asked", "Group", "Lost", "Told", "answer_of", "make_relay"]

_ATTEMPTS = 4  # of a group, for a request that one and the same replica did not take
_MOST_LOST = 2  # replicas that may end with a request in them: what ends each one must not get a third
_BUSY = "ServiceUnavailableException"
_LONGER = 30.0  # seconds beyond the deadline of a replica, which says itself what is too late
_PAUSE = 0.2  # seconds before the third attempt; then twice as long
_VERSION = re.compile(
    r"^/(?:(?:predictions|explanations)/([^/]+)/([^/]+)|v2/models/([^/]+)/versions/([^/]+)|([^/]+)/([^/]+)/predict$)"
)
_PARTS = re.compile("[/:]")  # KServe's v1 writes NAME:predict


class Lost(Exception):
    """The replica that had the request has ended, or cannot be reached.

    Args:
        replica: a name of it, the same each time; empty if it is not known, which is as if it were another one.
    """

    def __init__(self, replica: str = "") -> None:
        super().__init__(replica)
        self.replica = replica


@dataclass(frozen=True)
class Asked:
    """A whole request.

    Attributes:
        method: of HTTP.
        path: decoded.
        raw_path: as it was sent.
        query: after the question mark.
        headers: names in lower case, and values.
        body: all of it.
    """

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True)
class Told:
    """A whole answer: status, headers and body."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True)
class Group:
    """Replicas that serve the same archives.

    Attributes:
        ask: passes a request to one of them; raises ``Lost``.
        versions: name and version of each model.
        share: of the requests for its models that name no version, in [0, 1].
    """

    ask: Callable[[Asked], Awaitable[Told]]
    versions: frozenset[tuple[str, str]] = frozenset()
    share: float = 1.0

    @property
    def names(self) -> frozenset[str]:
        """Those of its models."""
        return frozenset(name for name, _ in self.versions)


_Page = Callable[[str, Sequence[str]], Awaitable[str]]


def make_relay(
    groups: Sequence[Group],
    settings: ServerSettings = ServerSettings(),
    draw: Callable[[], float] = random.random,
    page: _Page | None = None,
) -> Any:
    """The ASGI application in front.

    Args:
        groups: the first one takes what no other one takes by its share, or by a version that only it has.
        settings: their limits hold for what comes in.
        draw: a number in [0, 1), for the shares.
        page: makes what ``/metrics`` tells of the relay's own page and the names that are asked for, see ``Figures``;
            raises ``Refusal``. By default the replica that happens to answer tells its own.
    """
    intake = Intake(settings.limits)
    metrics = Metrics(Engine(), intake)  # of requests and of this process; the models are behind

    async def answered(request: Request) -> Response:
        if page is not None and request.scope["path"] == "/metrics" and request.method in ("GET", "HEAD"):
            text = await page(metrics.text(), request.query_params.getlist("name[]"))
            return Response(text, headers={"Content-Type": CONTENT_TYPE})
        return await _relayed(request, intake, groups, settings.models.timeout, draw())

    async def relay(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":  # Ray Serve asks for it
            await _live(receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await answered(request)
        except Refusal as refusal:
            request.state.refused = refusal.kind
            response = encoded(scope["path"], refusal)
        except Gone:
            return
        await response(scope, receive, send)

    return metrics.around(Front(relay, settings.security.origins, encoded))


async def _live(receive: Any, send: Any) -> None:
    for what in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{what}.complete"})


async def _relayed(request: Request, intake: Intake, groups: Sequence[Group], seconds: float, drawn: float) -> Response:
    length = request.headers.get("content-length", "")
    body = await intake.receive(request.receive, int(length) if length.isdecimal() else None)
    try:  # the body counts until it is answered: what waits has a bound
        asked = _whole(request, body.read())
        async with asyncio.timeout(seconds + _LONGER):
            return _response(await _answered(_order(groups, asked.path, drawn), asked))
    except TimeoutError:
        raise Refusal(503, "No replica has answered in time.", _BUSY, {"Retry-After": "1"}) from None
    finally:
        body.release()


def _whole(request: Request, content: bytes) -> Asked:
    scope = request.scope
    dropped = {b"transfer-encoding", b"content-length", b"connection", b"expect", b"x-request-id"}
    headers = [pair for pair in scope["headers"] if pair[0] not in dropped]
    headers += [(b"content-length", str(len(content)).encode()), (b"x-request-id", request.state.request_id.encode())]
    return Asked(
        scope["method"],
        scope["path"],
        scope.get("raw_path") or scope["path"].encode(),
        scope["query_string"],
        tuple(headers),
        content,
    )


def _order(groups: Sequence[Group], path: str, drawn: float) -> list[Group]:
    """Which group to ask, and which next."""
    found = _VERSION.match(path)
    if found:
        named = tuple(part for part in found.groups() if part)
        having = [group for group in groups if named in group.versions]
        return having or list(groups[:1])
    everything = groups[0].names
    wanted = everything.intersection(_PARTS.split(path)) or everything
    for group in groups[1:]:
        if not wanted <= group.names:  # it would say that there is no such model
            continue
        if drawn < group.share:
            return [group, groups[0]]
        drawn -= group.share
    return list(groups[:1])


async def _answered(groups: Sequence[Group], asked: Asked) -> Told:
    """The answer of the first group; of the next one if its replicas are lost.

    Raises:
        Refusal: 503, none answers, or two replicas have ended with this request in them.
    """
    lost: list[str] = []
    for group in groups:
        for attempt in range(_ATTEMPTS):
            try:
                return await group.ask(asked)
            except Lost as error:
                if not error.replica or error.replica not in lost:
                    lost.append(error.replica)
            if len(lost) >= _MOST_LOST:
                # no Retry-After: many clients would send it again by themselves
                raise Refusal(503, f"{_MOST_LOST} replicas were lost with this request; it gets no other.", _BUSY)
            if group is not groups[-1]:
                break
            if 0 < attempt < _ATTEMPTS - 1:
                await asyncio.sleep(_PAUSE * 2 ** (attempt - 1))
    raise Refusal(503, "No replica answers.", _BUSY, {"Retry-After": "5"})


def _response(told: Told) -> Response:
    response = Response(told.body, told.status)
    response.raw_headers = [pair for pair in told.headers if pair[0].lower() != b"connection"]
    return response


async def answer_of(app: Any, asked: Asked) -> Told:
    """What an ASGI application answers to a whole request; cancelled, it is as if the client had left.

    Args:
        app: the application.
        asked: the request.
    """
    parts: list[bytes] = []
    start: dict[str, Any] = {}
    given = False
    never = asyncio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal given
        if given:
            await never.wait()  # the client stays
        given = True
        return {"type": "http.request", "body": asked.body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": asked.path,
        "raw_path": asked.raw_path,
        "query_string": asked.query,
        "root_path": "",
        "headers": [list(pair) for pair in asked.headers],
        "client": None,
        "server": None,
    }
    try:
        await app(scope, receive, send)
    except Exception:
        if "status" not in start:  # else it has told the client, and raised for the log
            raise
    return Told(
        start["status"], tuple((bytes(name), bytes(value)) for name, value in start["headers"]), b"".join(parts)
    )
