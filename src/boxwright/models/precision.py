"""The precision a detector's networks train in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from boxwright.runtime.networks.autocast import bf16_networks

__all__ = ["Precision", "resolve_precision"]


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

    def applied_to(self, network: nn.Module) -> AbstractContextManager[None]:
        """Run the detector's heavy parts in it, their results handed on in fp32."""
        return bf16_networks(network) if self.name == "bf16" else nullcontext()
