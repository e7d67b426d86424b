import asyncio
import base64
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from boxwright.parity import clients
from boxwright.parity.clients import Refusal, open_client
from boxwright.runtime import ConfigError, PictureError, ServingError
from support.stub_server import stub_server

NAMES = ("cat", "dog")
FOUND = [{"dog": [1.5, 2, 30, 40], "score": 0.75}, {"cat": [0, 0, 9, 9], "score": 0.5}]
TENSORS = [
    {"name": "boxes", "shape": [2, 4], "datatype": "FP32", "data": [1.5, 2, 30, 40, 0, 0, 9, 9]},
    {"name": "scores", "shape": [2], "datatype": "FP32", "data": [0.75, 0.5]},
    {"name": "labels", "shape": [2], "datatype": "INT64", "data": [1, 0]},
    {"name": "label_names", "shape": [2], "datatype": "BYTES", "data": ["dog", "cat"]},
]


def ask(answer, path="/predictions/pets", picture=b"\xffpicture\x00", timeout=20.0):
    with stub_server(answer) as base, open_client(base + path, "pets", NAMES, timeout) as client:
        return client.ask(picture)


def always(status, body, headers=()):
    return lambda path, sent, content: (status, body, dict(headers))


def test_torchserves_protocol_posts_the_file_itself():
    seen = []

    def answer(path, headers, body):
        seen.append((path, headers["Content-Type"], body))
        return 200, FOUND, {}

    for path in ("/predictions/pets", "/predictions/pets/2.0", "/behind/predictions/pets?key=a"):
        found = ask(answer, path)
        assert found.detections.boxes.tolist() == [[1.5, 2, 30, 40], [0, 0, 9, 9]]
        assert found.detections.labels.tolist() == [1, 0]
        assert found.unknown == ()
        assert seen.pop() == (path, "application/octet-stream", b"\xffpicture\x00")


def test_protocol_v1_is_read():
    def answer(path, headers, body):
        (instance,) = json.loads(body)["instances"]
        assert base64.b64decode(instance["b64"]) == b"\xffpicture\x00"
        return 200, {"predictions": [FOUND]}, {}

    assert ask(answer, "/v1/models/pets:predict").detections.scores.tolist() == [0.75, 0.5]


@pytest.mark.parametrize("without", [None, "labels", "label_names"])
@pytest.mark.parametrize("path", ["", "/infer", "/versions/3", "/versions/3/infer"])
def test_protocol_v2_is_read(path, without):
    def answer(path, headers, body):
        assert path.endswith("/infer")
        (tensor,) = json.loads(body)["inputs"]
        assert base64.b64decode(tensor["data"][0]) == b"\xffpicture\x00"
        return 200, {"outputs": [one for one in TENSORS if one["name"] != without]}, {}

    found = ask(answer, f"/v2/models/pets{path}").detections
    assert found.labels.tolist() == [1, 0]
    assert found.boxes.tolist() == [[1.5, 2, 30, 40], [0, 0, 9, 9]]


def test_a_bare_url_takes_what_is_there():
    def torchserve(path, headers, body):
        return (200, FOUND, {}) if path == "/predictions/pets" else (404, {}, {})

    def kserve(path, headers, body):
        return (200, {"outputs": TENSORS}, {}) if path.startswith("/v2/models/pets") else (404, {}, {})

    def triton(path, headers, body):
        return (200, {"outputs": TENSORS}, {}) if path.startswith("/v2/models/pets") else (400, {}, {})

    for answer in (torchserve, kserve, triton):
        for path in ("", "/"):
            assert len(ask(answer, path).detections) == 2
    with pytest.raises(ServingError, match=r"/predictions/pets answered 404: .*Check the model's name"):
        ask(always(404, {}), "")


def test_a_class_that_the_model_does_not_know_is_told_apart():
    found = ask(always(200, [*FOUND, {"fish": [0, 0, 1, 1], "score": 0.3}]))
    assert found.unknown == ("fish",)
    assert len(found.detections) == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predictions/pets", b"<html><title>Welcome</title></html>"),
        ("/predictions/pets", b"\xff\xfe"),
        ("/predictions/pets", {"predictions": []}),
        ("/predictions/pets", [1]),
        ("/predictions/pets", [{"dog": [1, 2, 3], "score": 0.5}]),
        ("/predictions/pets", [{"dog": [1, 2, 3, 4]}]),
        ("/predictions/pets", [{"dog": [1, 2, 3, "x"], "score": 0.5}]),
        ("/predictions/pets", [{"dog": [1, 2, 3, 4], "score": None}]),
        ("/predictions/pets", b'[{"dog": [1, 2, 3, NaN], "score": 0.5}]'),
        ("/predictions/pets", b'[{"dog": [1, 2, 3, 1' + b"0" * 500 + b'], "score": 0.5}]'),
        ("/v1/models/pets:predict", {"predictions": []}),
        ("/v1/models/pets:predict", FOUND),
        ("/v2/models/pets", {"outputs": TENSORS[:1]}),
        ("/v2/models/pets", {"outputs": [*TENSORS[:2], {"name": "labels", "data": [1]}]}),
        ("/v2/models/pets", {"outputs": [*TENSORS[:3], {"name": "label_names", "data": ["cat", "dog"]}]}),
        ("/v2/models/pets", {"outputs": [*TENSORS[:2], {"name": "label_names", "data": [1, 2]}]}),
        ("/predictions/pets", [{"dog": [1, 2, 3, 4], "score": 87.0}]),
        ("/v2/models/pets", FOUND),
    ],
)
def test_nonsense_is_one_sentence_with_its_beginning(path, body):
    with pytest.raises(
        ServingError, match=r"http://127.* answered 200, but not with detections: '.{1,200}'\. Give"
    ) as told:
        ask(always(200, body), path)
    assert "\n" not in str(told.value)


