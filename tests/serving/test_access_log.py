"""Lines of the access log, and spans."""

import datetime
import gzip
import io
import json
import logging
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import anyio
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from boxwright.serving.access_log import LOGGER, log_to, tracer_of_environment, with_access_log
from boxwright.serving.app import create_app


@pytest.fixture
def lines():
    """A function that gives the lines so far; the logger is as before afterwards."""
    logger, stream = logging.getLogger(LOGGER), io.StringIO()
    before = (logger.handlers[:], logger.propagate, logger.level)
    log_to(stream)
    yield lambda: stream.getvalue().splitlines()
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])


@pytest.fixture
def app(engine):
    return with_access_log(create_app(engine))


def test_a_prediction_is_one_line_of_json(ask, app, lines, odd_pictures):
    content = odd_pictures[0].read_bytes()
    answer = ask("POST", "/predictions/tiny?threshold=0.1", app, content=content, headers={"x-request-id": "abc-1"})
    (line,) = lines()
    entry = json.loads(line)
    assert entry["id"] == "abc-1" == answer.headers["x-request-id"]
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", "/predictions/tiny", 200)
    assert (entry["client"], entry["bytes"]) == ("127.0.0.1", len(answer.content))
    assert (entry["model"], entry["version"], entry["pictures"]) == ("tiny", "1.0", 1)
    assert entry["detections"] == len(answer.json())
    assert set(entry["stages_ms"]) == {"decode", "queue", "network"}
    assert entry["ms"] >= entry["stages_ms"]["network"] > 0
    when = datetime.datetime.fromisoformat(entry["time"])
    assert abs((datetime.datetime.now(datetime.UTC) - when).total_seconds()) < 3600
    assert entry["time"].endswith("Z")
    assert "error" not in entry
    assert "threshold" not in line, "a query may hold what is nobody's business"


def test_a_refusal_says_its_kind(ask, app, lines):
    ask("POST", "/predictions/none", app, content=b"x")
    entry = json.loads(lines()[0])
    assert (entry["status"], entry["error"]) == (404, "ModelNotFoundException")
    assert "model" not in entry


def test_both_protocols_are_logged(ask, app, lines, odd_pictures):
    headers = {"Inference-Header-Content-Length": "0"}
    ask("POST", "/v2/models/tiny/infer", app, content=odd_pictures[0].read_bytes(), headers=headers)
    ask("GET", "/v2/health/live", app)
    first, second = map(json.loads, lines())
    assert (first["path"], first["model"]) == ("/v2/models/tiny/infer", "tiny")
    assert (second["path"], second["status"]) == ("/v2/health/live", 200)


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_client_cannot_write_lines_of_its_own(ask, engine, lines, form):
    ask("GET", "/predictions/x%0A127.0.0.1%20GET%20/forged%1B[31m", with_access_log(create_app(engine), form))
    (line,) = lines()
    assert line.isprintable()
    if form == "json":
        assert json.loads(line)["path"] == "/predictions/x\n127.0.0.1 GET /forged\x1b[31m"
    else:
        assert "/predictions/x%0A127.0.0.1%20GET" in line


def test_text_for_people(ask, engine, lines, odd_pictures):
    app = with_access_log(create_app(engine), "text")
    answer = ask("POST", "/predictions/tiny", app, content=odd_pictures[0].read_bytes(), headers={"x-request-id": "me"})
    words = lines()[0].split(" ")
    assert words[1:6] == ["127.0.0.1", "POST", "/predictions/tiny", "200", f"{len(answer.content)}B"]
    assert words[7:] == ["id=me", "model=tiny", "version=1.0", f"detections={len(answer.json())}"]


def test_without_a_listener_nothing_is_logged(ask, app, lines):
    logging.getLogger(LOGGER).setLevel(logging.WARNING)
    assert ask("GET", "/ping", app).status_code == 200
    assert lines() == []


