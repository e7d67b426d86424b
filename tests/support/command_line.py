"""The command, as a process of its own: forked from one that has imported what takes seconds to import."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SERVER = Path(__file__).with_name("command_server.py")
SECONDS = 300
"""How long one command may take."""


def boxwright(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``boxwright ARGUMENTS`` and wait for it."""
    return _server().run(list(map(str, arguments)), Path(cwd or Path.cwd()))


@cache
def _server() -> "_Server":
    """One per process that runs tests; it ends with that process."""
    return _Server()


class _Server:
    """The process to fork from; see ``command_server``. It runs one command at a time."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile("w+") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(SERVER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
            theirs.close()  # so that we see when it has ended
            atexit.register(self._end)
            self._socket.settimeout(SECONDS)
            ready = self._socket.recv(1)
            errors.seek(0)
            printed = errors.read()
            assert (ready, printed) == (b"r", ""), printed

    def run(self, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        request = json.dumps({"arguments": arguments, "folder": str(folder), "environment": dict(os.environ)}).encode()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            try:
                socket.send_fds(self._socket, [len(request).to_bytes(4)], [out.fileno(), err.fileno()])
                self._socket.sendall(request)
                code = os.waitstatus_to_exitcode(int.from_bytes(self._socket.recv(4)))
            except BaseException:  # too late, or interrupted: the command must not go on
                _server.cache_clear()
                os.killpg(self._process.pid, signal.SIGKILL)
                raise
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(["boxwright", *arguments], code, out.read(), err.read())

    def _end(self) -> None:
        self._socket.close()  # which it sees
        self._process.wait()
