"""How a server begins and ends, and who may change what it serves, as a process of its own.

SIGTERM, Ctrl-C and clients that leave: what was accepted is answered, the rest is not computed.
"""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from PIL import Image

from support.server import document, post, read_answer, served


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A picture whose file has 3 MB and which takes long to decode."""
    import numpy as np

    path = tmp_path_factory.mktemp("large") / "large.png"
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    Image.fromarray(noise).save(path, compress_level=0)
    content = path.read_bytes()
    assert len(content) > 2_900_000
    return content


def send_all(server, body, count):
    """Connections on each of which a whole request was sent, each on a thread, as the server takes them."""
    connections = [server.connect() for _ in range(count)]
    threads = [
        threading.Thread(target=one.sendall, args=(post("/predictions/tiny", body),), daemon=True)
        for one in connections
    ]
    for thread in threads:
        thread.start()
    return connections, threads


def figure(server, name):
    """A metric of the only model."""
    lines = server.ask("/metrics")[1].decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name}{{")).split()[-1])


def test_sigterm_loses_nothing_that_was_accepted(mar, large):
    """60 uploads of 3 MB on their way or waiting: each gets its answer; ``ready`` says 503 first; exit code 0."""
    with served(mar, "--backend", "onnxruntime", "--workers", "1") as server:
        expected = document(server.ask("/predictions/tiny", large))
        (worker,) = document(server.ask("/models/tiny"))[0]["workers"]
        os.kill(worker["pid"], signal.SIGSTOP)  # so that there is work left, however fast the machine is
        connections, threads = send_all(server, large, 60)
        until(lambda: figure(server, "boxwright_pictures_pending") > 5)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.ask("/v2/health/ready")[0] == 503)
        assert server.ask("/v2/health/live")[0] == 200
        os.kill(worker["pid"], signal.SIGCONT)
        answers = [read_answer(one) for one in connections]
        for thread in threads:
            thread.join(60)
        for one in connections:
            one.close()
        assert [status for status, _ in answers] == [200] * 60
        assert all(document(answer) == expected for answer in answers)
        assert server.ended() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_work_it_ends_at_once(mar, number):
    with served(mar) as server:
        keep_alive = server.connect()
        keep_alive.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(keep_alive)[0] == 200
        code, errors = server.end(number, timeout=20)
        keep_alive.close()
        assert (code, errors) == (0, "")


def test_it_ends_at_once_while_models_are_being_loaded(mar):
    code = """
import sys, threading, boxwright.serving.server as server
server.Registry.load_file = lambda *given: print("loading", flush=True) or threading.Event().wait(60)
server.serve([sys.argv[1]], port=0)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(mar)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    process.stdout.close()


def test_the_grace_is_a_bound(mar):
    with served(mar, "--grace", "1") as server:
        half = server.connect()
        half.sendall(post("/predictions/tiny", b"0" * 1000)[:-500])
        time.sleep(0.3)
        code, _ = server.end(timeout=20)
        half.close()
        assert code == 0


def test_a_second_signal_ends_it_at_once(mar):
    with served(mar) as server:
        half = server.connect()
        half.sendall(post("/predictions/tiny", b"0" * 1000)[:-500])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        code, _ = server.end(timeout=10)
        half.close()
        assert code == 1


