"""The real server: a process, a socket, curl."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import anyio
import pytest

from boxwright.inputs import Predictor
from boxwright.parity.clients import open_client
from boxwright.runtime import Execution, ServingError
from boxwright.serving.app import create_app
from boxwright.serving.connections import GuardedConnection
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.server import background_server, serve
from boxwright.serving.settings import Limits, Security, ServerSettings
from support.server import read_answer


@pytest.fixture(scope="module")
def base(mar):
    with background_server(load_models([mar], Execution("onnxruntime"))) as url:  # what Predictor takes
        yield url


def test_curl_gets_the_answer(base, mar, demo_data):
    picture = next((demo_data / "test").glob("*.jpg"))
    predictor = Predictor(mar)
    expected = predictor(picture).to_answer(predictor.spec.class_names)
    for options in (["-T", picture], ["-X", "POST", "-T", picture], ["-F", f"data=@{picture}"]):
        command = ["curl", "--silent", "--show-error", "--fail", *map(str, options), f"{base}/predictions/tiny"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == expected


def test_odd_pictures_are_answered_as_predict_answers(base, mar, odd_pictures):
    predictor = Predictor(mar)
    for path in odd_pictures:
        request = urllib.request.Request(f"{base}/predictions/tiny", data=path.read_bytes(), method="PUT")
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response) == predictor(path).to_answer(predictor.spec.class_names), path.name


def test_many_at_once_each_get_their_own(base, mar, demo_data):
    predictor = Predictor(mar)
    paths = sorted((demo_data / "valid").glob("*.jpg"))

    def ask(path):
        request = urllib.request.Request(f"{base}/predictions/tiny", data=path.read_bytes(), method="PUT")
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, paths))
    assert answers == [predictor(path).to_answer(predictor.spec.class_names) for path in paths]


def test_bodies_that_do_not_arrive_take_no_place(mar):
    """Slow senders wait outside the queue: it holds complete pictures only."""
    engine = Engine(load_models([mar]))
    engine.models["tiny"].reconfigure(queue_size=1)
    settings = ServerSettings(limits=Limits(patience=0.3))
    for path in ("/predictions/tiny", "/v2/models/tiny/infer"):
        answer = anyio.run(_stalled, create_app(engine, settings), path)
        assert answer["status"] == 408
        assert engine.models["tiny"].pending == 0
    assert engine.close(30)


async def _stalled(app, path):
    """Posts the beginning of a body, and then nothing, until it is answered."""
    parts, answered = [{"type": "http.request", "body": b"x", "more_body": True}], {}

    async def receive():
        if parts:
            return parts.pop()
        await anyio.sleep(60)
        raise AssertionError("it waits for the body")

    async def send(message):
        answered.update(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [], "http_version": "1.1"}
    await app(
        {**scope, "scheme": "http", "server": ("here", 80), "client": ("here", 1), "root_path": ""}, receive, send
    )
    return answered


def test_answers_do_not_wait_for_an_acknowledgement(mar, monkeypatch):
    """Without TCP_NODELAY each answer on a connection that is kept open waits for 40 ms."""
    accepted, made = [], GuardedConnection.connection_made

    def connection_made(protocol, transport):
        connection = transport.get_extra_info("socket")
        accepted.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        made(protocol, transport)

    monkeypatch.setattr(GuardedConnection, "connection_made", connection_made)
    with background_server(load_models([mar])) as url, urllib.request.urlopen(f"{url}/ping", timeout=60):
        pass
    assert accepted == [1]


def test_a_large_body_is_refused_with_words_not_with_a_broken_connection(base):
    """Over a real socket: the rest of the body is read before the answer, else closing would reset the connection."""
    with open_client(f"{base}/predictions/tiny", "tiny", ["circle", "square", "triangle"]) as client:
        assert client.ask(b"0" * (Limits().max_body + 2**22)).status == 413


@pytest.mark.parametrize(("path", "status"), [("/predictions/other", 404), ("/v2/models/other/infer", 404), ("/", 405)])
def test_refusals_that_need_no_body_arrive_although_it_is_large(base, path, status):
    address = urlsplit(base)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {2**24}\r\n\r\n".encode())
        connection.sendall(bytes(2**24))
        assert connection.makefile("rb").readline().split()[1] == str(status).encode()


def test_a_client_that_asks_first_is_told_before_it_sends(base):
    address = urlsplit(base)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        head = "POST /predictions/other HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.makefile("rb").readline().split()[1] == b"404"


def test_the_rest_of_a_body_is_not_waited_for_without_end(mar, monkeypatch):
    monkeypatch.setattr("boxwright.serving.front.LINGER_SECONDS", 0.1)
    engine = Engine(load_models([mar]))
    assert anyio.run(_stalled, create_app(engine), "/predictions/other")["status"] == 404


def test_the_command_serves_until_told_to_stop(mar):
    command = [sys.executable, "-m", "boxwright", "serve", str(mar), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().split()[-1]
        root = url.rsplit("/predictions", 1)[0]
        with urllib.request.urlopen(f"{root}/ping", timeout=60) as response:
            assert json.load(response) == {"status": "Healthy"}
    finally:
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=30)[1]
    assert "Traceback" not in errors
    assert url.endswith("/predictions/tiny")


def test_one_connection_more_than_allowed_is_refused_and_others_go_on():
    with background_server({}, ServerSettings(limits=Limits(connections=2))) as url:
        address = urlsplit(url)
        head = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        allowed = []
        for _ in range(2):
            allowed.append(socket.create_connection((address.hostname, address.port), timeout=60))
            allowed[-1].sendall(head)
            assert read_answer(allowed[-1])[0] == 200
        with socket.create_connection((address.hostname, address.port), timeout=60) as one_more:
            assert read_answer(one_more)[0] == 503
        allowed.pop().close()
        allowed[0].sendall(head)
        assert read_answer(allowed[0])[0] == 200
        allowed[0].close()


def test_a_client_that_reads_no_answers_is_cut_off():
    with background_server({}, ServerSettings(limits=Limits(idle_seconds=1.0))) as url:
        address = urlsplit(url)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(60)
            connection.connect((address.hostname, address.port))
            questions = b"GET /api-description HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000_000
            with pytest.raises(ConnectionError):
                connection.sendall(questions)


def test_files_that_are_no_certificate_are_one_clear_error(mar, tmp_path):
    for name in ("certificate", "key"):
        (tmp_path / name).write_text("nothing of the kind")
    security = Security(certificate=tmp_path / "certificate", private_key=tmp_path / "key")
    with pytest.raises(ServingError, match="cannot be used for TLS"):
        serve([mar], port=0, settings=ServerSettings(security=security))


def test_a_taken_port_is_one_clear_error(base, mar):
    port = int(base.rsplit(":", 1)[1])
    with pytest.raises(ServingError, match=rf"127\.0\.0\.1:{port} cannot be used"):
        serve([mar], port=port)


def test_what_cannot_be_served_is_said_before_a_port_is_bound(mar):
    with pytest.raises(ServingError, match="nothing to serve"):
        load_models([])
    with pytest.raises(ServingError, match="'tiny' is given twice"):
        load_models([mar, mar])
