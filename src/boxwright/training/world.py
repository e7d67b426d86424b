"""The processes that train together: which of them this is, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor

from boxwright.models.sharing import Share
from boxwright.runtime import BoxwrightError

__all__ = ["ALONE", "World", "joined", "started_by_another"]

T = TypeVar("T")

_PATIENCE = timedelta(minutes=30)  # one process may check data or write files for so long while the others wait


@dataclass(frozen=True)
class World:
    """One process among those that train together; the default is one alone.

    Attributes:
        rank: its number, from 0.
        size: how many they are.
        here: how many of them run on this machine.
    """

    rank: int = 0
    size: int = 1
    here: int = 1

    @property
    def machines(self) -> int:
        """How many machines there are, each with as many processes."""
        return self.size // self.here

    def same(self, value: T) -> T:
        """What the first process has; all must call it."""
        if self.size == 1:
            return value
        box = [value if self.rank == 0 else None]
        dist.broadcast_object_list(box, src=0)
        first: T = box[0]  # type: ignore[assignment]
        return first

    def first(self, do: Callable[[], object]) -> None:
        """Have the first process do something; all must call it, and all fail if it fails with an error of ours.

        Else the others would wait for it.

        Raises:
            BoxwrightError: the same in all.
        """
        error: BoxwrightError | None = None
        if self.rank == 0:
            try:
                do()
            except BoxwrightError as ours:
                error = ours
        if (same := self.same(error)) is not None:
            raise same

    def largest(self, value: float) -> float:
        """The largest of all processes' values; all must call it."""
        if self.size == 1:
            return value
        values: list[float] = [0.0] * self.size
        dist.all_gather_object(values, value)
        return max(values)

    def share(self, pictures: int) -> Share | None:
        """This process's share of a batch of so many pictures; None if it is alone."""
        if self.size == 1:
            return None
        return Share(self.sizes(pictures), self.rank)

    def sizes(self, pictures: int) -> list[int]:
        """How many pictures of a batch each process has, by rank; they lie one after the other."""
        least, more = divmod(pictures, self.size)
        return [least + (rank < more) for rank in range(self.size)]

    def own(self, batch: list[T]) -> list[T]:
        """This process's pictures of a batch; if it has none the first, which does not count: see ``Share``."""
        sizes = self.sizes(len(batch))
        first = sum(sizes[: self.rank])
        return batch[first : first + sizes[self.rank]] or batch[:1]

    def total(self, values: Tensor) -> Tensor:
        """The sum of tensors over all processes; all must call it."""
        if self.size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values


ALONE = World()
"""A process that trains by itself."""


def started_by_another() -> bool:
    """Whether torchrun or SLURM has started this process as one of several, or ``boxwright train --devices``."""
    environment = _environment()
    return environment is not None and environment.world_size() > 1


def _environment() -> ClusterEnvironment | None:
    kinds = (TorchElasticEnvironment, SLURMEnvironment)
    return next((one() for one in kinds if one.detect()), None)


@contextmanager
def joined(on_gpus: bool) -> Iterator[World]:
    """Meet the other processes that torchrun, SLURM or ``boxwright train --devices`` have started.

    A process group that exists already is used, and left.

    Args:
        on_gpus: whether each of them has a GPU of its own.
    """
    environment = _environment()
    if environment is None or environment.world_size() == 1:
        yield ALONE
        return
    size, rank = environment.world_size(), environment.global_rank()
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or size)
    if dist.is_initialized():
        yield World(rank, size, here)
        return
    if on_gpus:
        torch.cuda.set_device(environment.local_rank())
    dist.init_process_group(
        "nccl" if on_gpus else "gloo",
        init_method=f"tcp://{environment.main_address}:{environment.main_port}",
        rank=rank,
        world_size=size,
        timeout=_PATIENCE,
    )
    try:
        yield World(rank, size, here)
    finally:
        dist.destroy_process_group()
