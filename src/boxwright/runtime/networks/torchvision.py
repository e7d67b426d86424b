"""What all of torchvision's detectors have in common: they take canvases, and count labels from 1."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from ..detections import Detections
from ..spec import InputSpec, ModelSpec

__all__ = [
    "DETECTIONS_PER_PICTURE",
    "SCORE_FLOOR",
    "CanvasTransform",
    "builder",
    "detections_from_output",
    "detections_from_outputs",
]

# torchvision cuts at 0.05 or higher. The F2 curve needs what lies below it: early in training the best
# threshold often does.
SCORE_FLOOR = 0.01
DETECTIONS_PER_PICTURE = 100  # COCO's maxDets


class CanvasTransform(nn.Module):
    """Takes the place of torchvision's GeneralizedRCNNTransform: canvases arrive resized and padded.

    Only scaling and normalising are left to do, so that they are part of every exported graph.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.register_buffer("mean", _per_channel(spec.mean), persistent=False)
        self.register_buffer("std", _per_channel(spec.std), persistent=False)

    def forward(
        self, images: Tensor, targets: Optional[List[Dict[str, Tensor]]] = None
    ) -> Tuple[ImageList, Optional[List[Dict[str, Tensor]]]]:
        """uint8 [N, 3, H, W] in 0..255 to normalised float32 [N, 3, H, W]; targets pass unchanged."""
        batch = self.normalized(images).contiguous(memory_format=torch.channels_last)
        size = (int(batch.shape[2]), int(batch.shape[3]))
        return ImageList(batch, [size] * int(batch.shape[0])), targets

    def normalized(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] in 0..255 to float32 with the mean taken off and divided by the deviation."""
        return images.to(torch.float32).div_(255.0).sub_(self.mean).div_(self.std)

    def postprocess(
        self, result: List[Dict[str, Tensor]], image_shapes: object, original_image_sizes: object
    ) -> List[Dict[str, Tensor]]:
        """Boxes stay in canvas pixels: the inverse geometry is runtime.postprocess, on every backend."""
        return result


def _per_channel(values: Tuple[float, float, float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1)


def builder(build: Callable[..., nn.Module], **options: Any) -> Callable[[ModelSpec], nn.Module]:
    """Makes a builder of ``NetworkFamily`` from one of torchvision's kind.

    Args:
        build: takes ``num_classes``, the background included, and ``options``; returns one of torchvision's detectors.
        options: handed on.
    """

    def build_for(spec: ModelSpec) -> nn.Module:
        network = build(num_classes=len(spec.classes) + 1, **options)  # label 0 is the background
        network.transform = CanvasTransform(spec.input)
        return network

    return build_for


def detections_from_output(output: Mapping[str, Tensor]) -> Detections:
    """One picture's answer of a torchvision detector, in canvas pixels; labels 1..K become class indices 0..K-1."""
    return Detections(
        output["boxes"].float().cpu().numpy(),
        output["scores"].float().cpu().numpy(),
        output["labels"].cpu().numpy() - 1,
    )


def detections_from_outputs(outputs: List[Dict[str, Tensor]]) -> List[Detections]:
    """The answer to a batch; see ``detections_from_output``."""
    return [detections_from_output(output) for output in outputs]
