"""Forks a process per command, each as ``python -m boxwright`` starts, but for the time that imports take.

Started by ``command_line`` with the number of a socket. That sends, per command, the length of a request with two open
files for the command's output, and the request; the answer is the command's status as waitpid gives it.

onnxruntime is imported by each command itself: it starts a thread, which no fork takes along.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import socket
import sys
import threading
import traceback

SLOW_TO_IMPORT = (
    "lightning",
    "onnx",
    "torchvision",
    "boxwright.cli",
    "boxwright.release",
    "boxwright.reporting",
)


def import_what_is_slow() -> None:
    """What it prints fails the tests, as it would in a command itself."""
    for name in SLOW_TO_IMPORT:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the commands share what was imported, and need not look through it for garbage


def serve(connection: socket.socket) -> None:
    """Until the other side hangs up."""
    while True:
        head, descriptors, _, _ = socket.recv_fds(connection, 4, 2)
        if not head:
            return
        size, request = int.from_bytes(head), b""
        while len(request) < size:
            request += connection.recv(size - len(request))
        child = os.fork()
        if not child:
            connection.close()
            run(descriptors, **json.loads(request))
        for one in descriptors:
            os.close(one)
        connection.sendall(os.waitpid(child, 0)[1].to_bytes(4))


def run(descriptors: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Run the command in this process and end it, without taking every module apart, which takes a second."""
    for number, one in enumerate(descriptors, start=1):
        os.dup2(one, number)
        os.close(one)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["boxwright", *arguments]
    code = status()
    threading._shutdown()  # waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def status() -> int:
    """The command's, after it ran."""
    try:
        runpy.run_module("boxwright", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    del sys.path[0]  # this folder, of which a command knows nothing
    import_what_is_slow()
    with socket.socket(fileno=int(sys.argv[1])) as ours:
        ours.sendall(b"r")
        serve(ours)
