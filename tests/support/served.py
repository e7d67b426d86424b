"""``boxwright serve``, as a process of its own, told by a settings file of TorchServe."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.torchserve import keys_in, write_properties

READY_SECONDS = 120


@contextmanager
def serving(mars: Sequence[Path], folder: Path, *settings: str) -> Iterator[dict[str, str]]:
    """Serve archives of one store with the settings that TorchServe gets, but for gRPC's; yields base URLs by port."""
    config, addresses = write_properties(mars, folder, 1, *settings)
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if not line.startswith("grpc_")))
    ports = {name: address.rsplit(":", 1)[1] for name, address in addresses.items()}
    command = [sys.executable, "-m", "boxwright", "serve", "--store", mars[0].parent, "--config", config]
    command += [
        "--backend",
        "onnxruntime",
        "--management-port",
        ports["management"],
        "--metrics-port",
        ports["metrics"],
    ]
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            list(map(str, command)), cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_ready(f"{addresses['inference']}/v2/health/ready", process, folder)
        yield addresses
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)  # the session is ours
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)


def _wait_until_ready(url: str, process: subprocess.Popen, folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            request = urllib.request.Request(
                url, headers={"Authorization": f"Bearer {keys_in(folder).get('inference')}"}
            )
            with urllib.request.urlopen(request, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError(f"boxwright serve did not get ready:\n{(folder / 'output.txt').read_text()[-4000:]}")
