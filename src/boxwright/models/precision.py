"""bf16 where it is fast and harmless: in the networks, not in the boxes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["Precision", "resolve_precision"]

# Box coordinates of 0..640 in bf16 (8 bits of mantissa) are rounded to up to 4 pixels, and
# torchvision's CPU roi_align refuses bf16: so only these parts of a detector run in it.
_PARTS = ("backbone", "rpn.head", "roi_heads.box_head", "roi_heads.box_predictor")


def resolve_precision(wanted: str, device: str) -> Literal["fp32", "bf16"]:
    """``auto`` to bf16 where the hardware multiplies in it, else fp32.

    Args:
        wanted: ``auto``, ``fp32`` or ``bf16``.
        device: ``cpu`` or ``cuda``.
    """
    if wanted == "auto":
        return "bf16" if _has_bf16(device) else "fp32"
    return "bf16" if wanted == "bf16" else "fp32"


def _has_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class Precision:
    """A precision to train the networks in.

    Args:
        name: ``fp32`` or ``bf16``.
    """

    def __init__(self, name: Literal["fp32", "bf16"]) -> None:
        self.name = name

    @contextmanager
    def applied_to(self, network: nn.Module) -> Iterator[None]:
        """Run the detector's heavy parts under autocast, their results handed on in fp32."""
        parts = [network.get_submodule(part) for part in _PARTS] if self.name == "bf16" else []
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
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _to_fp32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, dict):
        return OrderedDict((key, _to_fp32(item)) for key, item in value.items())
    return type(value)(_to_fp32(item) for item in value)
