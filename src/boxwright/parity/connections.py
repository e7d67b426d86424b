"""Connections to one server, one a thread, kept open between requests."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import SplitResult, quote, urlsplit

from boxwright.runtime import ConfigError, ServingError

__all__ = ["Http", "Reply", "split_url"]

_TRIES = 6
_LONGEST_WAIT = 5.0
_LARGEST_REPLY = 64 * 1024**2
_PART = 64 * 1024
_UNAVAILABLE = 503
_NO_HOST = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True)
class Reply:
    """What a server said: status, headers by lower-case name, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def beginning(self) -> str:
        """Of the body, on one line, for errors."""
        return " ".join(self.body[:400].decode("utf-8", "replace").split())[:200]


def split_url(url: str, forms: str) -> SplitResult:
    """The parts of an endpoint's URL.

    Raises:
        ConfigError: it is none of ``forms``.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")  # raises UnicodeError, a ValueError, as looking the name up would
        sound = parts.scheme in ("http", "https") and bool(host) and not _NO_HOST.search(host) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.username is not None:
        raise ConfigError(f"Endpoint {url!r} is not the URL of a server.", f"Give {forms}.")
    return parts


class Http:
    """Sends requests to one server; every thread has a connection of its own.

    Args:
        parts: scheme, host and port of the server.
        timeout: seconds from a request to the end of its answer.
    """

    def __init__(self, parts: SplitResult, timeout: float) -> None:
        self.base = f"{parts.scheme}://{parts.netloc}"
        self._parts, self._timeout = parts, timeout
        self._own = threading.local()
        self._every: list[HTTPConnection] = []

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._every:
            connection.close()

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request; repeated a few times where the server says 503 and when to come back.

        Args:
            method: of HTTP.
            path: with its query.
            body: bytes, or None.
            **headers: by name, ``_`` for ``-``.

        Raises:
            ServingError: no server there, or none that speaks HTTP.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        path = quote(path, safe="/:?&=%~+,@")
        reply = self._answered(method, path, body, named)
        for _ in range(_TRIES - 1):
            if reply.status != _UNAVAILABLE or "retry-after" not in reply.headers:
                break
            time.sleep(_wait(reply.headers["retry-after"]))
            reply = self._answered(method, path, body, named)
        return reply

    def _answered(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        fresh = not hasattr(self._own, "connection")
        try:
            return self._send(method, path, body, headers)
        except (OSError, HTTPException) as error:
            self._drop()
            if fresh or isinstance(error, TimeoutError):
                raise self._unreachable(path, error) from error
        try:  # a connection that was kept open may have been closed at the other end meanwhile
            return self._send(method, path, body, headers)
        except (OSError, HTTPException) as error:
            self._drop()
            raise self._unreachable(path, error) from error

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        connection, deadline = self._connection(), time.monotonic() + self._timeout
        with suppress(BrokenPipeError, ConnectionResetError):  # it has answered already, and reads no further
            connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        content = _content(response, deadline)
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def _connection(self) -> HTTPConnection:
        if not hasattr(self._own, "connection"):
            kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
            assert self._parts.hostname is not None, "split_url makes sure of it"
            self._own.connection = kind(
                self._parts.hostname, self._parts.port or kind.default_port, timeout=self._timeout
            )
            self._every.append(self._own.connection)
        connection: HTTPConnection = self._own.connection
        return connection

    def _drop(self) -> None:
        connection = self._own.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    def _unreachable(self, path: str, error: Exception) -> ServingError:
        if isinstance(error, TimeoutError):
            return ServingError(
                f"{self.base}{path}: no answer within {self._timeout:g} s.", "See what keeps the server busy."
            )
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ServingError(
            f"{self.base}{path}: cannot be reached: {reason.rstrip('.')}.",
            "Check host and port, and that the server runs: boxwright serve NAME.mar",
        )


def _content(response: HTTPResponse, deadline: float) -> bytes:
    content = bytearray()
    with response:  # read1 does not close it at the end, and the connection waits for that
        while part := response.read1(_PART):
            content += part
            if len(content) > _LARGEST_REPLY:
                raise HTTPException(f"it answers with more than {_LARGEST_REPLY:,} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError
    return bytes(content)


def _wait(retry_after: str) -> float:
    """Seconds to wait; a date, or what is neither, counts as one second."""
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 1.0
    return min(seconds, _LONGEST_WAIT)
