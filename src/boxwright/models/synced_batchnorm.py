"""BatchNorm over the pictures of all processes, on any device; PyTorch's ``SyncBatchNorm`` wants a GPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["SyncedBatchNorm2d", "synchronise_batchnorm"]

_PLACES = (0, 2, 3)  # of [N, C, H, W], all but the channels


def synchronise_batchnorm(network: nn.Module) -> None:
    """Let the BatchNorms of a network take their statistics from the batches of all processes.

    The names of parameters and buffers stay, and so do the values. In eval mode nothing changes.
    """
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm of [N, C, H, W]; every process must call it at the same time, with one picture or more."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """See ``torch.nn.BatchNorm2d``."""
        if not self.training:
            return super().forward(input)
        normalised, mean, variance, count = _Normalise.apply(input.float(), self.eps)
        self._remember(mean, variance, count)
        if self.affine:
            normalised = normalised * self.weight[:, None, None] + self.bias[:, None, None]
        result: Tensor = normalised.to(input.dtype)
        return result

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        unbiased = variance * count / (count - 1)  # as PyTorch's
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


class _Normalise(torch.autograd.Function):
    """Values [N, C, H, W] to mean 0 and variance 1 per channel, over all processes.

    Ioffe and Szegedy, "Batch Normalization", 2015; sums are taken in float64, as PyTorch takes them on a processor.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own = values.new_tensor([values.numel() / values.shape[1]], dtype=torch.float64)
        sums = _over_all(torch.cat([values.sum(_PLACES, dtype=torch.float64), own]))
        mean, count = sums[:-1] / sums[-1], sums[-1]
        centred = values - mean.float()[:, None, None]
        variance = _over_all((centred * centred).sum(_PLACES, dtype=torch.float64)) / count
        scale = torch.rsqrt(variance + eps).float()
        normalised = centred * scale[:, None, None]
        ctx.save_for_backward(normalised, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return normalised, mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, None]:
        normalised, scale, count = ctx.saved_tensors
        sums = torch.stack(
            [gradient.sum(_PLACES, dtype=torch.float64), (gradient * normalised).sum(_PLACES, dtype=torch.float64)]
        )
        straight, along = (_over_all(sums) / count).float()[..., None, None]
        return (gradient - straight - normalised * along) * scale[:, None, None], None


def _over_all(sums: Tensor) -> Tensor:
    """The sum over all processes."""
    dist.all_reduce(sums)
    return sums
