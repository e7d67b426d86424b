"""Every architecture boxwright offers, as facts; nothing here imports torch."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from boxwright.runtime import InputSpec, ModelError

__all__ = ["CATALOGUE", "Architecture", "find_architecture"]


@dataclass(frozen=True)
class Architecture:
    """One row of the catalogue.

    Attributes:
        summary: for whom it is.
        image_size: default canvas (height, width), pixels.
        learning_rate: default peak, for AdamW and a batch of 4.
        coco_weights: torchvision's weights enum member of the whole detector, or None.
        backbone_weights: torchvision's weights enum member of the backbone, or None.
        coco_norm_eps: BatchNorm epsilon that the COCO weights were made with.
        backbone_norm_eps: likewise of the backbone weights.
        mean: RGB mean, of values in [0, 1], that its weights were trained with.
        std: likewise the standard deviation.
    """

    summary: str
    image_size: tuple[int, int]
    learning_rate: float
    coco_weights: str | None = None
    backbone_weights: str | None = None
    coco_norm_eps: float = 1e-5
    backbone_norm_eps: float = 1e-5
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def canvas(self, height: int, width: int, resize: str) -> InputSpec:
        """The canvas of a model of this architecture, padded with what normalises to about 0."""
        pad = tuple(round(255 * one) for one in self.mean)
        return InputSpec(height, width, resize, pad=(pad[0], pad[1], pad[2]), mean=self.mean, std=self.std)


CATALOGUE: dict[str, Architecture] = {
    "fasterrcnn_resnet50_fpn": Architecture(
        "The reference: accurate, wants a GPU to train.",
        (640, 640),
        1e-4,
        "FasterRCNN_ResNet50_FPN_Weights.COCO_V1",
        "ResNet50_Weights.IMAGENET1K_V1",
        coco_norm_eps=0.0,  # torchvision sets it so for these weights alone
    ),
    "fasterrcnn_resnet50_fpn_v2": Architecture(
        "The most accurate of these, and the slowest.",
        (640, 640),
        1e-4,
        "FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
        "ResNet50_Weights.IMAGENET1K_V1",
    ),
    "fasterrcnn_mobilenet_v3_large_fpn": Architecture(
        "Fast on a CPU.",
        (640, 640),
        2e-4,
        "FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1",
        "MobileNet_V3_Large_Weights.IMAGENET1K_V1",
        backbone_norm_eps=1e-3,  # as torchvision's classifier has it; its detectors do not
    ),
    "fasterrcnn_mobilenet_v3_large_320_fpn": Architecture(
        "The fastest on a CPU; large objects.",
        (320, 320),
        2e-4,
        "FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1",
        "MobileNet_V3_Large_Weights.IMAGENET1K_V1",
        backbone_norm_eps=1e-3,  # as torchvision's classifier has it; its detectors do not
    ),
    "fasterrcnn_mobilenet_v2_fpn": Architecture(
        "Trains on a CPU; small objects too.",
        (416, 416),
        3e-4,
        None,
        "MobileNet_V2_Weights.IMAGENET1K_V1",
    ),
    "fasterrcnn_tiny_fpn": Architecture(
        "Learns simple shapes from scratch in a minute; the demo's.",
        (192, 192),
        3e-3,
    ),
    "ssdlite320_mobilenet_v3_large": Architecture(
        "One stage, tiny; a small processor, large objects.",
        (320, 320),
        5e-4,
        "SSDLite320_MobileNet_V3_Large_Weights.COCO_V1",
        None,  # torchvision's cuts the backbone in other places
        coco_norm_eps=1e-3,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
}
"""Architectures by name."""


def find_architecture(name: str) -> Architecture:
    """The row of an architecture.

    Raises:
        ModelError: unknown; the nearest known name is given.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.4)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(CATALOGUE)}."
    raise ModelError(f"Model {name!r} is unknown.", hint)
