"""bf16 where it is fast and harmless: in a detector's networks, not in its boxes."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from typing import Any, Iterator

import torch
from torch import Tensor, nn

__all__ = ["bf16_networks"]

# Box coordinates of 0..640 in bf16 (8 bits of mantissa) are rounded to up to 4 pixels, and
# torchvision's CPU roi_align refuses bf16: so only these parts of a detector run in it.
_PARTS = ("backbone", "rpn.head", "roi_heads.box_head", "roi_heads.box_predictor", "head")


@contextmanager
def bf16_networks(network: nn.Module) -> Iterator[None]:
    """Run a detector's heavy parts under autocast, their results handed on in fp32."""
    names = {name for name, _ in network.named_modules()}
    parts = [network.get_submodule(part) for part in _PARTS if part in names]
    for part in parts:
        part.forward = _autocast(part.forward)  # an instance attribute: hides the class's method
    try:
        yield
    finally:
        for part in parts:
            del part.forward


def _autocast(forward: Any) -> Any:
    def run(*inputs: Any) -> Any:
        device = next(tensor.device.type for tensor in _tensors(inputs))
        with torch.autocast(device, dtype=torch.bfloat16):
            return _to_fp32(forward(*inputs))

    return run


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _to_fp32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, dict):
        return OrderedDict((key, _to_fp32(item)) for key, item in value.items())
    return type(value)(_to_fp32(item) for item in value)
