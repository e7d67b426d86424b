"""Worker processes: how they start and end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any

from boxwright.host.memory import keep_freed_memory

if sys.platform == "win32":
    from multiprocessing.context import SpawnContext as _Context
    from multiprocessing.context import SpawnProcess as _Process
else:
    from multiprocessing.context import ForkServerContext as _Context
    from multiprocessing.context import ForkServerProcess as _Process

__all__ = ["FRESH", "WorkerContext", "allow_open_files", "end_with_caller", "ready_worker", "start_server"]

_HIDING = threading.Lock()
_PRELOADED = ["boxwright.data.dataset"]  # imports PyTorch, which every worker needs


class _WorkerProcess(_Process):
    """A process that does not import the caller's script, so that the script needs no ``__main__`` guard."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802
        start_server()
        with _script_hidden():
            return _Process._Popen(process_obj)


class WorkerContext(_Context):
    """How worker processes start: forked from a server that has imported what they need, never from the caller.

    A fork of the caller would inherit locks that its other threads hold at that moment and that nobody
    would release. On Windows each process starts from nothing.
    """

    Process = _WorkerProcess


class _FreshProcess(SpawnProcess):
    """As ``_WorkerProcess``, but started from nothing: it imports what it needs and nothing else."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802
        with _script_hidden():
            return SpawnProcess._Popen(process_obj)


class _FreshContext(SpawnContext):
    Process = _FreshProcess


FRESH = _FreshContext()
"""How processes start that must not hold PyTorch: from nothing, and without the caller's script."""


def start_server() -> None:
    """Let the server begin its imports, which take seconds, while the caller does something else.

    Does nothing if the server runs already, and on Windows, which has no server.
    """
    if sys.platform == "win32":
        return
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(_PRELOADED)
    with _interrupts_held():
        forkserver.ensure_running()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process started meanwhile ignores Ctrl-C: the terminal sends it to all, but only the caller may react."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Hide the script's name and file: with either, ``multiprocessing`` imports the script in a new process."""
    main = sys.modules["__main__"]
    names = vars(main)
    with _HIDING:  # else one thread would show it while another starts a process, or keep the hidden names as its own
        kept = [(name, names[name]) for name in ("__spec__", "__file__") if name in names]
        names["__spec__"] = None
        names.pop("__file__", None)
        try:
            yield
        finally:
            for name, value in kept:
                names[name] = value


def ready_worker(number: int = 0) -> None:
    """What a worker does first; the ``worker_init_fn`` of loader processes.

    The process keeps freed memory, and ends when its caller does. Its parent would not end it: that is the
    server, which runs as long as its children.
    """
    keep_freed_memory()
    threading.Thread(target=end_with_caller, daemon=True).start()


def end_with_caller() -> None:
    """Wait until the process that started this one has ended; then end."""
    caller = multiprocessing.parent_process()
    if caller is not None:
        caller.join()
        os._exit(1)


def allow_open_files(count: int) -> int:
    """Let this process have so many files and connections open at the same time, as far as the system lets it.

    Returns:
        How many it may have now; ``count`` where the system does not say.
    """
    try:
        import resource
    except ImportError:  # Windows
        return count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return count if soft == resource.RLIM_INFINITY else soft
