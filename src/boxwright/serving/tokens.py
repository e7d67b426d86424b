"""TorchServe's token authorization: keys in a file that whoever may read it hands on, each for a while."""

from __future__ import annotations

import datetime
import hmac
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from boxwright.host.files import replacing
from boxwright.runtime import ServingError

from .refusals import Refusal, note_refusal

__all__ = ["Guard", "Kind", "Tokens"]

_log = logging.getLogger(__name__)

Kind = Literal["inference", "management"]
"""What a token is for: the predictions' port, or the management port."""

_BYTES = 32  # of randomness in a key: TorchServe has 6
_OPEN = ("/api-description", "/v2/health/live", "/v2/health/ready")
_CHANGING = "/v2/repository/models/"
_KIND = "InvalidKeyException"


class Tokens:
    """The keys that are valid now. A file holds them, which the server's user alone may read.

    The file is as TorchServe writes it: ``management`` and ``inference`` with a ``key`` and its ``expiration time``
    (UTC), and ``API`` with the ``key`` that renews them. It is written anew, with new keys, when the server starts and
    whenever one is renewed.

    Args:
        file: where they are written.
        minutes: for which a token is valid.
        clock: seconds since 1970.

    Raises:
        ServingError: the file cannot be written.
    """

    def __init__(self, file: Path, minutes: int = 60, clock: Callable[[], float] = time.time) -> None:
        self._file, self._seconds, self._clock = file, 60 * minutes, clock
        self._lock = threading.Lock()
        self._api = _new_key()
        self._keys: dict[Kind, tuple[str, float]] = {
            "management": self._fresh(),
            "inference": self._fresh(),
        }
        try:
            self._write()
        except OSError as error:
            remedy = "Choose another place for it, or serve without tokens."
            raise ServingError(f"{file}: the tokens cannot be written: {error.strerror}.", remedy) from error

    def allow(self, kind: Kind, authorization: str | None) -> bool:
        """Whether a request may be answered.

        Args:
            kind: of the port, or of the gRPC service.
            authorization: the header's value, ``Bearer KEY``; None if there is none.
        """
        key, end = self._keys[kind]
        return _is_bearer_of(key, authorization) and self._clock() < end

    def renew(self, kind: str | None, authorization: str | None) -> None:
        """Put a new token in place of one, and write the file; the old one is no longer valid.

        Args:
            kind: of the token.
            authorization: the header's value, with the ``API`` key.

        Raises:
            Refusal: 400, the key is not the ``API`` key or there is no such kind; 500, the file cannot be written, and
                the tokens are as they were.
        """
        if kind not in ("inference", "management") or not _is_bearer_of(self._api, authorization):
            # another word than elsewhere, as TorchServe has it
            message = "Token Authentication failed. Token either incorrect, expired, or not provided correctly"
            raise Refusal(400, message, _KIND)
        which: Kind = "inference" if kind == "inference" else "management"
        with self._lock:
            before = self._keys[which]
            self._keys[which] = self._fresh()
            try:
                self._write()
            except OSError as error:
                self._keys[which] = before
                _log.error("%s: %s", self._file, error)
                raise Refusal(500, "The key file cannot be written.", "InternalServerException") from error

    def _fresh(self) -> tuple[str, float]:
        return _new_key(), self._clock() + self._seconds

    def _write(self) -> None:
        document: dict[str, Any] = {
            kind: {"key": key, "expiration time": _written(end)} for kind, (key, end) in self._keys.items()
        }
        document["API"] = {"key": self._api}
        with replacing(self._file) as part:
            part.unlink(missing_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(json.dumps(document, indent=2))


class Guard:
    """Around an application: it answers only who has the token of its kind.

    What there is to ask is told to everyone, as by TorchServe: ``OPTIONS /`` and ``/api-description``; and whether the
    server lives, which orchestrators ask without a token. ``/ping`` needs one, as TorchServe's does. Renewing a token
    has a key of its own, which ``Tokens.renew`` checks.

    Args:
        app: the application.
        tokens: those that are valid.
        kind: of the application. Calls of the Open Inference Protocol that load and unload models need the management
            token on every port.
        encode: encodes a refusal for a path.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, kind: Kind, encode: Callable[[str, Refusal], Response]) -> None:
        self.app, self.tokens, self.kind, self.encode = app, tokens, kind, encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, see the ASGI specification."""
        if scope["type"] != "http" or self._is_open(scope):
            await self.app(scope, receive, send)
            return
        kind: Kind = "management" if scope["path"].startswith(_CHANGING) else self.kind
        if self.tokens.allow(kind, Request(scope).headers.get("authorization")):
            await self.app(scope, receive, send)
            return
        message = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
        refusal = Refusal(400, message, _KIND)
        note_refusal(scope, refusal)
        await self.encode(scope["path"], refusal)(scope, receive, send)

    def _is_open(self, scope: MutableMapping[str, Any]) -> bool:
        path, method = scope["path"], scope["method"]
        renews = self.kind == "management" and path == "/token"
        return renews or path in _OPEN or (path == "/" and method == "OPTIONS")


def _new_key() -> str:
    return secrets.token_urlsafe(_BYTES)


def _is_bearer_of(key: str, authorization: str | None) -> bool:
    given = (authorization or "").encode("utf-8", "surrogateescape")
    return hmac.compare_digest(given, f"Bearer {key}".encode())


def _written(seconds: float) -> str:
    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return when.isoformat().replace("+00:00", "Z")
