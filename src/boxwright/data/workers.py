"""The shared memory in which loader processes build batches."""

from __future__ import annotations

import itertools
import math
import shutil
import weakref
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from boxwright.runtime import ConfigError

__all__ = ["BatchMemory", "Parked"]


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

        whole: whether a batch is what one picture is seen in, so that ``batch_size`` does not change it.

    Raises:
        ConfigError: the machine has too little shared memory.
    """

    def __init__(self, workers: int, slots: int, shape: tuple[int, int, int, int], whole: bool = False) -> None:
        _require_shared_memory(workers * slots * math.prod(shape), "workers" if whole else "batch_size or workers")
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


def _require_shared_memory(count: int, lower: str) -> None:
    place = Path("/dev/shm")
    free = shutil.disk_usage(place).free if place.is_dir() else count
    if count > free:
        raise ConfigError(
            f"Loader processes need {count >> 20} MiB of shared memory for batches, {free >> 20} MiB are free.",
            f"Lower {lower} (0 needs none); in Docker, raise --shm-size.",
        )


_numbers = itertools.count()
_memories: weakref.WeakValueDictionary[int, BatchMemory] = weakref.WeakValueDictionary()
