"""Connections to one server, one a thread, kept open between requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, quote, urlsplit

from boxwright.runtime import ConfigError, ServingError

__all__ = ["Http", "Reply", "split_url"]

_TRIES = 6
_LONGEST_WAIT = 5.0
_LARGEST_REPLY = 64 * 1024**2
_UNAVAILABLE = 503


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
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.username is not None:
        raise ConfigError(f"Endpoint {url!r} is not the URL of a server.", f"Give {forms}.")
    return parts


class Http:
    """Sends requests to one server; every thread has a connection of its own.

    Args:
        parts: scheme, host and port of the server.
        timeout: seconds without a sign of life.
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
        for _ in range(_TRIES):
            reply = self._answered(method, quote(path, safe="/:?&=%~+,@"), body, named)
            if reply.status != _UNAVAILABLE or "retry-after" not in reply.headers:
                break
            time.sleep(_wait(reply.headers["retry-after"]))
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
        connection = self._connection()
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        content = response.read(_LARGEST_REPLY + 1)
        if len(content) > _LARGEST_REPLY:
            raise HTTPException(f"it answers with more than {_LARGEST_REPLY:,} bytes")
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def _connection(self) -> HTTPConnection:
        if not hasattr(self._own, "connection"):
            kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
            assert self._parts.hostname is not None, "split_url makes sure of it"
            self._own.connection = kind(self._parts.hostname, self._parts.port, timeout=self._timeout)
            self._every.append(self._own.connection)
        connection: HTTPConnection = self._own.connection
        return connection

    def _drop(self) -> None:
        self._own.connection.close()
        del self._own.connection

    def _unreachable(self, path: str, error: Exception) -> ServingError:
        if isinstance(error, TimeoutError):
            reason = f"no answer within {self._timeout:g} s"
        else:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ServingError(
            f"{self.base}{path}: cannot be reached: {reason.rstrip('.')}.",
            "Check host and port, and that the server runs: boxwright serve NAME.mar",
        )


def _wait(retry_after: str) -> float:
    """Seconds to wait; a date, or what is neither, counts as one second."""
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 1.0
    return min(seconds, _LONGEST_WAIT)
