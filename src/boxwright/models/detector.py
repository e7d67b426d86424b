"""One protocol over all architectures, and its torchvision adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from boxwright.runtime import Detections, ModelSpec
from boxwright.runtime.networks import build_network, detections_from_output

from .precision import Precision

__all__ = ["Detector", "TorchvisionDetector"]


class Detector(Protocol):
    """What training and evaluation ask of a model; label offsets and box conventions stay behind it."""

    @property
    def network(self) -> nn.Module:
        """Holds the parameters; its state dict is what is saved, packed and served."""

    def losses(self, canvases: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Named scalar losses of a batch; their sum is trained on.

        Args:
            canvases: uint8 [N, 3, H, W].
            boxes: N of float32 [n, 4], xyxy, canvas pixels; n may be 0.
            labels: N of int64 [n], class indices 0..K-1.
        """

    def detect(self, canvases: Tensor) -> list[Detections]:
        """Detections of uint8 [N, 3, H, W], in canvas pixels, down to the score floor, in fp32."""


class TorchvisionDetector:
    """A torchvision detector, of one stage or two.

    Args:
        spec: what to build.
        precision: of the networks while training; boxes are always decoded, and detections made, in fp32.
    """

    def __init__(self, spec: ModelSpec, precision: Precision | None = None) -> None:
        self._network = build_network(spec)
        self._precision = precision or Precision("fp32")

    @property
    def network(self) -> nn.Module:
        """The torchvision module."""
        return self._network

    def losses(self, canvases: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Torchvision's losses, each with a name that begins with ``loss_``; see ``Detector.losses``."""
        pairs = zip(boxes, labels, strict=True)
        # torchvision's label 0 is the background
        targets = [{"boxes": own.reshape(-1, 4), "labels": label + 1} for own, label in pairs]
        with self._precision.applied_to(self._network):
            losses = cast(dict[str, Tensor], self._network(canvases, targets))
        return {name if name.startswith("loss_") else f"loss_{name}": value for name, value in losses.items()}

    def detect(self, canvases: Tensor) -> list[Detections]:
        """See ``Detector.detect``; the network's mode is restored."""
        with _evaluating(self._network), torch.inference_mode():
            return [detections_from_output(output) for output in self._network(canvases)]


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
