"""Losses of transformers' detectors, of a batch that several processes have parts of.

The distillation of matched queries (D-FINE), the union of the layers' matches (DEIM) and the number of noisy groups
depend on all pictures of a batch, so every process computes the losses of the whole batch, from everyone's answers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn

from .sharing import Share, SharedDropout

__all__ = ["computed_together"]

_NOISE = "get_contrastive_denoising_training_group"
_POSITIVE = "dn_positive_idx"
_LAYERED = 4  # dimensions of answers of several layers


@contextmanager
def computed_together(network: nn.Module, share: Share, layers_first: bool) -> Iterator[None]:
    """Let every process compute the losses of the whole batch within the block.

    Args:
        network: with transformers' as ``network``, in training mode.
        share: of the batch.
        layers_first: whether answers of several layers have the layer before the picture.
    """
    detector = cast(Any, network).network
    module: Any = sys.modules[type(detector.model).__module__]
    plain_loss, plain_noise = detector.loss_function, cast(Any, getattr(module, _NOISE, None))
    noise: dict[str, Any] = {}

    def gathered(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return share.gathered(value, 1 if layers_first and value.ndim == _LAYERED else 0)

    def losses(logits: Tensor, labels: list[Any], *others: Any, **named: Any) -> Any:
        everyones = share.listed(labels)
        if "denoising_meta_values" in named:
            named["denoising_meta_values"] = noise.get("meta")
        rest = {name: gathered(value) for name, value in named.items()}
        total, parts, auxiliary = plain_loss(gathered(logits), everyones, *map(gathered, others), **rest)
        return share.part(total), {name: share.part(value) for name, value in parts.items()}, auxiliary

    def noisy(targets: list[Any], *others: Any, **named: Any) -> Any:
        classes, boxes, mask, meta = plain_noise(share.listed(targets), *others, **named)
        noise["meta"] = meta
        if classes is None:  # no picture of the batch has an object
            return None, None, None, None
        rows = [share.own(value) for value in (classes, boxes)]
        return *rows, mask, {**meta, _POSITIVE: share.own(meta[_POSITIVE])}

    detector.loss_function = losses
    if plain_noise is not None:
        setattr(module, _NOISE, noisy)
    try:
        with SharedDropout(share):
            yield
    finally:
        detector.loss_function = plain_loss
        if plain_noise is not None:
            setattr(module, _NOISE, plain_noise)
