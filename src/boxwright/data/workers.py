"""Loader processes: how they start and end, and the shared memory in which they build batches."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from boxwright.host.memory import keep_freed_memory
from boxwright.runtime import ConfigError

if sys.platform == "win32":
    from multiprocessing.context import SpawnContext as _Context
    from multiprocessing.context import SpawnProcess as _Process
else:
    from multiprocessing.context import ForkServerContext as _Context
    from multiprocessing.context import ForkServerProcess as _Process

__all__ = ["BatchMemory", "LoaderContext", "Parked", "ready_worker", "start_server"]

_PRELOADED = ["boxwright.data.dataset"]


class _LoaderProcess(_Process):
    """A process that does not import the caller's script, so that the script needs no ``__main__`` guard."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802
        start_server()
        with _script_hidden():
            return _Process._Popen(process_obj)


class LoaderContext(_Context):
    """How loader processes start: forked from a server that has imported what they need, never from the caller.

    A fork of the caller would inherit locks that its other threads hold at that moment and that nobody
    would release. On Windows each process starts from nothing.
    """

    Process = _LoaderProcess


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
    kept = [(name, names[name]) for name in ("__spec__", "__file__") if name in names]
    names["__spec__"] = None
    names.pop("__file__", None)
    try:
        yield
    finally:
        for name, value in kept:
            names[name] = value


def ready_worker(number: int) -> None:
    """The ``worker_init_fn`` of a loader process.

    The process keeps freed memory, and ends when its caller does. Its parent would not end it: that is the
    server, which runs as long as its children.
    """
    keep_freed_memory()
    threading.Thread(target=_end_with_caller, daemon=True).start()


def _end_with_caller() -> None:
    caller = multiprocessing.parent_process()
    if caller is not None:
        caller.join()
        os._exit(1)


@dataclass(frozen=True)
class Parked:
    """Where a batch is on its way between processes: the first ``count`` canvases of a slot of a ``BatchMemory``."""

    memory: int
    slot: int
    count: int

    def collect(self) -> Tensor:
        """The canvases, uint8 [count, 3, H, W], not copied; the slot is free again when no tensor uses it."""
        return _memories[self.memory].collect(self)


class BatchMemory:
    """Shared memory in which loader processes build batches; every slot is used many times.

    A new shared tensor for every batch costs a page fault for each 4 KiB of it on both sides, and a
    file descriptor; that is more than reading a canvas from the cache. Each process has its own
    slots, so that no lock is needed: the process marks a slot as used, the caller marks it as free.

    Args:
        workers: number of loader processes.
        slots: per process.
        shape: of a full batch's canvases, [N, 3, H, W].

    Raises:
        ConfigError: the machine has too little shared memory.
    """

    def __init__(self, workers: int, slots: int, shape: tuple[int, int, int, int]) -> None:
        _require_shared_memory(workers * slots * math.prod(shape))
        self._slots = slots
        self._canvases = torch.empty((workers * slots, *shape), dtype=torch.uint8)
        self._taken = torch.zeros(workers * slots, dtype=torch.uint8)
        for tensor in (self._canvases, self._taken):
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        self._number = next(_numbers)
        _memories[self._number] = self

    def take(self, count: int) -> tuple[Tensor, Parked] | None:
        """In a loader process: room for ``count`` canvases, uint8 [count, 3, H, W]; None if no slot is free."""
        worker = get_worker_info()
        if worker is None or count > self._canvases.shape[1]:
            return None
        for slot in range(worker.id * self._slots, (worker.id + 1) * self._slots):
            if not self._taken[slot]:
                self._taken[slot] = 1
                return self._canvases[slot, :count], Parked(self._number, slot, count)
        return None

    def collect(self, parked: Parked) -> Tensor:
        """In the caller: see ``Parked.collect``."""
        shown = self._canvases[parked.slot, : parked.count].numpy()
        release = weakref.finalize(shown, self._taken.__setitem__, parked.slot, 0)  # the tensor keeps the array alive
        release.atexit = False
        return torch.from_numpy(shown)


def _require_shared_memory(count: int) -> None:
    place = Path("/dev/shm")
    free = shutil.disk_usage(place).free if place.is_dir() else count
    if count > free:
        raise ConfigError(
            f"Loader processes need {count >> 20} MiB of shared memory for batches, {free >> 20} MiB are free.",
            "Lower batch_size or workers (0 needs none); in Docker, raise --shm-size.",
        )


_numbers = itertools.count()
_memories: weakref.WeakValueDictionary[int, BatchMemory] = weakref.WeakValueDictionary()
