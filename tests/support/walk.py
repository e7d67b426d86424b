"""Does what a page says: runs its blocks of ``bash`` and ``python`` in order, as they stand there."""

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

from support.command_line import boxwright

DOCS = Path(__file__).parents[2] / "docs"

_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PORT = 8080
"""The server's, where nothing else is said."""

_DONE_ALREADY = ("make ", ". .venv", "pip install ")
"""What whoever runs the tests has done before."""


def blocks_of(page):
    """Kind and text of the blocks that a reader is meant to run, in order."""
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lines_of(block):
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


class Walk:
    """A folder of somebody who does what pages say, one after the other.

    Args:
        place: the folder.
        shorter: what is written in place of parts of lines, so that trainings end soon.
        port: of the server, in place of the one that the pages name.
    """

    def __init__(self, place, shorter=None, port=_PORT):
        self.place = place
        self._shorter = {**(shorter or {}), f"127.0.0.1:{_PORT}": f"127.0.0.1:{port}"}
        self._port = port
        self._servers = []

    def __enter__(self):
        with socket.socket() as probe:  # the port must be free, or another server would answer
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", self._port))
        return self

    def __exit__(self, *_):
        for server in self._servers:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)

    def through(self, page):
        """Run a page; what each command printed, by its line."""
        printed = {}
        for kind, block in blocks_of(page):
            block = self._shortened(block)
            if kind == "python":
                printed[block] = self._run([sys.executable, "-c", block])
                continue
            for line in lines_of(block):
                printed[line] = self._line(line)
        return printed

    def _shortened(self, block):
        for part, other in self._shorter.items():
            block = block.replace(part, other)
        return block

    def _line(self, line):
        if line.startswith(_DONE_ALREADY):
            return ""
        if line.startswith("boxwright serve"):
            command = shlex.split(line) + ([] if self._port == _PORT else ["--port", str(self._port)])
            self._servers.append(subprocess.Popen(command, cwd=self.place, env=_environment(), start_new_session=True))
            _wait_for(f"http://127.0.0.1:{self._port}/ping")
            return ""
        if line.startswith("boxwright "):
            done = boxwright(*shlex.split(line)[1:], cwd=self.place)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            return done.stdout
        printed = self._run(["bash", "-c", line])
        if line.startswith("curl"):
            assert printed.startswith("["), printed
        return printed

    def _run(self, command):
        done = subprocess.run(command, cwd=self.place, env=_environment(), capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def _environment():
    programs = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def _wait_for(url):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")
