"""RoIAlign for training on a CPU, as products with a sparse matrix.

Every value that RoIAlign pools is a weighted sum of 16 feature vectors (2 x 2 samples, 4 corners each: He et al.,
"Mask R-CNN", 2017, section 3). So the whole layer is one sparse matrix times the features of all levels, and its
backward pass the transposed matrix times the gradient. Torchvision's backward pass runs on one thread and adds number
by number, which was up to half of a training step; both products here run on all threads, over channels that lie side
by side.

Shapes: N pictures, C channels, H x W the features of a level, R boxes, P x P the pooled size, S x S samples per value.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign

__all__ = ["SparseRoIAlign", "pooling_sparsely"]

_CORNERS = 4


@contextmanager
def pooling_sparsely(network: nn.Module) -> Iterator[None]:
    """Let a two-stage network of torchvision's pool its boxes with ``SparseRoIAlign``, where that is possible.

    It is possible on the CPU, if PyTorch was built with MKL, which multiplies sparse matrices.

    Args:
        network: with ``roi_heads.box_roi_pool``.
    """
    heads: Any = network.get_submodule("roi_heads")
    usual = heads.box_roi_pool
    if next(network.parameters()).device.type == "cpu" and torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        heads.box_roi_pool = SparseRoIAlign(usual)
    try:
        yield
    finally:
        heads.box_roi_pool = usual


class SparseRoIAlign(nn.Module):
    """Pools as ``MultiScaleRoIAlign`` does, up to rounding.

    Args:
        pool: whose settings are taken: a square output and a fixed number of samples.
    """

    def __init__(self, pool: MultiScaleRoIAlign) -> None:
        super().__init__()
        height, width = pool.output_size
        assert height == width, "a square output"
        assert pool.sampling_ratio > 0, "a fixed number of samples"
        self._names: list[str] = pool.featmap_names
        self._size: int = height
        self._samples: int = pool.sampling_ratio
        self._canonical: tuple[int, int] = (pool.canonical_scale, pool.canonical_level)

    def forward(
        self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Pooled features, float32 [R, C, P, P].

        Args:
            features: float32 [N, C, H, W] by name of the level, from fine to coarse.
            boxes: N of float32 [n, 4], xyxy, canvas pixels.
            image_shapes: N times the canvas (height, width), pixels.
        """
        levels = [features[name] for name in self._names if name in features]
        together = torch.cat(list(boxes))
        pictures = torch.repeat_interleave(torch.tensor([len(one) for one in boxes]))
        with torch.no_grad():
            places, weights = self._corners(levels, together, pictures, image_shapes[0][0])
        channels = levels[0].shape[1]
        rows = torch.cat([one.permute(0, 2, 3, 1).reshape(-1, channels) for one in levels])
        pooled = cast(Tensor, _WeightedSums.apply(rows, places, weights))
        return pooled.view(-1, self._size, self._size, channels).permute(0, 3, 1, 2)

    def _corners(
        self, levels: Sequence[Tensor], boxes: Tensor, pictures: Tensor, canvas_height: int
    ) -> tuple[Tensor, Tensor]:
        """Of each pooled value the feature vectors it is made of: places int32 and weights float32, [R*P*P, S*S*4]."""
        sizes = torch.tensor([one.shape[-2:] for one in levels])
        scales = torch.exp2(torch.log2(sizes[:, 0] / canvas_height).round())
        level = self._level(boxes, scales)
        begins = torch.tensor([0, *(one.shape[0] * one.shape[2] * one.shape[3] for one in levels)]).cumsum(0)
        height, width = sizes[level].unbind(1)
        x1, y1, x2, y2 = (boxes * scales[level, None]).unbind(1)
        columns, across = self._axis(x1, x2, width)
        rows, down = self._axis(y1, y2, height)
        first = begins[level] + pictures * height * width
        places = first[:, None, None, None, None] + rows[:, :, None, :, None] * width[:, None, None, None, None]
        places = places + columns[:, None, :, None, :]
        weights = down[:, :, None, :, None] * across[:, None, :, None, :] / self._samples**2
        one_row = (-1, _CORNERS * self._samples**2)
        return places.to(torch.int32).reshape(one_row), weights.reshape(one_row)

    def _level(self, boxes: Tensor, scales: Tensor) -> Tensor:
        """Which level each box is pooled from: Lin et al., "Feature Pyramid Networks", 2017, equation 1."""
        scale, level = self._canonical
        finest = int(-torch.log2(scales[0]))
        side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
        wanted = torch.floor(level + torch.log2(side / scale) + 1e-6).clamp(finest, finest + len(scales) - 1)
        return wanted.to(torch.int64) - finest

    def _axis(self, low: Tensor, high: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Along one axis the two neighbours of every sample, and their weights: both [R, P, S*2].

        A sample more than one beyond the features counts as 0; one less far takes the nearest.
        """
        cells = torch.arange(self._size, dtype=torch.float32)[:, None]
        inside = (torch.arange(self._samples, dtype=torch.float32) + 0.5) / self._samples
        cell = ((high - low).clamp(min=1.0) / self._size)[:, None, None]
        at = low[:, None, None] + cells * cell + inside * cell
        last = (size - 1)[:, None, None]
        counts = (at >= -1.0) & (at <= size[:, None, None])
        at = torch.minimum(at.clamp(min=0.0), last.to(at.dtype))
        before = at.to(torch.int64)
        after = torch.minimum(before + 1, last)
        share = at - before
        places = torch.stack([before, after], dim=-1)
        weights = torch.stack([1 - share, share], dim=-1) * counts[..., None]
        return places.flatten(2), weights.flatten(2)


class _WeightedSums(torch.autograd.Function):
    """Sums of rows: [n, C] with places and weights [m, k] becomes [m, C]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(places, weights)
        ctx.count = len(rows)
        ends = torch.arange(0, places.numel() + 1, places.shape[1], dtype=torch.int32)
        return _sparse(ends, places.flatten(), weights.flatten(), len(rows)) @ rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        places, weights = ctx.saved_tensors
        targets, order = torch.sort(places.flatten(), stable=True)
        ends = torch.zeros(ctx.count + 1, dtype=torch.int32)
        ends[1:] = torch.bincount(targets, minlength=ctx.count).cumsum(0)
        sources = (order // places.shape[1]).to(torch.int32)
        transposed = _sparse(ends, sources, weights.flatten()[order], len(places))
        return transposed @ gradients[0], None, None


def _sparse(ends: Tensor, columns: Tensor, values: Tensor, width: int) -> Tensor:
    """A matrix [len(ends) - 1, width] in compressed rows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)")  # that they are new and not checked
        return torch.sparse_csr_tensor(ends, columns, values, (len(ends) - 1, width), check_invariants=False)
