"""Sends the same requests to two servers, and says in what their answers differ."""

import http.client
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from boxwright.parity.agreement import TOLERANCES
from support.torchserve import keys_in

SECONDS = 60
CLOSE_ENOUGH = TOLERANCES["fp32"].score
"""Of coordinates, in pixels, too: two runtimes compute the same network."""

MASKED = frozenset({"gpu", "gpuUsage", "id", "memoryUsage", "pid", "startTime"})
"""Fields that no two servers share; that they are there, and of which kind, is compared."""

_CACHING = ("cache-control", "pragma", "expires")
_ID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class Call:
    """A request.

    Attributes:
        name: of it, unique; differences are told by it.
        port: inference, management or metrics.
        method: any.
        target: path and query, as sent.
        body: what it holds; a key of the bodies that ``replay`` is given. Its content type is sent, too.
        headers: further ones, or in place of the body's; ``{inference}``, ``{management}`` and ``{API}`` in them are
            the server's tokens.
        until: models and the number of READY workers, of all versions, to wait for after the answer; -1 waits until the
            model is gone.
    """

    name: str
    port: str
    method: str
    target: str
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    until: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """An answer; header names are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Difference:
    """Something in which our answers differ from TorchServe's on purpose.

    Attributes:
        calls: regular expressions for the names of the calls, each for the whole name.
        parts: which parts of an answer differ, with their value there and here; None where values are many.
        call: which calls these are, for people.
        theirs: what TorchServe does.
        ours: what boxwright does.
        reason: why.
    """

    calls: tuple[str, ...]
    parts: Mapping[str, tuple[object, object] | None]
    call: str
    theirs: str
    ours: str
    reason: str

    def covers(self, name: str) -> bool:
        """Whether it is about a call."""
        return any(re.fullmatch(pattern, name) for pattern in self.calls)

    def excuses(self, part: str, theirs: object, ours: object) -> bool:
        """Whether a difference of this part is the one it is about."""
        if part not in self.parts:
            return False
        expected = self.parts[part]
        return expected is None or expected == (theirs, ours)


def replay(
    calls: Sequence[Call], addresses: Mapping[str, str], bodies: Mapping[str, tuple[str, bytes]], folder: Path
) -> dict[str, Reply]:
    """Send all calls in order, with the tokens that lie in the server's folder by now; answers by name of the call."""
    replies = {}
    for call in calls:
        keys = keys_in(folder)
        headers = {name: value.format(**keys) for name, value in call.headers.items()}
        replies[call.name] = send(replace(call, headers=headers), addresses, bodies)
        for model, workers in call.until.items():
            _wait(addresses["management"], model, workers)
    return replies


def send(call: Call, addresses: Mapping[str, str], bodies: Mapping[str, tuple[str, bytes]]) -> Reply:
    """One request on a connection of its own, with no header that was not asked for."""
    kind, content = bodies[call.body] if call.body else ("", b"")
    headers = {"Content-Length": str(len(content))} if call.body else {}
    if kind:
        headers["Content-Type"] = kind
    headers = {name: value for name, value in {**headers, **call.headers}.items() if value}
    connection = http.client.HTTPConnection(urlsplit(addresses[call.port]).netloc, timeout=SECONDS)
    try:
        connection.putrequest(call.method, call.target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(content)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, received, response.read())
    finally:
        connection.close()


def _wait(management: str, model: str, workers: int) -> None:
    look = Call("", "management", "GET", f"/models/{model}/all")
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        reply = send(look, {"management": management}, {})
        if reply.status == 404:
            ready = -1
        else:
            ready = sum(one["status"] == "READY" for version in json.loads(reply.body) for one in version["workers"])
        if ready == workers:
            return
        time.sleep(0.1)
    raise AssertionError(f"{management}: model {model} does not have {workers} workers after {SECONDS} s")


def parts(reply: Reply) -> dict[str, object]:
    """What of an answer is compared, by name; descriptions of models by field."""
    text = reply.body.decode("utf-8", "replace")
    try:
        document = json.loads(text)
    except ValueError:
        document = text
    kind = None
    if isinstance(document, dict) and set(document) == {"code", "type", "message"}:
        assert document["code"] == reply.status, (reply.status, document)
        kind, document = document["type"], document["message"]
    fields = {}
    if (
        isinstance(document, list)
        and document
        and all(isinstance(one, dict) and "modelName" in one for one in document)
    ):
        names = list(dict.fromkeys(name for one in document for name in one))
        fields = {f"field {name}": [_masked({name: one.get(name)}) for one in document] for name in names}
        document = names
    return {
        **fields,
        "status": reply.status,
        "type": kind,
        "body": _masked(document),
        "end": text.endswith("\n"),
        "indented": "\n  " in text,
        "content-type": reply.headers.get("content-type", "").lower().replace("; ", ";"),
        "closes": reply.headers.get("connection", "").lower() == "close",  # kept is what HTTP/1.1 does unsaid
        "caching": tuple(reply.headers.get(name) for name in _CACHING),
        "request id": _masked(reply.headers.get("x-request-id")),
        "allow": reply.headers.get("allow"),
        "retry-after": "retry-after" in reply.headers,
    }


def compared(theirs: Reply, ours: Reply) -> dict[str, tuple[object, object]]:
    """The parts in which two answers differ, with both values."""
    one, other = parts(theirs), parts(ours)
    return {
        name: (one[name], other[name])
        for name in one
        if name in other and not _equal(one[name], other[name])  # if one has no such field, their bodies differ
    }


def _masked(value: object) -> object:
    if isinstance(value, dict):
        return {key: f"<{type(inner).__name__}>" if key in MASKED else _masked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return _ID.sub("<id>", value) if isinstance(value, str) else value


def _equal(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0.0, abs_tol=CLOSE_ENOUGH)
    return type(one) is type(other) and one == other
