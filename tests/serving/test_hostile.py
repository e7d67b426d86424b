"""Two thousand bodies and connections that no well-meaning client sends: refused one by one, and forgotten."""

import gzip
import io
import json
import random
import socket
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.server import post, read_answer, served

BODIES, CONNECTIONS = 1400, 600


@pytest.fixture(scope="module")
def server(mar):
    with served(mar, "--backend", "onnxruntime", "--max-body", "4") as running:
        yield running
        code, errors = running.end()
        assert (code, "Traceback" in errors) == (0, False), errors[-2000:]


@pytest.fixture(scope="module")
def picture(demo_data):
    return next((demo_data / "test").glob("*.jpg")).read_bytes()


def bomb(width, height):
    """A PNG whose header announces far more than it holds."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    chunks = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def mutated(picture, random):
    """A few bytes changed, some left out, or the end cut off."""
    content = bytearray(picture)
    for _ in range(random.randint(1, 40)):
        content[random.randrange(len(content))] = random.randrange(256)
    if random.random() < 0.5:
        start = random.randrange(len(content))
        del content[start : start + random.randrange(200)]
    return bytes(content[: random.randrange(1, len(content))] if random.random() < 0.4 else content)


PACKED_ZEROS = gzip.compress(bytes(30_000_000), 1)


PARTS = b'--b\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\n'
LENGTH = "Inference-Header-Content-Length"
HUGE = {"inputs": [{"name": "image", "shape": [10**12], "datatype": "BYTES", "data": []}]}
SCORES = ("nan", "2", "-1", "%00", "0,5", "1e999")
NOT_BASE64 = {"instances": [{"b64": "!" * 100}] * 3}


def hostile_body(number, picture, random):
    """Path, headers and body of one request."""
    boundary = 'Content-Type: multipart/form-data; boundary="b"\r\n'
    side = random.choice([20_000, 65_535, 2**31 - 1])
    kinds = [
        lambda: ("/predictions/tiny", "", mutated(picture, random)),
        lambda: ("/predictions/tiny", "", bomb(side, 20_000)),
        lambda: ("/predictions/tiny", "", random.randbytes(random.randrange(3000))),
        lambda: ("/predictions/tiny", "Content-Encoding: gzip\r\n", PACKED_ZEROS),
        lambda: ("/predictions/tiny", "Content-Encoding: gzip\r\n", gzip.compress(picture)[: random.randrange(1, 200)]),
        lambda: ("/predictions/tiny", boundary, PARTS + picture),
        lambda: ("/predictions/tiny", boundary, b"--b\r\n" * random.randrange(200)),
        lambda: ("/predictions/tiny", "Content-Type: multipart/form-data\r\n", picture),
        lambda: ("/predictions/tiny", "Content-Type: application/json\r\n", b"[" * random.randrange(1, 100_000)),
        lambda: ("/predictions/tiny?threshold=" + random.choice(SCORES), "", picture),
        lambda: ("/v2/models/tiny/infer", "", b"{" * random.randrange(1, 50_000)),
        lambda: ("/v2/models/tiny/infer", "", json.dumps(HUGE).encode()),
        lambda: ("/v2/models/tiny/infer", f"{LENGTH}: {random.choice([-1, 10**30, 'x', 5])}\r\n", picture),
        lambda: ("/v2/models/tiny/infer", f"{LENGTH}: 0\r\n", mutated(picture, random)),
        lambda: ("/v1/models/tiny:predict", "", json.dumps(NOT_BASE64).encode()),
        lambda: ("/predictions/" + "x" * random.randrange(3000), "", picture),
        lambda: ("/predictions/..%2f..%2fetc%2fpasswd", "", picture),
        lambda: ("/predictions/tiny", "", bytes(5 * 1024**2)),
    ]  # fmt: skip
    return kinds[number % len(kinds)]()


def refused_politely(status, body):
    """Whether an answer is one that a client can do something with: no 5xx but a 503."""
    return status < 500 or status in (501, 503)


def ask(server, number, picture):
    path, headers, body = hostile_body(number, picture, random.Random(number))
    with server.connect(30) as connection:
        connection.sendall(post(path, body, headers))
        return number, path, read_answer(connection)


def test_hostile_bodies_are_each_refused_or_answered(server, picture):
    good = server.ask("/predictions/tiny", picture)
    server.memory()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: ask(server, number, picture), range(200)))
        settled = server.memory()
        answers += pool.map(lambda number: ask(server, number, picture), range(200, BODIES))
    for number, path, (status, body) in answers:
        assert status >= 200, (number, path[:80])
        assert refused_politely(status, body), (number, path[:80], status, body[:300])
    assert sum(status == 200 for _, _, (status, _) in answers) < BODIES / 2
    assert server.ask("/predictions/tiny", picture) == good
    assert server.memory() < settled + 150


POST = b"POST /predictions/tiny HTTP/1.1\r\nHost: x\r\n"
RAW = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",  # TLS where none is spoken
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /ping\r\n\r\n",
    b"GET /ping HTTP/1.1\r\n\r\n",
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /",
    POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
    POST + b"Content-Length: -5\r\n\r\n12345",
    POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    b"GET /ping HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /ping HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x00" * 5000,
    POST + b"Content-Length: 100000\r\n\r\nhalf of it",
    b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
)
"""What is sent on a connection, as it is."""


def misbehave(server, number):
    """Send something, and end the connection in one of four ways; the status that came, 0 for none."""
    content = RAW[number % len(RAW)]
    connection = server.connect(30)
    try:
        connection.sendall(content)
        way = (number // len(RAW)) % 4
        if way == 0 and not content.startswith((POST + b"Content-Length: 100000", b"POST /v2")):
            return read_answer(connection)[0]
        if way == 1:
            connection.shutdown(socket.SHUT_WR)
            return read_answer(connection)[0]
        if way == 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:  # closed by the server while we still sent
        return 0
    finally:
        connection.close()
    return 0


def test_hostile_connections_disturb_nobody(server, picture):
    good = server.ask("/predictions/tiny", picture)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda number: misbehave(server, number), range(CONNECTIONS)))
    assert set(statuses) <= {0, 200, 400, 404, 405, 408, 413, 426, 431, 501, 505}
    assert statuses.count(400) > 20
    assert server.ask("/predictions/tiny", picture) == good


def test_idle_and_half_sent_connections_leave_room_for_others(server, picture):
    """Two hundred that say nothing or stop half-way hold no place in the queue: all others are answered."""
    half = post("/predictions/tiny", picture)[:-10]
    connections = [server.connect() for _ in range(200)]
    try:
        for number, connection in enumerate(connections):
            if number % 2:
                connection.sendall(half)
        answers = {server.ask("/predictions/tiny", picture) for _ in range(10)}
        assert {status for status, _ in answers} == {200}
        assert server.ask("/v2/health/ready")[0] == 200
    finally:
        for connection in connections:
            connection.close()


def test_large_bodies_at_once_stay_on_the_disk(server):
    """95 bodies of 4 MB lie in files while they wait: memory does not hold them."""
    before = server.memory()
    body = b"\xff\xd8\xff" + bytes(4 * 1024**2 - 3)
    with ThreadPoolExecutor(95) as pool:
        statuses = set(pool.map(lambda _: server.ask("/predictions/tiny", body)[0], range(95)))
    assert statuses <= {400, 503}
    end = time.monotonic() + 30  # memory is given back when nothing is left to do
    while server.memory() > before + 100:
        assert time.monotonic() < end, (before, server.memory())
        time.sleep(0.5)


def test_packed_bodies_are_unpacked_and_bounded(server, picture):
    packed = io.BytesIO()
    with gzip.open(packed, "wb") as file:
        file.write(picture)
    with server.connect() as connection:
        connection.sendall(post("/predictions/tiny", packed.getvalue(), "Content-Encoding: gzip\r\n"))
        assert read_answer(connection) == server.ask("/predictions/tiny", picture)
