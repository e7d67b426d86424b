"""SSD as an ONNX graph: the network from the exporter, everything about boxes written by hand; see ``two_stage``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD

from .onnx_boxes import NOTHING, best_of_classes, clip, decode
from .onnx_graph import GraphWriter, name_last_layers

__all__ = ["SingleStageNetworks", "SingleStagePlan", "write_single_stage"]


class SingleStageNetworks(nn.Module):
    """Backbone and heads of an SSD.

    Args:
        network: in eval mode.
    """

    def __init__(self, network: SSD) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, 3, H, W] to class logits [N, n, K+1] and box regression [N, n, 4]."""
        features = self.network.backbone(self.network.transform.normalized(images))
        answers = self.network.head(list(features.values()))
        return answers["cls_logits"], answers["bbox_regression"]


@dataclass(frozen=True)
class SingleStagePlan:
    """What is fixed about a network on its canvas.

    Attributes:
        network: in eval mode.
        height: of the canvas.
        width: of the canvas.
        anchors: float32 [n, 4].
        classes: K.
    """

    network: SSD
    height: int
    width: int
    anchors: NDArray[np.float32]
    classes: int

    @classmethod
    def of(cls, network: SSD, height: int, width: int, classes: int) -> SingleStagePlan:
        """Run the backbone once on an empty canvas."""
        canvas = torch.zeros(1, 3, height, width, dtype=torch.uint8)
        with torch.inference_mode():
            features = list(network.backbone(network.transform(canvas)[0].tensors).values())
            (anchors,) = network.anchor_generator(ImageList(canvas, [(height, width)]), features)
        return cls(network, height, width, anchors.numpy(), classes)

    def example(self) -> tuple[Tensor]:
        """The input to trace with; its first size is free."""
        return (torch.zeros(2, 3, self.height, self.width, dtype=torch.uint8),)


def write_single_stage(graph: ir.Graph, plan: SingleStagePlan) -> dict[str, ir.Value]:
    """Turn what the exported network says into detections, as ``SSD.postprocess_detections`` does.

    Args:
        graph: of ``SingleStageNetworks``.
        plan: of the same network.

    Returns:
        ``boxes``, ``scores`` and ``labels``; see ``best_of_classes``.
    """
    write, network = GraphWriter(graph), plan.network
    name_last_layers(graph.outputs)
    logits, regression = graph.outputs
    coder = network.box_coder
    moved = decode(write, regression, write.constant(plan.anchors), coder.weights, coder.bbox_xform_clip)
    boxes = clip(write, moved, plan.height, plan.width)
    likely = write.slice(write("Softmax", logits, axis=-1), 1, plan.classes + 1, -1)
    scores = write("Transpose", likely, perm=[0, 2, 1])
    scores = write.where(write("Greater", scores, write.constant(network.score_thresh)), scores, NOTHING)
    count = min(int(network.topk_candidates), len(plan.anchors))
    best, places = write.top(scores, count)
    chosen = write.gather_rows(boxes, write.reshape(places, -1, plan.classes * count))
    by_class = write.reshape(chosen, -1, plan.classes, count, 4)
    most = int(network.detections_per_img)
    return best_of_classes(write, by_class, best, count, plan.classes, network.nms_thresh, most)