def test_a_redirect_is_named():
    with pytest.raises(ServingError, match=r"answered 301, a redirect to 'https://other/'\. Give that server's URL"):
        ask(always(301, b"moved", {"Location": "https://other/"}))


def test_an_answer_that_drips_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(_drip, server)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/predictions/pets"
        with (
            open_client(url, "pets", NAMES, 0.5) as client,
            pytest.raises(ServingError, match=r"no answer within 0\.5 s"),
        ):
            client.ask(b"x")


def _drip(server):
    connection, _ = server.accept()
    with connection, suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b" ")
            time.sleep(0.02)


def test_an_error_status_is_a_refusal():
    assert ask(always(415, b"not\n a picture " + b"x" * 999)) == Refusal(415, ("not a picture " + "x" * 999)[:200])


def test_a_busy_server_is_asked_again_when_it_says_so(monkeypatch):
    waited, statuses = [], [503, 503, 200]
    monkeypatch.setattr(clients.time, "sleep", waited.append)
    found = ask(lambda *_: (statuses.pop(0), FOUND, {"Retry-After": "1"}))
    assert len(found.detections) == 2
    assert waited == [1.0, 1.0]
    asked = []
    assert ask(lambda *_: (asked.append(1), (503, b"later", {"Retry-After": "9999"}))[1]).status == 503
    assert len(asked) == 6
    assert waited[2:] == [5.0] * 5
    asked.clear()
    assert ask(lambda *_: (asked.append(1), (503, b"broken", {}))[1]).status == 503
    assert len(asked) == 1


def test_a_connection_closed_meanwhile_is_opened_again():
    """By the server: before the next picture comes, or when it has come."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        served = pool.submit(_close_after_one, server, connections=3)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/predictions/pets"
        with open_client(url, "pets", NAMES, 20.0) as client:
            for _ in range(3):
                assert len(client.ask(b"x").detections) == 2
        assert served.result(timeout=20) == 3


def _close_after_one(server, connections):
    """Answers one request per connection, which it seems to keep open."""
    body = json.dumps(FOUND).encode()
    for number in range(connections):
        connection, _ = server.accept()
        with connection:
            while not connection.recv(2**16).endswith(b"x"):
                pass
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            if number == 1:
                connection.recv(1)  # the next request has begun
    return connections


def test_connections_are_kept_open():
    ports = set()

    def answer(path, headers, body):
        ports.add(headers["X-Client-Port"])
        return 200, FOUND, {}

    with stub_server(answer) as base, open_client(f"{base}/predictions/pets", "pets", NAMES) as client:
        for _ in range(3):
            client.ask(b"x")
    assert len(ports) == 1


def test_it_asks_beside_a_running_event_loop():
    async def ask_here():
        return ask(always(200, FOUND))

    assert len(asyncio.run(ask_here()).detections) == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("127.0.0.1:8080", "'127.0.0.1:8080' is not the URL of a server. Give http://"),
        ("ftp://host/x", "is not the URL"),
        ("http://", "is not the URL"),
        ("http://[::1", "is not the URL"),
        ("http://host:99999", "is not the URL"),
        ("http://me:secret@host", "is not the URL"),
    ],
)
def test_what_is_no_url_is_said(url, said):
    with pytest.raises(ConfigError) as told, open_client(url, "pets", NAMES):
        pass
    assert said in str(told.value)


def test_a_url_of_something_else_is_said():
    with pytest.raises(ConfigError, match="names no model"), open_client("http://127.0.0.1:9/models", "pets", NAMES):
        pass


def test_where_no_server_is_it_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free = taken.getsockname()[1]
    for url in (f"http://127.0.0.1:{free}", "http://no-such-host.invalid/predictions/pets"):
        with (
            pytest.raises(ServingError, match=r"cannot be reached: .*boxwright serve"),
            open_client(url, "pets", NAMES) as client,
        ):
            client.ask(b"x")


def test_what_speaks_no_http_or_never_answers_is_said():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/predictions/pets"
        with (
            pytest.raises(ServingError, match=r"no answer within 0\.2 s"),
            open_client(url, "pets", NAMES, 0.2) as client,
        ):
            client.ask(b"x")


def test_many_keep_their_order_and_all_refused_is_an_error(tmp_path):
    paths = [tmp_path / f"{number}.jpg" for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))

    def answer(path, headers, body):
        return 200, [{"dog": [0, 0, 9, body[0] + 1], "score": 0.5}], {}

    told = []
    with stub_server(answer) as base, open_client(f"{base}/predictions/pets", "pets", NAMES) as client:
        answers = client.ask_all(paths, lambda *done: told.append(done))
        with pytest.raises(PictureError, match=r"gone\.jpg' cannot be read"):
            client.ask_all([tmp_path / "gone.jpg"])
    assert np.concatenate([one.detections.boxes[:, 3] for one in answers]).tolist() == list(range(1, 21))
    assert told[-1] == (20, 20)
    with (
        stub_server(always(401, b"who are you")) as base,
        open_client(f"{base}/predictions/pets", "pets", NAMES) as client,
        pytest.raises(ServingError, match="every picture with an error, the first 401: who are you"),
    ):
        client.ask_all(paths)
