"""What OpenVINO does to the process it runs in."""

import subprocess
import sys

from support.exported import graph

_BACKENDS_THAT_END = """
import signal, subprocess, sys
from boxwright.runtime import Execution
from boxwright.runtime.backends.openvino import OpenVinoBackend
graph = sys.stdin.buffer.read()
backends = [OpenVinoBackend(graph, "made", Execution("openvino", "fp32")) for _ in range(3)]
while backends:
    del backends[0]  # the one opened first ends first
signal.signal(signal.SIGCHLD, lambda *_: print("signalled", flush=True))
subprocess.run(["true"], check=True)
"""


def test_signals_are_survived_once_backends_have_ended():
    """On processors with AMX: each ``Core`` gives its thread another stack for signals, and takes it away again."""
    done = subprocess.run([sys.executable, "-c", _BACKENDS_THAT_END], input=graph(), capture_output=True, timeout=60)
    # a library may have had a child of its own, which ends late
    assert (done.returncode, set(done.stdout.split())) == (0, {b"signalled"}), done.stderr