def test_clients_that_hang_up_are_not_computed(mar, demo_data):
    """The only worker stands still while 40 clients send and leave: but for the one it had, none is computed."""
    picture = next((demo_data / "test").glob("*.jpg")).read_bytes()
    with served(mar, "--backend", "onnxruntime", "--workers", "1") as server:
        (worker,) = document(server.ask("/models/tiny"))[0]["workers"]
        os.kill(worker["pid"], signal.SIGSTOP)
        connections, threads = send_all(server, picture, 40)
        for thread in threads:
            thread.join(60)
        until(lambda: figure(server, "boxwright_pictures_pending") == 40)
        for one in connections:  # a reset: the client is gone for good
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        until(lambda: figure(server, "boxwright_pictures_pending") <= 1)
        os.kill(worker["pid"], signal.SIGCONT)
        assert server.ask("/predictions/tiny", picture)[0] == 200
        assert figure(server, "boxwright_cancelled_pictures_total") >= 39
        assert figure(server, "boxwright_pictures_total") <= 2


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def refused(*arguments):
    """What ``boxwright serve`` says before it ends with exit code 2."""
    command = [sys.executable, "-m", "boxwright", "serve", *map(str, arguments), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    return done.stderr


class TestWhatCannotBegin:
    def test_a_store_that_is_not_there(self, tmp_path):
        assert f"{tmp_path / 'none'} is not a folder." in refused("--store", tmp_path / "none")

    def test_a_store_without_archives(self, tmp_path):
        assert f"{tmp_path} holds no archive to serve." in refused("--store", tmp_path)

    def test_an_archive_that_the_configuration_names_and_the_store_lacks(self, tmp_path):
        (tmp_path / "config.properties").write_text(f"model_store={tmp_path}\nload_models=none.mar\n")
        assert "none.mar cannot be served" in refused("--config", tmp_path / "config.properties")

    def test_half_of_tls(self, mar, tmp_path):
        (tmp_path / "cert.pem").write_text("no certificate")
        assert "--tls-key" in refused(mar, "--tls-cert", tmp_path / "cert.pem")

    def test_two_words_for_one_number(self, mar):
        assert "--workers and --sessions" in refused(mar, "--workers", "2", "--sessions", "3")

    def test_an_unknown_form_of_the_log(self, mar):
        assert "--log 'xml' is unknown" in refused(mar, "--log", "xml")


def test_an_empty_store_waits_for_registrations(tmp_path):
    """Where models can be registered later, there need not be one at the start."""
    options = ["--store", str(tmp_path), "--port", "0", "--management-port", "0"]
    command = [sys.executable, "-m", "boxwright", "serve", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("management: http://127.0.0.1:")
    finally:
        process.terminate()
        assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0


class TestWhoMayChangeWhatIsServed:
    """Unloading over /v2 takes a model from everybody: at the predictions' port only if the server was told so."""

    @pytest.fixture
    def store(self, mar, tmp_path):
        shutil.copy(mar, tmp_path / "tiny.mar")
        return tmp_path

    def test_not_who_asks_for_predictions(self, store):
        with served("--store", store, "--management-port", "0") as server:
            assert server.ask("/v2/repository/models/tiny/unload", b"{}")[0] == 400
            assert server.ask("/v2/models/tiny/ready")[0] == 200
            request = urllib.request.Request(f"{server.url_of('management')}/v2/repository/models/tiny/unload", b"{}")
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.status == 200
            assert server.ask("/v2/models/tiny/ready")[0] == 404

    def test_unless_it_is_asked_for(self, store):
        with served("--store", store, "--model-control") as server:
            assert server.ask("/v2/repository/models/tiny/unload", b"{}")[0] == 200
            assert server.ask("/v2/models/tiny/ready")[0] == 404
            assert server.ask("/v2/repository/models/tiny/load", b"{}")[0] == 200
            assert server.ask("/v2/models/tiny/ready")[0] == 200

    def test_a_hang_up_signal_looks_at_the_store_again(self, store):
        with served("--store", store) as server:
            shutil.copy(store / "tiny.mar", store / "again.mar")
            (store / "tiny.mar").unlink()
            (store / "broken.mar").write_bytes(b"nothing")
            server.process.send_signal(signal.SIGHUP)
            time.sleep(1.0)
            assert server.ask("/v2/models/tiny/ready")[0] == 200
            code, errors = server.end()
            assert code == 0
            assert "broken.mar" in errors


def test_health_is_told_without_a_token(mar, tmp_path):
    with served(mar, "--token-auth", "--key-file", tmp_path / "keys.json") as server:
        assert [server.ask(f"/v2/health/{what}")[0] for what in ("live", "ready")] == [200, 200]
        assert server.ask("/ping")[0] == 400
        key = json.loads((tmp_path / "keys.json").read_text())["inference"]["key"]
        request = urllib.request.Request(f"{server.base}/ping", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200


def test_lines_of_json_stand_alone(mar):
    command = [sys.executable, "-m", "boxwright", "serve", str(mar), "--port", "0", "--log", "json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        base = process.stderr.readline().split()[-1].rsplit("/predictions", 1)[0]
        with urllib.request.urlopen(f"{base}/ping", timeout=60):
            pass
    finally:
        process.terminate()
        lines = process.communicate(timeout=30)[0].splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["/ping"]
