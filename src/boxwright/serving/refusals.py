"""Why a call is not answered, before any protocol has put it into words of its own."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from boxwright.runtime import PictureError

from .jobs import Busy, Draining, Expired, Loading, ModelNotFound, NotAnswered, NoWorkers, OutOfMemory, VersionNotFound

__all__ = ["Refusal", "note_refusal", "refusal_of"]


class Refusal(Exception):
    """Why a call is not answered; each protocol has a shape of its own for it.

    Attributes:
        status: of HTTP.
        message: for people.
        kind: TorchServe's name for it.
        headers: of the answer.
    """

    def __init__(
        self, status: int, message: str, kind: str = "BadRequestException", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.headers = int(status), message, kind, dict(headers or {})


def note_refusal(scope: MutableMapping[str, Any], refusal: Refusal) -> None:
    """Tell metrics and the access log, which are around the application, of what kind a request's refusal is."""
    scope.setdefault("state", {})["refused"] = refusal.kind


_KINDS: Mapping[type[NotAnswered], tuple[int, str]] = {
    ModelNotFound: (404, "ModelNotFoundException"),
    VersionNotFound: (404, "ModelVersionNotFoundException"),
    Busy: (503, "ServiceUnavailableException"),
    NoWorkers: (503, "ServiceUnavailableException"),
    Loading: (503, "ServiceUnavailableException"),
    Draining: (503, "ServiceUnavailableException"),
    Expired: (503, "ServiceUnavailableException"),
    OutOfMemory: (503, "OutOfResourcesException"),
}


def refusal_of(error: PictureError | NotAnswered) -> Refusal:
    """What an engine's refusal is over HTTP. Every 503 says when to come back (``Retry-After``)."""
    if isinstance(error, PictureError):
        return Refusal(error.http_status, str(error), type(error).__name__)
    status, kind = _KINDS.get(type(error), (503, "InternalServerException"))
    headers = {"Retry-After": str(error.retry_after or 1)} if status == 503 else {}
    return Refusal(status, str(error), kind, headers)
