"""Where a served network runs: in this process, or in one of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol, TypeVar

from boxwright.host.memory import keep_freed_memory, return_freed_memory
from boxwright.host.processes import FRESH, end_with_caller
from boxwright.runtime import (
    ArchiveError,
    BoxwrightError,
    Bundle,
    Detections,
    Execution,
    PicturePredictor,
    Prepared,
    open_bundle,
)

__all__ = ["InOwnProcess", "InThisProcess", "Worker", "WorkerDied", "memory_of"]

T = TypeVar("T")

_SECONDS_TO_END = 10.0
_SECONDS_TO_START = 300.0  # a large archive on a slow disk; a process that hangs must not hold up the server's end


class WorkerDied(Exception):
    """A worker's process has ended without an answer."""


class Worker(Protocol):
    """Runs batches, one at a time.

    Attributes:
        pid: of its process.
    """

    pid: int

    def detect(self, prepared: Sequence[Prepared]) -> list[Detections]:
        """All detections of each picture, in pixels of the picture.

        Raises:
            WorkerDied: its process has ended.
            Exception: what the network raised.
        """

    def close(self) -> None:
        """Give back what it holds."""


class InThisProcess:
    """A network of its own in this process."""

    def __init__(self, predictor: PicturePredictor) -> None:
        self.predictor = predictor
        self.pid = os.getpid()

    def detect(self, prepared: Sequence[Prepared]) -> list[Detections]:
        """See ``Worker``."""
        return self.predictor.detect(prepared)

    def close(self) -> None:
        """Nothing: the network goes with the last reference to it."""


class InOwnProcess:
    """A network in a process that holds nothing else. What crashes there does not end the server.

    Args:
        archive: path of the archive; read and verified again by the process.
        members: SHA-256 (hex) by name of what it must hold: what the file holds now may be another model.
        execution: settled.
        seconds: after which a batch that is not answered is given up: the process is killed.

    Raises:
        WorkerDied: the process has ended before it was ready.
        BoxwrightError: it cannot open the archive, or run it so.
    """

    def __init__(self, archive: Path, members: Mapping[str, str], execution: Execution, seconds: float) -> None:
        self._seconds = seconds
        self._connection, theirs = FRESH.Pipe()
        # FRESH hides the caller's script, so that scripts that serve need no __main__ guard
        self._process = FRESH.Process(target=_work, args=(theirs, str(archive), dict(members), execution), daemon=True)
        self._process.start()
        theirs.close()
        self.pid = int(self._process.pid or 0)
        watch = self._watch(_SECONDS_TO_START)
        try:
            self._receive()
        finally:
            watch.cancel()

    def detect(self, prepared: Sequence[Prepared]) -> list[Detections]:
        """See ``Worker``."""
        watch = self._watch(self._seconds)
        try:
            # a process that hangs does not even read: what is larger than the pipe holds would wait here
            self._connection.send(list(prepared))
            return self._receive()
        except OSError as error:
            raise WorkerDied(self._end()) from error
        finally:
            watch.cancel()

    def _watch(self, seconds: float) -> threading.Timer:
        """Kills the process unless it is cancelled in time."""
        watch = threading.Timer(seconds, self._process.kill)
        watch.daemon = True
        watch.start()
        return watch

    def close(self) -> None:
        """End the process."""
        self._connection.close()  # it ends by itself when its batch is done
        self._process.join(_SECONDS_TO_END)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self) -> list[Detections]:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerDied(self._end()) from error
        if isinstance(answer, BaseException):
            try:
                raise answer
            finally:
                del answer  # its traceback holds this frame, and with it the pictures of the batch
        found: list[Detections] = answer
        return found

    def _end(self) -> str:
        self._process.join(_SECONDS_TO_END)
        return f"The worker with process id {self.pid} has ended (exit code {self._process.exitcode})."


def _work(caller: Connection, archive: str, members: Mapping[str, str], execution: Execution) -> None:
    """Answer batches until the caller closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to all; the server ends its workers
    keep_freed_memory()
    threading.Thread(target=end_with_caller, daemon=True).start()
    ready, predictor = _tried(lambda: PicturePredictor(_the_same(archive, members), execution))
    return_freed_memory()
    caller.send(ready)
    if predictor is None:
        return
    while True:
        try:
            prepared = caller.recv()
            error, found = _tried(lambda batch=prepared: predictor.detect(batch))  # type: ignore[misc]
            del prepared  # large, and the next batch may be hours away
            caller.send(found if found is not None else error)
        except (EOFError, OSError):  # it has closed the connection, or ended
            return


def _the_same(archive: str, members: Mapping[str, str]) -> Bundle:
    """An archive that still holds what it held when it was loaded.

    Raises:
        ArchiveError: it was written anew, or cannot be used.
    """
    bundle = open_bundle(archive)
    if bundle.members != members:
        raise ArchiveError(f"{archive}: was written anew since it was loaded.", "Send SIGHUP, or register it again.")
    return bundle


def _tried(call: Callable[[], T]) -> tuple[BaseException | None, T | None]:
    """What a call raised, in a form that can be sent, or what it returned."""
    try:
        return None, call()
    except (BoxwrightError, MemoryError) as error:
        return error, None
    except Exception as error:  # a runtime's own may not survive being sent
        return RuntimeError(f"{type(error).__name__}: {error}"), None


def memory_of(pid: int) -> int:
    """Bytes of memory that a process holds; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
