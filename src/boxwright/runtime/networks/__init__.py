"""Builds networks, untrained, and reads what they answer.

This package says how each network is put together: training, evaluation, the server and the archive inside
TorchServe all build through ``build_network``. It needs torch and torchvision (0.19 or newer), so nothing imports it
before a network is wanted; what one family alone needs is imported when a network of it is built. A family of
architectures is one module.

Shapes: N pictures, H x W the canvas, K classes without background.
"""

from __future__ import annotations

from typing import Dict

import torch
from torch import nn

from ..errors import ModelError
from ..spec import ModelSpec
from .base import NetworkFamily
from .single_stage import SINGLE_STAGE
from .transformers_detectors import TRANSFORMERS
from .two_stage import TWO_STAGE

__all__ = ["ARCHITECTURES", "NetworkFamily", "build_network", "network_family"]

ARCHITECTURES: Dict[str, NetworkFamily] = {
    name: family for family in (TWO_STAGE, SINGLE_STAGE, TRANSFORMERS) for name in family.builders
}
"""The family of each architecture, by catalogue key."""


def network_family(architecture: str) -> NetworkFamily:
    """The family of an architecture.

    Raises:
        ModelError: the architecture is unknown here.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(f"Architecture {architecture!r} is unknown.", f"Known: {', '.join(sorted(ARCHITECTURES))}.")
    return ARCHITECTURES[architecture]


def build_network(spec: ModelSpec) -> nn.Module:
    """The untrained network of a specification, its state dict compatible with its library's.

    Called with uint8 [N, 3, H, W] it returns, in eval mode, what its family's ``detections`` reads; in training mode,
    and with targets, a dict of losses.

    Raises:
        ModelError: the architecture is unknown here, or cannot be built as the specification says.
        ConfigError: the canvas is too small for it.
        MissingDependency: the library that it is built from is not installed.
    """
    network = network_family(spec.architecture).builders[spec.architecture](spec)
    if "norm_eps" in spec.network:
        _set_norm_eps(network, float(spec.network["norm_eps"]))
    channels_last: nn.Module = network.to(memory_format=torch.channels_last)
    return channels_last


def _set_norm_eps(network: nn.Module, eps: float) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps
