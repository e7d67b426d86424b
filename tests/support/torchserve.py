"""Starts the real TorchServe on loopback, and stops it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS = 180
KEY_FILE = "key_file.json"
TOKENS = "disable_token_authorization=false"
PORTS = ("inference", "management", "metrics")


@contextmanager
def torchserve(mar: Path, folder: Path, batch_size: int, *settings: str) -> Iterator[str]:
    """Serve one archive, with more lines for the settings file; yields its prediction URL when a worker is READY.

    Fails, rather than skips, if Java or TorchServe is missing.
    """
    with torchserve_of([mar], folder, batch_size, *settings) as base:
        yield f"{base}/predictions/{mar.stem}"


def ask(url, picture):
    """Status and answer to a picture's bytes."""
    request = urllib.request.Request(url, data=picture, method="PUT")
    request.add_header("Content-Type", "application/octet-stream")  # urllib's own, a form, TorchServe tries to parse
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@contextmanager
def torchserve_of(mars: Sequence[Path], folder: Path, batch_size: int, *settings: str) -> Iterator[str]:
    """Serve several archives of one store; yields the base URL when each has a worker that is READY."""
    with whole_torchserve(mars, folder, batch_size, *settings) as addresses:
        yield addresses["inference"]


@contextmanager
def whole_torchserve(mars: Sequence[Path], folder: Path, batch_size: int, *settings: str) -> Iterator[dict[str, str]]:
    """The same; yields the base URLs by port: inference, management, metrics.

    It asks for tokens if ``TOKENS`` is among the settings, and writes them to ``folder / KEY_FILE``.
    """
    with launched(mars, folder, batch_size, settings) as (process, addresses):
        for mar in mars:
            _wait_until_ready(f"{addresses['management']}/models/{mar.stem}", process, folder)
        yield addresses


@contextmanager
def launched(
    mars: Sequence[Path], folder: Path, batch_size: int, settings: Sequence[str]
) -> Iterator[tuple[subprocess.Popen, dict[str, str]]]:
    """Start TorchServe; yields process and base URLs by port at once, before it answers."""
    program = Path(sys.executable).with_name("torchserve")
    assert program.exists(), "TorchServe is not installed: pip install 'boxwright[torchserve]'"
    assert shutil.which("java"), "TorchServe needs Java 17 on the PATH"
    config, addresses = write_properties(mars, folder, batch_size, *settings)
    (folder / "tmp").mkdir()
    environment = {
        **os.environ,
        "TMPDIR": str(folder / "tmp"),
        "LOG_LOCATION": str(folder / "logs"),
        "METRICS_LOCATION": str(folder / "logs"),
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [program, "--start", "--foreground", "--ncs", "--enable-model-api"]
    command += [] if TOKENS in settings else ["--disable-token-auth"]
    command += ["--model-store", mars[0].parent, "--ts-config", config]
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process, addresses
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the session is ours: server and workers
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)


def write_properties(
    mars: Sequence[Path], folder: Path, batch_size: int, *settings: str
) -> tuple[Path, dict[str, str]]:
    """A settings file for free ports of loopback, with more lines; the file, and base URLs by port."""
    ports = _free_ports(5)
    config = folder / "config.properties"
    config.write_text(_properties(mars, ports, batch_size) + "".join(f"{line}\n" for line in settings))
    return config, {name: f"http://127.0.0.1:{port}" for name, port in zip(PORTS, ports, strict=False)}


def _properties(mars: Sequence[Path], ports: list[int], batch_size: int) -> str:
    model = {
        "defaultVersion": True,
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": batch_size,
        "maxBatchDelay": 500,
        "responseTimeout": 120,
    }
    lines = [
        *(f"{name}_address=http://127.0.0.1:{port}" for name, port in zip(PORTS, ports, strict=False)),
        f"grpc_inference_port={ports[3]}",
        f"grpc_management_port={ports[4]}",
        f"load_models={','.join(mar.name for mar in mars)}",
        f"models={json.dumps({mar.stem: {'1.0': {**model, 'marName': mar.name}} for mar in mars})}",
        "install_py_dep_per_model=false",
    ]
    return "\n".join(lines) + "\n"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def keys_in(folder: Path) -> dict[str, str]:
    """The tokens that a server has written to its folder, by what they are for; none if it asks for none."""
    file = folder / KEY_FILE
    return {what: entry["key"] for what, entry in json.loads(file.read_text()).items()} if file.exists() else {}


def _wait_until_ready(url: str, process: subprocess.Popen, folder: Path) -> None:
    """/ping answers Healthy seconds too early, so the worker itself is asked for."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            request = urllib.request.Request(
                url, headers={"Authorization": f"Bearer {keys_in(folder).get('management')}"}
            )
            with urllib.request.urlopen(request, timeout=5) as response:
                if any(worker["status"] == "READY" for worker in json.load(response)[0]["workers"]):
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError, json.JSONDecodeError):
            pass
        time.sleep(0.5)
    raise AssertionError(f"TorchServe did not get ready:\n{(folder / 'output.txt').read_text()[-4000:]}")
