"""What two-stage detectors sample in training: of each picture the same, whatever is computed beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from .sharing import Share

__all__ = ["Samples", "sampling"]

_Sampler = Callable[[list[Tensor]], tuple[list[Tensor], list[Tensor]]]
_MIX = 0x9E3779B97F4A7C15  # of SplitMix64: spreads neighbouring numbers
_SEEDS = 2**63


class Samples:
    """How many anchors and boxes a step has sampled, and so how much a process's means weigh.

    Args:
        share: of the batch; None for all of it.
    """

    def __init__(self, share: Share | None) -> None:
        self._share = share
        self._counts: dict[str, Tensor] = {}

    def seeded(self, part: str, sampler: _Sampler) -> _Sampler:
        """A sampler that draws for each picture from its own random numbers: those of the step and its place."""
        base, first = torch.initial_seed(), self._share.first if self._share else 0

        def sample(matches: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
            hits: list[Tensor] = []
            misses: list[Tensor] = []
            for place, one in enumerate(matches, first):
                torch.manual_seed((base + (2 * place + (part == "rpn") + 1) * _MIX) % _SEEDS)
                hit, miss = sampler([one])
                hits += hit
                misses += miss
            self._counts[part] = torch.stack([one.sum() for one in (*hits, *misses)]).sum().double()
            return hits, misses

        return sample

    def shared(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This process's part of each loss, which is a mean over what was sampled; the parts add up to the batch's."""
        if self._share is None:
            return dict(losses)
        own = torch.stack([self._counts["rpn"], self._counts["roi"]]) * (self._share.size > 0)
        weights = (own / self._share.total(own).clamp(min=1)).float()
        return {
            name: value * weights[0 if "rpn" in name or "objectness" in name else 1] for name, value in losses.items()
        }


@contextmanager
def sampling(network: nn.Module, share: Share | None) -> Iterator[Samples]:
    """Sample per picture within the block, in torchvision's Faster R-CNN.

    Args:
        network: in training mode.
        share: of the batch; None for all of it.
    """
    samples = Samples(share)
    parts: dict[str, Any] = {"rpn": cast(Any, network).rpn, "roi": cast(Any, network).roi_heads}
    plain = {name: part.fg_bg_sampler for name, part in parts.items()}
    for name, part in parts.items():
        part.fg_bg_sampler = samples.seeded(name, plain[name])
    try:
        yield samples
    finally:
        for name, part in parts.items():
            part.fg_bg_sampler = plain[name]
