"""One line for each request, and a span of OpenTelemetry where that is configured."""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO
from urllib.parse import quote

from starlette.types import ASGIApp

from .calls import Found

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

__all__ = ["LOGGER", "LogForm", "log_to", "tracer_of_environment", "with_access_log"]

LOGGER = "boxwright.access"
"""Name of the logger; its lines have level INFO."""

LogForm = Literal["json", "text"]

_log = logging.getLogger(LOGGER)
_faults = logging.getLogger(__name__)

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

_OPENTELEMETRY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
"""Variables of OpenTelemetry that ask for spans."""


def log_to(stream: TextIO | None = None) -> None:
    """Let access lines go to a stream, as they are; standard output by default. Asked twice, only the last counts."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _log.handlers[:] = [handler]
    _log.propagate = False
    _log.setLevel(logging.INFO)


def with_access_log(app: ASGIApp, form: LogForm = "json", tracer: Tracer | None = None) -> ASGIApp:
    """An application that logs each request when its answer has ended. Bodies, queries and headers are not logged.

    Where nobody listens (the logger's level is above INFO) and there is no tracer, nothing is done.

    Args:
        app: the application; it says in the request's state what it found.
        form: ``json``, an object a line; or ``text``, for people.
        tracer: makes a span of each request; see ``tracer_of_environment``.
    """

    async def logged(scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http" or not (tracer or _log.isEnabledFor(logging.INFO)):
            await app(scope, receive, send)
            return
        seen = _Seen(send)
        try:
            await app(scope, receive, seen.send)
        finally:
            entry = _entry(scope, seen)
            if _log.isEnabledFor(logging.INFO):
                _log.info("%s", json.dumps(entry) if form == "json" else _text(entry))
            if tracer is not None:
                _trace(tracer, scope, seen, entry)

    return logged


class _Seen:
    """An answer on its way out."""

    def __init__(self, send: _Send) -> None:
        self._send = send
        self.began, self.clock = time.time_ns(), time.perf_counter()
        self.status: int | None = None
        self.bytes = 0

    async def send(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.bytes += len(message.get("body", b""))
        await self._send(message)


def _entry(scope: _Message, seen: _Seen) -> dict[str, Any]:
    """The facts of a request; those that it does not have are left out."""
    state: Mapping[str, Any] = scope.get("state", {})
    client = scope.get("client")
    found: Sequence[Found] = state.get("found", ())
    began = datetime.datetime.fromtimestamp(seen.began / 1e9, datetime.UTC)
    entry = {
        "time": began.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "id": state.get("request_id"),
        "client": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"],
        "status": seen.status,  # none: the client left
        "bytes": seen.bytes,
        "ms": round(1e3 * (time.perf_counter() - seen.clock), 3),
        "error": state.get("refused"),
    }
    if found:
        answered = found[0].model
        entry["model"], entry["version"] = answered.name, answered.version
        entry["pictures"], entry["detections"] = len(found), sum(len(one.detections) for one in found)
        entry["stages_ms"] = {stage: round(1e3 * took, 3) for stage, took in found[0].answer.seconds.items()}
    return {key: fact for key, fact in entry.items() if fact is not None}


def _text(entry: Mapping[str, Any]) -> str:
    """A line for people. What a client chose is quoted, so that it cannot begin a line of its own."""
    path = quote(entry["path"], safe="/:@!$&'()*+,;=~")
    words = [entry["time"], entry.get("client", "-"), quote(entry["method"]), path, str(entry.get("status", "-"))]
    words += [f"{entry['bytes']}B", f"{entry['ms']:.1f}ms"]
    words += [f"{key}={entry[key]}" for key in ("id", "error", "model", "version", "detections") if key in entry]
    return " ".join(words)


def tracer_of_environment(environment: Mapping[str, str] = os.environ) -> Tracer | None:
    """The tracer that OpenTelemetry's own variables configure; None if they ask for none.

    Asked for is it by ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` or
    ``OTEL_TRACES_EXPORTER``. A provider that is there already, as ``opentelemetry-instrument`` makes one, is used; else
    spans are sent by OTLP over HTTP. Sampler, service name and resource come from their variables too.

    Args:
        environment: where the decision is looked up; the SDK itself reads the process's.
    """
    asked = any(environment.get(name) for name in _OPENTELEMETRY)
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get(_OPENTELEMETRY[2]) == "none"
    if not asked or off:
        return None
    try:
        from opentelemetry import trace
    except ImportError:
        _faults.warning("OpenTelemetry is configured but not installed: pip install opentelemetry-api")
        return None
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return _own_tracer()
    return trace.get_tracer("boxwright")


def _own_tracer() -> Tracer | None:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        packages = "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
        _faults.warning("OpenTelemetry is configured, but its exporter is not installed: pip install %s", packages)
        return None
    provider = TracerProvider()  # sends what is left when the process ends
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("boxwright")


def _trace(tracer: Tracer, scope: _Message, seen: _Seen, entry: Mapping[str, Any]) -> None:
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind, Status, StatusCode

    headers = {name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]}
    name = f"{entry['method']} {entry['model']}" if "model" in entry else entry["method"]
    span = tracer.start_span(name, extract(headers), kind=SpanKind.SERVER, start_time=seen.began)
    facts = {
        "http.request.method": entry["method"],
        "url.path": entry["path"],
        "client.address": entry.get("client"),
        "http.response.status_code": entry.get("status"),
        "error.type": entry.get("error"),
        "boxwright.request_id": entry.get("id"),
        "boxwright.model": entry.get("model"),
        "boxwright.version": entry.get("version"),
        "boxwright.detections": entry.get("detections"),
        **{f"boxwright.{stage}_ms": took for stage, took in entry.get("stages_ms", {}).items()},
    }
    span.set_attributes({key: fact for key, fact in facts.items() if fact is not None})
    if entry.get("status", 0) >= 500:
        span.set_status(Status(StatusCode.ERROR))
    with suppress(ValueError):  # a clock that was set back in between
        span.end(seen.began + int(1e6 * entry["ms"]))
