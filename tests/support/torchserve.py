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
    with _launched(mars, folder, batch_size, settings) as (process, base, management):
        for mar in mars:
            _wait_until_ready(f"{management}/models/{mar.stem}", process, folder / "output.txt")
        yield base


@contextmanager
def _launched(
    mars: Sequence[Path], folder: Path, batch_size: int, settings: Sequence[str]
) -> Iterator[tuple[subprocess.Popen, str, str]]:
    """Start TorchServe; yields process, base URL and management URL at once, before it answers."""
    program = Path(sys.executable).with_name("torchserve")
    assert program.exists(), "TorchServe is not installed: pip install 'boxwright[torchserve]'"
    assert shutil.which("java"), "TorchServe needs Java 17 on the PATH"
    ports = _free_ports(5)
    config = folder / "config.properties"
    config.write_text(_properties(mars, ports, batch_size) + "".join(f"{line}\n" for line in settings))
    (folder / "tmp").mkdir()
    environment = {
        **os.environ,
        "TMPDIR": str(folder / "tmp"),
        "LOG_LOCATION": str(folder / "logs"),
        "METRICS_LOCATION": str(folder / "logs"),
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [program, "--start", "--foreground", "--ncs", "--disable-token-auth", "--enable-model-api"]
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
        yield process, f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the session is ours: server and workers
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)


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
        *(
            f"{name}_address=http://127.0.0.1:{port}"
            for name, port in zip(("inference", "management", "metrics"), ports, strict=False)
        ),
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


def _wait_until_ready(url: str, process: subprocess.Popen, log: Path) -> None:
    """/ping answers Healthy seconds too early, so the worker itself is asked for."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                if any(worker["status"] == "READY" for worker in json.load(response)[0]["workers"]):
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.5)
    raise AssertionError(f"TorchServe did not get ready:\n{log.read_text()[-4000:]}")
