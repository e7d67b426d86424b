"""One batch, several processes: each has some of its pictures, and all together compute the loss of the whole.

Most losses of detectors are not means over pictures: they are divided by the number of boxes, samples or queries of the
batch. So the mean of the processes' own losses is not the loss of the batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["Share", "SharedDropout"]

T = TypeVar("T")


class SharedDropout(TorchFunctionMode):
    """Within it, dropout drops of each picture what it would drop if one process computed the whole batch.

    Args:
        share: of the batch; its processes have the same random state.
    """

    def __init__(self, share: Share) -> None:
        super().__init__()
        self._share = share

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace dropout alone; see ``TorchFunctionMode``."""
        if func is not nn.functional.dropout:
            return func(*args, **(kwargs or {}))
        return self._dropout(*args, **(kwargs or {}))

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: A002
        if not training or p == 0.0:
            return input
        whole = torch.ones(self._share.pictures, *input.shape[1:], dtype=input.dtype, device=input.device)
        kept: Tensor = self._share.own(nn.functional.dropout(whole, p))
        return input * kept


class Share:
    """This process's part of a batch that several processes train on together.

    A process without a picture of its own computes on one that it does not count: it takes part in all that the others
    wait for, and its rows are left out.

    Args:
        sizes: how many pictures of the batch each process has, by rank, in the order of the batch; 0 or more.
        rank: of this process.

    Attributes:
        first: place of its first picture in the batch.
        size: how many of the pictures are its own.
        processes: how many share the batch.
        pictures: of the whole batch.
    """

    def __init__(self, sizes: Sequence[int], rank: int) -> None:
        self._sizes = tuple(sizes)
        self._rank = rank
        self.first = sum(self._sizes[:rank])
        self.size = self._sizes[rank]
        self.processes = len(self._sizes)
        self.pictures = sum(self._sizes)

    def gathered(self, own: Tensor, dim: int = 0) -> Tensor:
        """The rows of all processes along ``dim``, in the order of the batch; gradients flow to this one's alone.

        What is computed of it is the same in all processes, and the gradients of all of them add up to its gradient.
        """
        own = own.narrow(dim, 0, self.size)
        most = max(self._sizes)
        padded = own.new_zeros([*own.shape[:dim], most, *own.shape[dim + 1 :]])
        padded.narrow(dim, 0, self.size).copy_(own.detach())
        parts = [torch.empty_like(padded) for _ in self._sizes]
        dist.all_gather(parts, padded)
        rows = [part.narrow(dim, 0, size) for part, size in zip(parts, self._sizes, strict=True)]
        rows[self._rank] = own
        return torch.cat(rows, dim)

    def listed(self, own: Sequence[T]) -> list[T]:
        """One thing per picture of the batch, from those of each process's own pictures; tensors keep their device."""
        parts: list[Any] = [None] * self.processes
        dist.all_gather_object(parts, _moved(list(own)[: self.size], torch.device("cpu")))
        device = next((one.device for one in _tensors(own)), torch.device("cpu"))
        moved: list[T] = _moved(list(itertools.chain.from_iterable(parts)), device)
        return moved

    def own(self, rows: Any) -> Any:
        """Of a tensor or sequence with one row per picture of the batch those that this process computes on."""
        first = min(self.first, len(rows) - 1)
        return rows[first : first + max(self.size, 1)]

    def total(self, count: Tensor) -> Tensor:
        """The sum of a number over all processes."""
        count = count.clone()
        dist.all_reduce(count)
        return count

    def part(self, loss: Tensor) -> Tensor:
        """This process's part of a loss that all have computed of ``gathered`` rows: the parts' values add up to it.

        Its gradient is the loss's own, which reaches the rows of this process only.
        """
        return loss - loss.detach() * (1 - 1 / self.processes)


def _moved(value: Any, device: torch.device) -> Any:
    """Tensors within lists and dictionaries on another device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(one, device) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_moved(one, device) for one in value]
    return value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for child in children for tensor in _tensors(child)]
