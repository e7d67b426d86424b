"""``boxwright serve`` as its users start it: a process of its own."""

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace


class Served:
    """A running server.

    Attributes:
        process: its process.
        host, port: of the predictions.
        lines: what it announced.
        errors: file of its standard error; a pipe that nobody reads would fill up and stop the server.
    """

    def __init__(self, process, lines, errors):
        self.process, self.lines, self.errors = process, lines, errors
        address = next(match for line in lines if (match := re.search(r"https?://([\d.]+):(\d+)/", line)))
        self.host, self.port = address[1], int(address[2])

    @property
    def base(self):
        return f"http://{self.host}:{self.port}"

    def url_of(self, what):
        """Of another port, as announced: ``management``, ``metrics`` or ``grpc``."""
        return next(line.split(": ", 1)[1].strip() for line in self.lines if line.startswith(f"{what}: "))

    def ask(self, path, data=None, method=None, timeout=60.0):
        """Status and document of an answer; a refusal is one, too."""
        request = urllib.request.Request(f"{self.base}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()

    def connect(self, timeout=60.0):
        """A connection without any client library around it."""
        return socket.create_connection((self.host, self.port), timeout=timeout)

    def memory(self):
        """MiB that the process holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    def end(self, number=signal.SIGTERM, timeout=60):
        """Send a signal and wait; exit code and standard error."""
        self.process.send_signal(number)
        return self.ended(timeout)

    def ended(self, timeout=60):
        """Exit code and standard error, when it has ended."""
        self.process.wait(timeout)
        self.errors.seek(0)
        return self.process.returncode, self.errors.read()


@contextmanager
def served(*arguments, seconds=60):
    """A server on free loopback ports, for the time of the block.

    Args:
        arguments: of ``boxwright serve``; a ``--port`` is added.
        seconds: within which it must say that it is ready.
    """
    command = [sys.executable, "-m", "boxwright", "serve", *map(str, arguments), "--port", "0"]
    errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed below
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        lines = []
        end = time.monotonic() + seconds
        while not (lines and lines[-1].startswith("Try:")):
            assert time.monotonic() < end, lines
            lines.append(process.stdout.readline())
            assert lines[-1], Served.ended(SimpleNamespace(process=process, errors=errors))
        yield Served(process, lines, errors)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
        errors.close()


def read_answer(connection):
    """Status and body of one answer on a raw connection; status 0 if it was closed without any."""
    with connection.makefile("rb") as stream:
        first = stream.readline()
        if not first:
            return 0, b""
        length = 0
        while (line := stream.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return int(first.split()[1]), stream.read(length)


def post(path, body, extra=""):
    """The bytes of a request."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def document(answer):
    """An answer's JSON."""
    return json.loads(answer[1])
