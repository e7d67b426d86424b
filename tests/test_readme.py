"""Runs every `bash` and `python` block of the README, in order, on a small folder; training for two epochs only."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from boxwright.data import draw_demo_data
from support.command_line import boxwright

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    draw_demo_data(folder / "my-folder", sizes={"train": 4, "valid": 2, "test": 2})
    picture = next((folder / "my-folder" / "test").glob("*.jpg"))
    (folder / "picture.jpg").write_bytes(picture.read_bytes())
    return folder


def environment():
    programs = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def run(command, place):
    done = subprocess.run(command, cwd=place, env=environment(), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def wait_for(url):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")


def lines_of(block):
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


def test_the_readme_has_commands_to_run():
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds.count("bash") >= 2
    assert kinds.count("python") >= 1


def test_every_command_does_what_it_says(place, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    servers = []
    with socket.socket() as probe:  # the README's port must be free, or another server would answer
        probe.bind(("127.0.0.1", 8080))
    try:
        for kind, block in BLOCKS:
            if kind == "python":
                run([sys.executable, "-c", block], place)
                continue
            for line in lines_of(block):
                if line.startswith(("make ", ". .venv")):
                    continue  # CI has done this already
                if line.startswith("boxwright serve"):
                    servers.append(subprocess.Popen(line.split(), cwd=place, env=environment(), start_new_session=True))
                    wait_for("http://127.0.0.1:8080/ping")
                    continue
                if line.startswith("boxwright train"):
                    line += " --epochs 2"  # two are enough for this test
                if line.startswith("boxwright "):
                    done = boxwright(*shlex.split(line)[1:], cwd=place)
                    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                    continue
                output = run(["bash", "-c", line], place)
                if line.startswith("curl"):
                    assert output.startswith("["), output
    finally:
        for server in servers:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)
