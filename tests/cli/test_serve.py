"""What ``boxwright serve`` says when it starts, and when it cannot."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from support.hostile_archives import listed, members_of, packed
from support.server import Served, served


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """What serving remembers of a machine stays out of the home folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def store(mar, tmp_path_factory):
    """Two versions of a model."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(mar, folder / "tiny.mar")
    members = members_of(mar)
    manifest = json.loads(members["MAR-INF/MANIFEST.json"])
    manifest["model"]["modelVersion"] = "2.0"
    members["MAR-INF/MANIFEST.json"] = json.dumps(manifest).encode()
    (folder / "tiny2.mar").write_bytes(packed(listed(members)))
    return folder


def refused(*arguments):
    """What it says before it ends with exit code 2."""
    command = [sys.executable, "-m", "boxwright", "serve", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    return done.stderr


def test_two_ports_that_are_one(mar):
    said = refused(mar, "--port", "8090", "--management-port", "8090")
    assert "--port and --management-port are both 8090." in said


@pytest.mark.parametrize("option", ["--port", "--management-port", "--metrics-port", "--grpc-port"])
def test_a_taken_port_names_its_option(mar, option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        others = () if option == "--port" else ("--port", "0")
        said = refused(mar, option, port, *others)
    assert f"127.0.0.1:{port} cannot be used: Address already in use." in said
    assert f"Choose another {option}, 0 for any free one, or another --host." in said


def test_a_folder_of_archives_is_a_store(store):
    said = refused(store)
    assert f"{store} is a folder of archives." in said
    assert f"boxwright serve --store {store}" in said


def test_a_configuration_that_is_no_text(mar, tmp_path):
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    said = refused(mar, "--config", tmp_path / "picture.jpg")
    assert f"{tmp_path / 'picture.jpg'}: is no text in UTF-8. Give a config.properties." in said


def test_files_that_are_no_certificate(mar, tmp_path):
    for name in ("certificate", "key"):
        (tmp_path / name).write_text("nothing of the kind")
    said = refused(mar, "--port", "0", "--tls-cert", tmp_path / "certificate", "--tls-key", tmp_path / "key")
    assert "cannot be used for TLS: one is not PEM, or they do not belong together." in said
    assert "_ssl.c" not in said


def test_all_ports_and_versions_are_announced(store):
    with served("--store", store, "--host", "0.0.0.0", "--management-port", "0", "--grpc-port", "0") as server:
        text = "".join(server.lines)
        base = f"http://0.0.0.0:{server.port}"
        assert f"tiny 1.0: {base}/predictions/tiny\n" in text
        assert f"tiny 2.0: {base}/predictions/tiny/2.0\n" in text
        assert server.url_of("management").startswith("http://0.0.0.0:")
        assert not server.url_of("grpc").startswith("http")
        host, port = server.url_of("grpc").split(":")
        with socket.create_connection((host, int(port)), timeout=60):
            pass
        assert server.lines[-1] == f"Try: curl -T picture.jpg http://127.0.0.1:{server.port}/predictions/tiny\n"


def test_what_it_tells_to_try_works_with_tokens_and_tls(mar, demo_data, tmp_path):
    key, certificate, keys = (tmp_path / name for name in ("key.pem", "cert.pem", "keys.json"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=host", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    shutil.copy(next((demo_data / "test").glob("*.jpg")), tmp_path / "picture.jpg")
    tls = ("--tls-cert", certificate, "--tls-key", key)
    with served(mar, *tls, "--token-auth", "--key-file", keys) as server:
        assert f"tokens: in {keys}; KEY is the key of inference\n" in server.lines
        line = server.lines[-1].removeprefix("Try: ").strip()
        inference = json.loads(keys.read_text())["inference"]["key"]
        tried = line.replace("KEY", inference).replace("curl ", "curl --silent --show-error --fail ")
        done = subprocess.run(tried, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert isinstance(json.loads(done.stdout), list)


def test_each_note_about_a_configuration_is_said_once(store, tmp_path):
    models = {"tiny": {"1.0": {"deviceType": "gpu"}}, "nope": {"1.0": {"minWorkers": 1}}}
    config = tmp_path / "config.properties"
    config.write_text(f"model_store={store}\nmodels={json.dumps(models)}\nnumber_of_gpu=1\n")
    with served("--config", config, "--store", store) as server:
        _, said = server.end()
    for note in ("deviceType has no meaning", "number_of_gpu has no meaning", "nope 1.0 is not served"):
        assert said.count(note) == 1, said
    assert "tiny 1.0 is not served" not in said


def said_after_hang_up(server: Served, lines: int) -> list[str]:
    """Standard error, when so many lines of it are there."""
    server.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 60
    while True:
        # at a place, not from the file's: the server writes at that
        found = os.pread(server.errors.fileno(), 2**20, 0).decode().splitlines()
        if len(found) >= lines:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)


def test_a_hang_up_signal_says_what_it_changed(mar, store, tmp_path):
    shutil.copy(mar, tmp_path / "tiny.mar")
    with served("--store", tmp_path) as server:
        assert said_after_hang_up(server, 1) == ["Nothing in the store has changed."]
        shutil.copy(store / "tiny2.mar", tmp_path / "tiny2.mar")
        assert said_after_hang_up(server, 2)[1:] == ["tiny 2.0 is served now."]
        with urllib.request.urlopen(f"{server.base}/v2/models/tiny/versions/2.0/ready", timeout=60) as answer:
            assert answer.status == 200
        shutil.copy(mar, tmp_path / "tiny.mar")  # written anew
        assert said_after_hang_up(server, 3)[2:] == ["tiny 1.0 is served anew."]
        (tmp_path / "broken.mar").write_bytes(b"junk")
        (fault,) = said_after_hang_up(server, 4)[3:]
        assert fault.startswith("Not served: ")
        assert fault.count("broken.mar") == 1


def test_the_defaults_that_the_help_names_are_those_of_the_settings():
    from typing import get_type_hints

    from boxwright.cli.serve import serve
    from boxwright.serving.settings import ServerSettings

    settings = ServerSettings()
    told = {
        name: hint.__metadata__[0].help.rstrip(".").rpartition("; ")[2]
        for name, hint in get_type_hints(serve, include_extras=True).items()
        if hasattr(hint, "__metadata__")
    }
    wanted = {
        "host": settings.host,
        "grace": f"{settings.grace:g}",
        "max_body": f"{settings.limits.max_body / 2**20:g}",
        "queue": f"{settings.models.queue_size}",
        "timeout": f"{settings.models.timeout:g}",
        "batch_size": f"{settings.models.batch_size}",
        "batch_delay": f"{1000 * settings.models.batch_delay:g}",
        "max_pixels": f"{round(settings.models.max_pixels / 1e6)} million",
        "key_file": str(settings.security.key_file),
    }
    assert {name: told[name] for name in wanted} == wanted


@pytest.mark.parametrize("option", ["--max-body", "--grace", "--timeout", "--batch-delay"])
def test_infinity_is_no_number_of_seconds_or_bytes(option, tmp_path):
    assert f"{option} inf does not fit" in refused(tmp_path / "none.mar", option, "inf")


@pytest.mark.parametrize("option", [("--sessions", 2), ("--model-control",), ("--workers", 2), ("--log", "json")])
def test_what_a_cluster_does_not_follow_is_refused(mar, option):
    assert f"Error: {option[0]} cannot be used with --on." in refused(mar, "--on", "ray", *option)


def test_a_configuration_is_not_followed_in_part_on_a_cluster(mar, tmp_path):
    config = tmp_path / "config.properties"
    config.write_text("default_workers_per_model=3\n")
    assert "--config cannot be used with --on" in refused(mar, "--on", "ray", "--config", config)


def test_what_is_for_clusters_needs_one(mar):
    assert "Add --on ray." in refused(mar, "--replicas", 2)
