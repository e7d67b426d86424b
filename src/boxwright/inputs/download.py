"""A picture from the web, within bounds of size, time and redirects."""

from __future__ import annotations

import re
import string
import time
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from boxwright.host.places import is_url
from boxwright.runtime.errors import PictureError

from .http import HttpFailure, Reply, TooLarge, open_http

__all__ = ["MAX_BYTES", "MAX_REDIRECTS", "download", "is_url", "require_web"]

MAX_BYTES = 32 * 2**20
"""Largest file that is fetched."""

MAX_REDIRECTS = 5
SECONDS = 30.0
"""How long one file may take."""

_WEB_URL = re.compile(r"https?://", re.IGNORECASE)
_OK = range(200, 300)
_REDIRECTS = (301, 302, 303, 307, 308)


def download(url: str, max_bytes: int = MAX_BYTES, seconds: float = SECONDS) -> bytes:
    """Fetch a file over HTTP or HTTPS, through the proxies of the environment.

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
            reply = _get(quote(where, safe=string.punctuation), max_bytes, max(deadline - time.monotonic(), 0.1))
        except TooLarge as error:
            remedy = "Download it, make it smaller."
            raise PictureError(f"Picture {url!r} is larger than {max_bytes:,} bytes.", remedy) from error
        except (HttpFailure, ValueError) as error:
            raise _failed(url, str(error)) from error
        if reply.status in _OK:
            return reply.body
        where = _next(url, where, reply)
    raise _failed(url, f"more than {MAX_REDIRECTS} redirects")


def require_web(url: str, where: str | None = None) -> None:
    """Raise unless a URL is of HTTP or HTTPS.

    Args:
        url: as given.
        where: it leads; to itself by default.

    Raises:
        PictureError: another scheme, or no URL at all.
    """
    if not _WEB_URL.match(where or url):
        reached = f" leads to {where!r}, which" if where and where != url else ""
        raise PictureError(f"{url!r}{reached} is not on the web.", "Only http:// and https:// can be fetched.")
    try:
        urlsplit(where or url)
    except ValueError as error:
        raise _failed(url, str(error)) from error


def _get(url: str, max_bytes: int, seconds: float) -> Reply:
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("no host given")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError("nonnumeric port, or one beyond 65535") from error
    with open_http(max_bytes, _proxy(parts)) as http:
        return http.request("GET", url, seconds)


def _proxy(parts: SplitResult) -> str | None:
    """The environment's proxy for a URL, as urllib reads it."""
    from urllib.request import getproxies, proxy_bypass

    proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _next(url: str, where: str, reply: Reply) -> str:
    """Where a redirect leads."""
    target = reply.headers.get("location")
    if reply.status not in _REDIRECTS or not target:
        raise _failed(url, f"the server answered {reply.status} {reply.reason}")
    try:
        return urljoin(where, quote(target, safe=string.punctuation, encoding="iso-8859-1"))
    except ValueError as error:
        raise _failed(url, f"it leads to {target!r}, which is not a URL") from error


def _failed(url: str, reason: str) -> PictureError:
    return PictureError(f"Picture {url!r} cannot be fetched: {reason}.", "Check the URL.")