def test_a_client_that_leaves_has_a_line_without_a_status(app, lines):
    scope = {
        "type": "http", "method": "POST", "path": "/predictions/tiny", "headers": [], "query_string": b"",
        "client": None, "http_version": "1.1", "scheme": "http", "server": ("s", 80), "root_path": "",
    }  # fmt: skip

    async def leave():
        return {"type": "http.disconnect"}

    async def nobody(message):
        raise OSError("nobody reads")

    anyio.run(app, scope, leave, nobody)
    entry = json.loads(lines()[0])
    assert entry["path"] == "/predictions/tiny"
    assert "status" not in entry
    assert "error" not in entry
    assert entry["bytes"] == 0
    assert "client" not in entry


def test_what_is_no_request_passes(lines):
    heard = []

    async def app(scope, receive, send):
        heard.append(scope["type"])

    anyio.run(with_access_log(app), {"type": "lifespan"}, None, None)
    assert heard == ["lifespan"]
    assert lines() == []


def test_asked_twice_a_line_is_written_once(ask, app, lines):
    stream = io.StringIO()
    log_to(stream)
    ask("GET", "/ping", app)
    assert lines() == []
    assert len(stream.getvalue().splitlines()) == 1


# spans


def test_a_span_continues_the_clients_trace(ask, engine, odd_pictures):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = with_access_log(create_app(engine), tracer=provider.get_tracer("test"))
    parent = {"traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}
    ask("POST", "/predictions/tiny", app, content=odd_pictures[0].read_bytes(), headers=parent)
    ask("GET", "/predictions/none", app)
    span, refused = exporter.get_finished_spans()
    assert format(span.context.trace_id, "032x") == "0123456789abcdef0123456789abcdef"
    assert format(span.parent.span_id, "016x") == "0123456789abcdef"
    assert span.name == "POST tiny"
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["boxwright.model"] == "tiny"
    assert 0 < 1e6 * span.attributes["boxwright.network_ms"] < span.end_time - span.start_time
    assert (refused.attributes["error.type"], refused.parent) == ("ModelNotFoundException", None)


def test_nothing_is_traced_unless_the_environment_asks():
    assert tracer_of_environment({}) is None
    assert tracer_of_environment({"OTEL_SERVICE_NAME": "boxes"}) is None
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    assert tracer_of_environment({**endpoint, "OTEL_SDK_DISABLED": "true"}) is None
    assert tracer_of_environment({**endpoint, "OTEL_TRACES_EXPORTER": "none"}) is None


_TRACED = """
import anyio
from boxwright.serving.access_log import tracer_of_environment, with_access_log

async def app(scope, receive, send):
    scope.setdefault("state", {})["request_id"] = "one"
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body", "body": b"busy"})

async def quiet(message): pass

tracer = tracer_of_environment()
scope = {"type": "http", "method": "POST", "path": "/predictions/a", "headers": []}
anyio.run(with_access_log(app, tracer=tracer), scope, None, quiet)
"""


def test_spans_arrive_where_the_environment_says():
    """A process of its own, as the SDK's settings are the process's; it ends with all spans sent."""
    got = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "OTEL_SERVICE_NAME": "boxes",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", _TRACED], env=environment, capture_output=True, text=True, timeout=120
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr
    ((path, body),) = got
    assert path == "/v1/traces"
    sent = ExportTraceServiceRequest.FromString(body)
    (resource,) = sent.resource_spans
    assert {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"] == "boxes"
    (span,) = resource.scope_spans[0].spans
    facts = {one.key: one.value for one in span.attributes}
    assert facts["http.response.status_code"].int_value == 503
    assert facts["boxwright.request_id"].string_value == "one"
    assert span.status.code == 2
    assert span.end_time_unix_nano >= span.start_time_unix_nano


def test_without_the_packages_it_says_what_to_install():
    code = (
        "import sys, logging; logging.basicConfig(); sys.modules['opentelemetry.sdk.trace'] = None\n"
        "from boxwright.serving.access_log import tracer_of_environment\n"
        "print(tracer_of_environment({'OTEL_TRACES_EXPORTER': 'otlp'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "None\n", done.stderr
    assert "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http" in done.stderr
