"""The applications: all protocols, and what every answer of theirs has."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import kserve_v1, management, openapi, page, torchserve, v2
from .calls import Protocol, Service
from .engine import Engine
from .front import Front
from .intake import Gone
from .metrics import Metrics, metrics_protocol
from .refusals import Refusal, note_refusal
from .registry import Registry
from .settings import ServerSettings
from .tokens import Guard, Kind, Tokens

__all__ = ["create_app", "encoded", "make_app", "management_app", "predictions_app"]

_log = logging.getLogger(__name__)

_PROTOCOLS = (v2.PROTOCOL, kserve_v1.PROTOCOL, page.PROTOCOL, management.PROTOCOL, torchserve.PROTOCOL)
"""Errors have the shape of the first whose prefix the path has; the last one's is empty."""


def create_app(engine: Engine, settings: ServerSettings = ServerSettings()) -> ASGIApp:
    """The ASGI application that answers pictures: TorchServe's inference calls, and the Open Inference Protocol.

    Args:
        engine: its models.
        settings: of the server; ports and addresses are whoever's who runs the application.
    """
    service = Service(engine, settings)
    return predictions_app(service, Metrics(engine, service.intake))


def predictions_app(service: Service, metrics: Metrics, tokens: Tokens | None = None) -> ASGIApp:
    """The application of the predictions' port.

    Args:
        service: what its calls work with.
        metrics: told at ``/metrics``; its own requests are counted.
        tokens: asked for; None asks for none.
    """
    protocols = (metrics_protocol(metrics), *_PROTOCOLS, openapi.description_protocol("predictions"))
    return metrics.around(make_app(service, protocols, _guard(tokens, "inference", protocols)))


def management_app(service: Service, registry: Registry, metrics: Metrics, tokens: Tokens | None = None) -> ASGIApp:
    """The application of the management port; see ``predictions_app``."""
    own = management.management_protocol(registry, tokens)
    protocols = (v2.REPOSITORY, own, openapi.description_protocol("management"))
    return metrics.around(make_app(service, protocols, _guard(tokens, "management", protocols)))


def _guard(tokens: Tokens | None, kind: Kind, protocols: Sequence[Protocol]) -> Callable[[ASGIApp], ASGIApp]:
    def guarded(app: ASGIApp) -> ASGIApp:
        return app if tokens is None else Guard(app, tokens, kind, functools.partial(_encoded, protocols))

    return guarded


def encoded(path: str, refusal: Refusal) -> Response:
    """A refusal as whoever asks for this path of the predictions' port expects it."""
    return _encoded(_PROTOCOLS, path, refusal)


def _encoded(protocols: Sequence[Protocol], path: str, refusal: Refusal) -> Response:
    """A refusal in the shape of the first protocol whose prefix the path has; of the last one if none fits (``*``)."""
    fitting = (one for one in protocols if f"{path}/".startswith(f"{one.prefix}/"))
    return next(fitting, protocols[-1]).error(refusal)


def make_app(
    service: Service, protocols: Sequence[Protocol], guard: Callable[[ASGIApp], ASGIApp] = lambda app: app
) -> ASGIApp:
    """The application of some protocols; those with longer prefixes first."""

    async def refuse(request: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal), "it is the handler of no other error"
        note_refusal(request.scope, refusal)
        # not request.url, which is made of the Host header as well: of a strange one it is another path, or an error
        return _encoded(protocols, request.scope["path"], refusal)

    async def no_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "it is the handler of no other error"
        return await refuse(request, _unrouted(error, request.scope["path"], _allowed(routes, request)))

    async def gone(request: Request, error: Exception) -> Response:
        return _Nothing()

    async def fault(request: Request, error: Exception) -> Response:
        message = "Internal error; see the server's log."
        return await refuse(request, Refusal(500, message, "InternalServerException"))

    handlers: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
        Refusal: refuse,
        HTTPException: no_route,
        ClientDisconnect: gone,
        Gone: gone,
        Exception: fault,
    }
    # predictions, which come most often, are in the last protocol
    routes = [route for protocol in reversed(protocols) for route in protocol.routes(service)]
    routes += [route for protocol in protocols for route in protocol.late_routes(service)]
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Front(guard(app), service.settings.security.origins, functools.partial(_encoded, protocols))


class _Nothing(Response):
    """No answer, as nobody reads it: by that, metrics and the access log know whose client has left."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


def _allowed(routes: Sequence[BaseRoute], request: Request) -> str:
    """The methods that a path has, of all routes that lead to it."""
    there = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in there if isinstance(route, Route) for method in route.methods or ()}))


def _unrouted(error: HTTPException, path: str, allowed: str) -> Refusal:
    """TorchServe's words where no route fits, and where to go for what is often looked for in vain."""
    refer = "please refer to API document."
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"Requested method is not allowed, {refer}{_hint(path, allowed)}"
        return Refusal(405, message, "MethodNotAllowedException", {"Allow": allowed})
    return Refusal(error.status_code, f"Requested resource is not found, {refer}", "ResourceNotFoundException")


def _hint(path: str, allowed: str) -> str:
    """What TorchServe does not say: it takes any method for a prediction, and changes models on another port only."""
    if path == "/invocations" or path.endswith("/invoke"):
        return " Pictures are sent there by POST."
    if path.startswith("/models") and "POST" not in allowed.split(", ") and "PUT" not in allowed.split(", "):
        return " To register, scale or unregister models, start the server with --management-port and ask that port."
    return ""
