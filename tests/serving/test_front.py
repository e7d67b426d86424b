"""What is done to every request and every answer."""

import json

import anyio
import pytest

from boxwright.serving.app import create_app, predictions_app
from boxwright.serving.calls import Service
from boxwright.serving.metrics import Metrics
from boxwright.serving.settings import Security, ServerSettings


def asked(app, method, path, headers=(), body=b"", said=lambda content: None):
    """Status and headers of an answer to a request as a server hands it over, with nothing repaired by a client."""
    seen = {"read": 0}
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers], "http_version": "1.1",
        "scheme": "http", "server": ("here", 80), "client": ("here", 1), "root_path": "", "state": {},
    }  # fmt: skip
    parts = [body[:1], body[1:]] if len(body) > 1 else [body]

    async def receive():
        if not parts:
            await anyio.sleep(60)
        seen["read"] += 1
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        seen.update(message)
        if "body" in message:
            said(message["body"])

    async def run():
        await app(scope, receive, send)

    anyio.run(run)
    return seen["status"], {name.decode(): value.decode() for name, value in seen["headers"]}, seen["read"]


@pytest.fixture(scope="module")
def app(engine):
    return create_app(engine)


@pytest.mark.parametrize("path", ["/ping", "/ping/", "http://elsewhere/ping", "HTTP://elsewhere:80/ping/"])
def test_one_form_of_paths(app, path):
    assert asked(app, "GET", path)[0] == 200


@pytest.mark.parametrize("path", ["/ping/http://elsewhere", "//ping", "/ping//x", "/./ping"])
def test_other_paths_are_what_they_are(app, path):
    assert asked(app, "GET", path)[0] == 404


@pytest.mark.parametrize("host", ["[", "x/v2", "x?", "x:y"])
def test_a_strange_host_changes_no_answer(app, host):
    status, headers, _ = asked(app, "GET", "/nothing", [("host", host)])
    assert (status, headers["content-length"]) == (404, asked(app, "GET", "/nothing")[1]["content-length"])


def test_the_clients_id_is_kept_and_nonsense_is_not(app):
    assert asked(app, "GET", "/ping", [("x-request-id", "abc-1.2")])[1]["x-request-id"] == "abc-1.2"
    for nonsense in ("a b", "x" * 200, ""):
        assert asked(app, "GET", "/ping", [("x-request-id", nonsense)])[1]["x-request-id"] not in ("", nonsense)


def test_two_lengths_are_refused(app):
    status, headers, _ = asked(
        app, "POST", "/ping", [("content-length", "3"), ("transfer-encoding", "chunked")], b"abc"
    )
    assert (status, headers["connection"]) == (400, "close")


def test_two_lengths_are_refused_in_the_shape_of_the_path_and_noted(engine):
    metrics = Metrics(engine)
    app = predictions_app(Service(engine, ServerSettings()), metrics)
    for path, keys in (("/ping", {"code", "type", "message"}), ("/v2/health/live", {"error"})):
        parts = []
        asked(app, "POST", path, [("content-length", "3"), ("transfer-encoding", "chunked")], b"abc", parts.append)
        assert json.loads(b"".join(parts)).keys() == keys
    assert 'boxwright_refused_requests_total{kind="BadRequestException"} 2.0' in metrics.text()


def test_a_refusal_reads_the_rest_of_the_body(app):
    status, _, read = asked(app, "POST", "/predictions/other", [("content-length", "5")], b"12345")
    assert (status, read) == (404, 2)


def test_who_asks_first_need_not_send(app):
    status, _, read = asked(app, "POST", "/predictions/other", [("expect", "100-continue")], b"12345")
    assert (status, read) == (404, 0)


def test_answers_are_not_kept_and_errors_close(app):
    status, headers, _ = asked(app, "GET", "/nothing")
    assert (status, headers["connection"], headers["pragma"]) == (404, "close", "no-cache")
    assert "connection" not in asked(app, "GET", "/ping")[1]


def test_405_names_what_is_allowed(app):
    status, headers, _ = asked(app, "DELETE", "/ping")
    assert status == 405
    assert {"GET", "HEAD", "POST"} <= set(headers["allow"].split(", "))


class TestPagesFromElsewhere:
    PREFLIGHT = (("origin", "https://a.example"), ("access-control-request-method", "POST"))

    def test_may_not_ask_unless_it_is_said(self, app):
        for method in ("GET", "OPTIONS"):
            headers = asked(app, method, "/ping", self.PREFLIGHT)[1]
            assert not any(name.startswith("access-control-allow-origin") for name in headers)

    def test_may_ask_where_it_is_said(self, engine):
        app = create_app(engine, ServerSettings(security=Security(origins=("https://a.example",))))
        assert asked(app, "GET", "/ping", self.PREFLIGHT)[1]["access-control-allow-origin"] == "https://a.example"
        status, headers, _ = asked(app, "OPTIONS", "/predictions/tiny", self.PREFLIGHT)
        assert (status, headers["access-control-allow-origin"]) == (204, "https://a.example")
        other = asked(app, "GET", "/ping", [("origin", "https://b.example")])[1]
        assert "access-control-allow-origin" not in other

    def test_any_may_ask_with_a_star(self, engine):
        app = create_app(engine, ServerSettings(security=Security(origins=("*",))))
        assert asked(app, "GET", "/ping", self.PREFLIGHT)[1]["access-control-allow-origin"] == "https://a.example"
