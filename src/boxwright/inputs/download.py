"""A picture from the web, within bounds of size, time and redirects."""

from __future__ import annotations

import io
import re
import socket
import string
import time
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit

from boxwright.runtime.errors import PictureError

__all__ = ["MAX_BYTES", "MAX_REDIRECTS", "download", "is_url", "require_web"]

MAX_BYTES = 32 * 2**20
"""Largest file that is fetched."""

MAX_REDIRECTS = 5
SECONDS = 30.0
"""How long one file may take."""

_CHUNK = 2**16
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_WEB_URL = re.compile(r"https?://", re.IGNORECASE)
_REDIRECTS = (301, 302, 303, 307, 308)


def is_url(source: object) -> bool:
    """Whether it is text that begins as ``http://`` does, with whatever scheme."""
    return isinstance(source, str) and _URL.match(source) is not None


def download(url: str, max_bytes: int = MAX_BYTES, seconds: float = SECONDS) -> bytes:
    """Fetch a file over HTTP or HTTPS.

    Args:
        url: of the file; up to ``MAX_REDIRECTS`` redirects are followed.
        max_bytes: largest accepted file.
        seconds: from the first connection to the last byte.

    Raises:
        PictureError: not HTTP, no answer in time, an error for an answer, too large.
    """
    deadline = time.monotonic() + seconds
    where = url
    for _ in range(MAX_REDIRECTS + 1):
        require_web(url, where)
        try:
            with _opener(deadline).open(_request(where), timeout=max(deadline - time.monotonic(), 0.1)) as answer:
                return _read(answer, url, max_bytes)
        except HTTPError as error:
            where = _next(url, where, error)
        except (OSError, HTTPException, ValueError) as error:
            raise _failed(url, _reason(error)) from error
    raise _failed(url, f"more than {MAX_REDIRECTS} redirects")


def require_web(url: str, where: str | None = None) -> None:
    """Nothing but HTTP and HTTPS.

    Args:
        url: as given.
        where: it leads; itself by default.

    Raises:
        PictureError: another scheme, or no URL at all.
    """
    if not _WEB_URL.match(where or url):
        reached = f" leads to {where!r}, which" if where and where != url else ""
        raise PictureError(f"{url!r}{reached} is not on the web.", "Only http:// and https:// can be fetched.")
    try:
        urlsplit(where or url)
    except ValueError as error:
        raise _failed(url, _reason(error)) from error


def _opener(deadline: float) -> request.OpenerDirector:
    """Without ``urlopen``'s ways to files and FTP, and without its redirects, whose bodies it reads whole."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        _Web(deadline),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Web(request.HTTPSHandler):
    """Both schemes; answers must end before the deadline."""

    http_request = request.AbstractHTTPHandler.do_request_

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: request.Request) -> Any:
        return self.do_open(partial(_connection, HTTPConnection, self._deadline), req)

    def https_open(self, req: request.Request) -> Any:
        return self.do_open(partial(_connection, HTTPSConnection, self._deadline), req)


def _connection(kind: type[HTTPConnection], deadline: float, host: str, **options: Any) -> HTTPConnection:
    connection = kind(host, **options)
    connection.response_class = partial(_Answer, deadline=deadline)  # type: ignore[assignment]  # it is only called
    return connection


class _Answer(HTTPResponse):
    """Is read until a deadline, status line and headers as well; a socket's own timeout begins anew with every byte."""

    def __init__(self, sock: socket.socket, *arguments: Any, deadline: float, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_InTime(self.fp.detach(), sock, deadline))


class _InTime(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw, self._sock, self._deadline = raw, sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("it takes too long")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _request(url: str) -> request.Request:
    return request.Request(quote(url, safe=string.punctuation), headers={"User-Agent": "boxwright"})


def _next(url: str, where: str, error: HTTPError) -> str:
    """Where a redirect leads."""
    with error:
        target = error.headers.get("Location")
    if error.code not in _REDIRECTS or not target:
        raise _failed(url, f"the server answered {error.code} {error.reason}") from error
    try:
        # http.client reads headers as Latin-1, whatever they were
        return urljoin(where, quote(target, safe=string.punctuation, encoding="iso-8859-1"))
    except ValueError as fault:
        raise _failed(url, f"it leads to {target!r}, which is no URL") from fault


def _read(answer: Any, url: str, max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        chunk = answer.read1(_CHUNK)
        if not chunk:
            return bytes(body)
        body += chunk
        if len(body) > max_bytes:
            raise PictureError(f"Picture {url!r} is larger than {max_bytes:,} bytes.", "Download it, make it smaller.")


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    said = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(str(said).split()).rstrip(".")


def _failed(url: str, reason: str) -> PictureError:
    return PictureError(f"Picture {url!r} cannot be fetched: {reason}.", "Check the URL.")
