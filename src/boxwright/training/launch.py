"""Starts the processes of a training on this machine, and ends all of them when one ends badly.

What happens within is exchanged through small JSON files: the task, and of each process its outcome.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boxwright.runtime
from boxwright.host.machine import cores
from boxwright.runtime import BoxwrightError, ConfigError

__all__ = ["Task", "failure_of", "run_together"]

_LOOK = 0.1  # seconds between two looks at the processes
_LAST_WORDS = 2.0  # seconds after the first failure: who fails first is not always seen first
_TO_KEEP = 60.0  # seconds that the first process has to write the best epoch when another one fails
_TO_KEEP_KILLED = 15.0  # the same when another one was killed
_GRACE = 10.0  # seconds from SIGTERM to SIGKILL
_LEFT_BEHIND = "ignore:resource_tracker"  # what a killed process leaves is removed; that it was, is no news


@dataclass(frozen=True)
class Task:
    """What each process does.

    Attributes:
        verb: ``train`` or ``resume``.
        settings: its keyword arguments, as JSON has them.
    """

    verb: str
    settings: Mapping[str, Any]


def run_together(task: Task, processes: int) -> dict[str, Any]:
    """Run a task in several processes that train together, and wait for their end.

    Ctrl-C is passed to the first process, which ends the training as if it was alone; the others are ended then.

    Args:
        task: the same for all.
        processes: how many, at least two.

    Returns:
        The outcome of the first process: ``folder`` and ``interrupted``.

    Raises:
        BoxwrightError: as a process raised it; or a process was ended from outside.
        KeyboardInterrupt: Ctrl-C before or after the training itself.
        OSError: as a process raised it.
        RuntimeError: an error that is not one of ours, with its traceback.
    """
    if sys.platform == "win32":
        raise ConfigError("devices: several processes cannot be started on Windows.", "Use one device, or torchrun.")
    with tempfile.TemporaryDirectory(prefix="boxwright-") as place:
        folder = Path(place)
        (folder / "task.json").write_text(json.dumps({"verb": task.verb, "settings": dict(task.settings)}))
        crew = _Crew(folder, processes)
        try:
            return crew.wait()
        finally:
            crew.end()


class _Crew:
    """The processes.

    Args:
        folder: holds the task; the outcomes are written there.
        size: how many.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._to_stop = self._told = False  # whether the first process is to be, and was, told to stop
        self._alive, kept = os.pipe()  # a process whose pipe closes knows that this one is gone
        self._kept: int | None = kept
        port = _free_port()
        self._processes = [self._start(rank, size, port) for rank in range(size)]
        os.close(self._alive)

    def _start(self, rank: int, size: int, port: int) -> subprocess.Popen[bytes]:
        threads = str(max(cores() // size, 1))
        environment = {
            "OMP_NUM_THREADS": threads,
            **os.environ,
            "PYTHONWARNINGS": ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), _LEFT_BEHIND))),
            # as torchrun sets them
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_RUN_ID": "boxwright",
        }
        command = [sys.executable, "-m", "boxwright.training.process", str(self._folder), str(self._alive)]
        return subprocess.Popen(command, env=environment, pass_fds=[self._alive], start_new_session=True)

    def wait(self) -> dict[str, Any]:
        """The first process's outcome, when all have ended well; see ``run_together``."""
        outcome = self._patiently()
        if outcome.get("stopped"):
            raise KeyboardInterrupt
        return outcome

    def _patiently(self) -> dict[str, Any]:
        while True:
            try:
                return self._wait()
            except KeyboardInterrupt:
                self._to_stop = True

    def _wait(self) -> dict[str, Any]:
        while True:
            codes = [process.poll() for process in self._processes]
            first = self._outcome(0)
            if self._to_stop and first is not None:  # it has begun, and knows what to do
                self._to_stop, self._told = False, True
                with suppress(ProcessLookupError):
                    self._processes[0].send_signal(signal.SIGINT)
            if codes[0] == 0 and first is not None and (first.get("interrupted") or first.get("stopped")):
                return first  # the others wait for it, in vain
            stopping = self._told and codes[0] is None  # the others miss it meanwhile, and fail
            if any(codes) and not stopping:
                raise self._failure()
            if all(code == 0 for code in codes):
                assert first is not None, "a process that ends well has written its outcome"
                return first
            time.sleep(_LOOK)

    def _failure(self) -> Exception:
        """What went wrong first, as far as can be told."""
        self._hear_out()
        codes = [process.poll() or 0 for process in self._processes]
        killed = [rank for rank, code in enumerate(codes) if code < 0]
        if killed:
            return self._ended(killed[0], signal.Signals(-codes[killed[0]]).name)
        told = failure_of([self._outcome(rank) or {} for rank in range(len(codes))])
        if told is not None:
            return told
        rank = next(rank for rank, code in enumerate(codes) if code)
        return self._ended(rank, f"exit code {codes[rank]}")

    def _hear_out(self) -> None:
        """Give the others time to notice, and the first process time to keep its best epoch."""
        patience = _TO_KEEP_KILLED if any((process.poll() or 0) < 0 for process in self._processes) else _TO_KEEP
        began = time.monotonic()
        while any(process.poll() is None for process in self._processes):
            passed, first = time.monotonic() - began, self._processes[0].poll()
            if passed > patience or (first is not None and passed > _LAST_WORDS):
                return
            time.sleep(_LOOK)

    def _ended(self, rank: int, how: str) -> BoxwrightError:
        folder = (self._outcome(0) or {}).get("folder")
        go_on = f"boxwright train --resume {shlex.quote(folder)}" if folder else "the same command"
        return ConfigError(
            f"Process {rank + 1} of {len(self._processes)} that trained together was ended from outside ({how}), "
            "often because memory ran out; the others were ended too.",
            f"To go on: {go_on}",
        )

    def _outcome(self, rank: int) -> dict[str, Any] | None:
        try:
            outcome: dict[str, Any] = json.loads((self._folder / f"{rank}.json").read_text())
        except (FileNotFoundError, ValueError):  # not yet, or just now
            return None
        return outcome

    def end(self) -> None:
        """End those that still run."""
        if self._kept is not None:
            os.close(self._kept)
            self._kept = None
        running = [process for process in self._processes if process.poll() is None]
        for process in running:
            process.terminate()
        until = time.monotonic() + _GRACE
        for process in running:
            try:
                process.wait(max(until - time.monotonic(), _LOOK))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def failure_of(outcomes: Sequence[Mapping[str, Any]]) -> Exception | None:
    """What went wrong first, as far as it can be told from what the processes wrote down, by rank; None if not."""
    told = [one for one in outcomes if "error" in one]
    if told:
        kind = getattr(boxwright.runtime, told[0]["error"], ConfigError)
        error: BoxwrightError = kind(told[0]["message"], told[0]["remedy"])
        return error
    failed = [one["os_error"] for one in outcomes if "os_error" in one]
    if failed:
        return OSError(*failed[0])
    traced = [one["traceback"] for one in outcomes if "traceback" in one]
    if traced:
        return RuntimeError("one of the processes that train together failed:\n" + traced[0])
    return None


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
