"""HTTP as a client, for pictures on the web and for endpoints: one deadline for all of a request, one limit of size."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx
    from anyio.from_thread import BlockingPortal

__all__ = ["Http", "HttpFailure", "Reply", "TooLarge", "TooSlow", "open_http"]

_HEADERS = {"User-Agent": "boxwright", "Accept-Encoding": "identity"}
_BEGINNING = 2**16  # bytes: enough of an error's page


class HttpFailure(Exception):
    """A request without a usable answer; the message is the reason, in a few words."""


class TooSlow(HttpFailure):
    """The answer was not complete in time."""


class TooLarge(HttpFailure):
    """The answer has more bytes than accepted."""


@dataclass(frozen=True)
class Reply:
    """What a server answered: status and its words, headers by lower-case name, and the body.

    Of an answer without success the body is only the beginning.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, eq=False)
class Http:
    """Sends requests from any thread; connections stay open between them. Made by ``open_http``."""

    portal: BlockingPortal
    connections: httpx.AsyncHTTPTransport
    max_bytes: int

    def request(
        self, method: str, url: str, seconds: float, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request and its answer; redirects are not followed.

        Args:
            method: of HTTP.
            url: ``http`` or ``https``, quoted.
            seconds: from looking up the name to the last byte.
            body: to send.
            headers: to send, beside our own.

        Raises:
            HttpFailure: too slow, too large, a malformed URL, no server, or one that does not speak HTTP.
        """
        import httpx

        try:
            request = httpx.Request(method, url, content=body, headers={**_HEADERS, **(headers or {})})
            return self.portal.call(self._answer_in_time, request, seconds)
        except TimeoutError as error:
            raise TooSlow("timed out") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise HttpFailure(_reason(error)) from error

    async def _answer_in_time(self, request: httpx.Request, seconds: float) -> Reply:
        import anyio
        import httpx

        with anyio.fail_after(seconds):  # also where each byte comes in time, and the last one never does
            try:
                return await self._answer(request)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                return await self._answer(request)  # the other end may have closed a connection that was kept open

    async def _answer(self, request: httpx.Request) -> Reply:
        response = await self.connections.handle_async_request(request)
        body = bytearray()
        try:
            async for chunk in response.aiter_raw():
                body += chunk
                if response.is_success and len(body) > self.max_bytes:
                    raise TooLarge(f"it answers with more than {self.max_bytes:,} bytes")
                if not response.is_success and len(body) > _BEGINNING:
                    break
        finally:
            await response.aclose()
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}
        return Reply(response.status_code, response.reason_phrase, headers, bytes(body))


@contextmanager
def open_http(max_bytes: int, proxy: str | None = None) -> Iterator[Http]:
    """A client whose connections are open for the time of the block; in a thread of its own, beside any event loop.

    Args:
        max_bytes: largest accepted answer.
        proxy: URL; none by default, whatever the environment says.

    Raises:
        HttpFailure: the proxy cannot be used.
    """
    import ssl

    import httpx
    from anyio.from_thread import start_blocking_portal

    system = ssl.create_default_context()  # the certificates that the system trusts
    try:
        # without AsyncClient, which reads where redirects lead, and gives up where they lead nowhere
        connections = httpx.AsyncHTTPTransport(verify=system, proxy=proxy)
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise HttpFailure(f"proxy {proxy!r} cannot be used: {_reason(error)}") from error
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(connections):
        yield Http(portal, connections, max_bytes)


def _reason(error: BaseException) -> str:
    """The system's words, where they are known."""
    first: BaseException | None = error
    while first is not None and not isinstance(first, OSError):
        first = first.__cause__ or first.__context__
    first = getattr(first, "__cause__", None) or first  # of "All connection attempts failed"
    system = os.strerror(first.errno) if isinstance(first, ConnectionError) and first.errno else None
    message = system or getattr(first, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(message).split()).rstrip(".")
