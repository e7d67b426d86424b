"""A network with its family: what training asks of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from boxwright.host.machine import has_bf16
from boxwright.runtime import Detections, ModelSpec
from boxwright.runtime.networks import build_network, network_family

from .catalogue import find_architecture, find_family
from .family import ParameterGroup
from .sharing import Share

__all__ = ["Detector", "resolve_precision"]


class Detector:
    """A new network; label offsets and box conventions stay behind it.

    Args:
        spec: what to build.
        precision: ``fp32`` or ``bf16``, of the network's heavy parts while training; boxes are always decoded, and
            detections made, in fp32.

    Attributes:
        network: holds the parameters; its state dict is what is saved, packed and served.
        family: of its architecture.
    """

    def __init__(self, spec: ModelSpec, precision: str = "fp32") -> None:
        self.family = find_family(spec.architecture)
        self.network = build_network(spec)
        self._row = find_architecture(spec.architecture)
        self._precision = precision

    def losses(
        self, canvases: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], share: Share | None = None
    ) -> dict[str, Tensor]:
        """Named scalar losses of a batch, or of this process's share of it; see ``Family.losses``."""
        with network_family(self._row.name).in_precision(self.network, self._precision):
            return self.family.losses(self.network, canvases, boxes, labels, share)

    def detect(self, canvases: Tensor) -> list[Detections]:
        """Detections of uint8 [N, 3, H, W]; see ``Family.detect``. The network's mode is restored."""
        with _evaluating(self.network), torch.inference_mode():
            return self.family.detect(self.network, canvases)

    def parameter_groups(self, backbone_rate: float | None = None, layer_decay: float = 1.0) -> list[ParameterGroup]:
        """The parameters that learn, by learning rate; see ``Family.parameter_groups``.

        Args:
            backbone_rate: None for the architecture's.
            layer_decay: see there.
        """
        rate = self._row.backbone_rate if backbone_rate is None else backbone_rate
        return self.family.parameter_groups(self.network, rate, layer_decay)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def resolve_precision(wanted: str, device: str) -> Literal["fp32", "bf16"]:
    """``auto`` to bf16 where the hardware multiplies in it, else fp32.

    Args:
        wanted: ``auto``, ``fp32`` or ``bf16``.
        device: ``cpu`` or ``cuda``.
    """
    if wanted == "auto":
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if device == "cuda" else has_bf16()
        return "bf16" if fast else "fp32"
    return "bf16" if wanted == "bf16" else "fp32"
