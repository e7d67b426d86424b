"""How many pictures fit into memory at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from boxwright.config import TrainConfig
from boxwright.data.dataset import Batch
from boxwright.host.machine import free_memory
from boxwright.models.detector import Detector
from boxwright.runtime import ModelError

from .pace import undone

__all__ = ["Need", "measure_need", "memory_warning", "naming_what_fits"]

_BESIDE = 1.5  # what a step takes beside the activations that it keeps: gradients of them, buffers of the kernels
_PER_WEIGHT = 4  # times its size: itself, its gradient, AdamW's two moments
_SHARE = 0.85  # of the free memory: the rest is for loaders and other pictures
_CPU_IS_FULL = re.compile(r"can't allocate memory|could not create a primitive$")
"""How PyTorch's allocator and oneDNN put it; of no type of its own."""


@dataclass(frozen=True)
class Need:
    """Bytes that a training step takes.

    Attributes:
        fixed: however many pictures there are.
        picture: of each picture.
        free: bytes there are on the device, for each process; None if unknown.
        processes: that share the pictures of a step.
    """

    fixed: int
    picture: int
    free: int | None

    processes: int = 1

    def of(self, batch: int) -> int:
        """Bytes of a step on so many pictures, in the process that has the most of them."""
        return self.fixed + -(-batch // self.processes) * self.picture

    def fits(self, batch: int) -> bool:
        """Whether a step on so many pictures fits."""
        return self.free is None or self.of(batch) <= _SHARE * self.free

    def shared(self, processes: int, together: int) -> Need:
        """The same if several processes share the pictures of a step, and ``together`` of them the free memory."""
        return replace(self, processes=processes, free=self.free and self.free // together)

    def largest(self, total: int, below: int | None = None) -> int | None:
        """The largest batch that fits, divides ``total`` and is under ``below``; None if none does."""
        most, least = total if below is None else min(total, below - 1), self.processes
        return next((one for one in range(most, least - 1, -1) if total % one == 0 and self.fits(one)), None)


def measure_need(detector: Detector, batch: Batch, device: str) -> Need:
    """Count what one step keeps for its backward pass.

    Args:
        detector: to train; its network is on the CPU.
        batch: some pictures with boxes; two or more, as BatchNorm wants.
        device: ``cpu`` or ``cuda``, whose memory is asked.
    """
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {one.untyped_storage().data_ptr() for one in detector.network.state_dict().values()}
    with undone(detector, "cpu"), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        losses = detector.losses(batch.canvases, batch.boxes, batch.labels)
    del losses
    picture = sum(size for place, size in kept.items() if place not in weights) // len(batch.indices)
    size = sum(one.numel() * one.element_size() for one in detector.network.parameters())
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else free_memory()
    return Need(_PER_WEIGHT * size, int(_BESIDE * picture), free)


def memory_warning(need: Need, config: TrainConfig) -> str | None:
    """A sentence that warns if a step will not fit; None if it will.

    On a processor it is the only warning there is: the kernel ends a process that takes too much, without a word.
    """
    if need.fits(config.batch):
        return None
    gib = [f"{number / 2**30:.1f} GiB" for number in (need.of(config.batch), need.free or 0)]
    return (
        f"Warning: steps of {config.batch} pictures take about {gib[0]}, and {gib[1]} are free. {_advice(need, config)}"
    )


def _advice(need: Need, config: TrainConfig) -> str:
    """What would fit."""
    total = config.total_batch or config.batch
    fits = need.largest(total, below=config.batch)
    if fits is None:
        return "Choose a smaller image_size or model."
    return f"batch_size={fits} with total_batch={total} fits and learns the same."


@contextmanager
def naming_what_fits(need: Need | None, config: TrainConfig) -> Iterator[None]:
    """Turn running out of memory into a sentence.

    Raises:
        ModelError: out of memory.
    """
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        full = isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_IS_FULL.search(str(error))
        if not full:
            raise
        size = " x ".join(map(str, config.image_size if isinstance(config.image_size, tuple) else ()))
        what = f"{config.batch} pictures at once on a canvas of {size} (height x width)"
        advice = "Lower batch_size, and set total_batch." if need is None else _advice(need, config)
        raise ModelError(f"Out of memory: {what}.", advice) from error
