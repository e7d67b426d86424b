"""SSD, RetinaNet and FCOS as ONNX graphs: the networks from the exporter, everything about boxes written by hand.

See ``two_stage_graph``. Shapes: N pictures, H x W the canvas, n anchors, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD

from boxwright.runtime import ModelSpec

from .family import GraphPlan
from .onnx_boxes import NOTHING, Suppression, best_of_classes, best_of_labelled, clip, decode, decode_distances
from .onnx_graph import GraphWriter, name_last_layers

__all__ = ["plan_single_stage"]

_ANSWERS = ("cls_logits", "bbox_regression", "bbox_ctrness")


def plan_single_stage(network: nn.Module, spec: ModelSpec) -> GraphPlan:
    """See ``Family.graph_plan``."""
    fixed = _Fixed.of(network, spec)
    example = torch.zeros(2, 3, fixed.height, fixed.width, dtype=torch.uint8)

    def write(graph: ir.Graph) -> dict[str, ir.Value]:
        answers = list(graph.outputs)
        name_last_layers(answers)
        return _WRITERS[type(network)](GraphWriter(graph), fixed, answers)

    return GraphPlan(_Networks(network), (example,), ("pictures",), write)


class _Networks(nn.Module):
    """Backbone and heads of a detector.

    Args:
        network: in eval mode.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        """uint8 [N, 3, H, W] to class logits [N, n, K+1], box regression [N, n, 4] and, of FCOS, centredness."""
        features = self.network.backbone(self.network.transform.normalized(images))
        answers = self.network.head.forward(list(features.values()))  # what its hook hides is not read here
        return [answers[name] for name in _ANSWERS if name in answers]


@dataclass(frozen=True)
class _Fixed:
    """What is fixed about a network on its canvas.

    Attributes:
        network: in eval mode.
        height: of the canvas.
        width: of the canvas.
        anchors: float32 [n, 4].
        levels: how many anchors each pyramid level has.
        classes: K.
    """

    network: Any
    height: int
    width: int
    anchors: NDArray[np.float32]
    levels: tuple[int, ...]
    classes: int

    @classmethod
    def of(cls, network: Any, spec: ModelSpec) -> _Fixed:
        """Run the backbone once on an empty canvas."""
        height, width = spec.input.height, spec.input.width
        canvas = torch.zeros(1, 3, height, width, dtype=torch.uint8)
        with torch.inference_mode():
            features = list(network.backbone(network.transform(canvas)[0].tensors).values())
            (anchors,) = network.anchor_generator(ImageList(canvas, [(height, width)]), features)
        per_place = network.anchor_generator.num_anchors_per_location()
        levels = tuple(one.shape[2] * one.shape[3] * count for one, count in zip(features, per_place, strict=True))
        return cls(network, height, width, anchors.numpy(), levels, len(spec.classes))

    @property
    def suppression(self) -> Suppression:
        """Within classes."""
        return Suppression(self.network.nms_thresh, int(self.network.detections_per_img))


def _write_ssd(write: GraphWriter, fixed: _Fixed, answers: Sequence[ir.Value]) -> dict[str, ir.Value]:
    """As ``SSD.postprocess_detections``."""
    (logits, regression), network = answers, fixed.network
    moved = decode(write, regression, write.constant(fixed.anchors), network.box_coder)
    boxes = clip(write, moved, fixed.height, fixed.width)
    scores = write("Transpose", _foreground(write, fixed, write("Softmax", logits, axis=-1)), perm=[0, 2, 1])
    count = min(int(network.topk_candidates), len(fixed.anchors))
    best, places = write.top(_likely(write, fixed, scores), count)
    chosen = write.gather_rows(boxes, write.reshape(places, -1, fixed.classes * count))
    by_class = write.reshape(chosen, -1, fixed.classes, count, 4)
    return best_of_classes(write, by_class, best, (fixed.classes, count), fixed.suppression)


def _write_retinanet(write: GraphWriter, fixed: _Fixed, answers: Sequence[ir.Value]) -> dict[str, ir.Value]:
    """As ``RetinaNet.postprocess_detections``."""
    logits, regression = answers
    coder = fixed.network.box_coder
    scores = write("Sigmoid", _foreground(write, fixed, logits))
    return _best_of_levels(write, fixed, scores, regression, lambda deltas, own: decode(write, deltas, own, coder))


def _write_fcos(write: GraphWriter, fixed: _Fixed, answers: Sequence[ir.Value]) -> dict[str, ir.Value]:
    """As ``FCOS.postprocess_detections``."""
    logits, regression, centredness = answers
    likely = write("Sigmoid", _foreground(write, fixed, logits))
    scores = write("Sqrt", write("Mul", likely, write("Sigmoid", centredness)))
    return _best_of_levels(write, fixed, scores, regression, lambda far, own: decode_distances(write, far, own))


_WRITERS: dict[type[nn.Module], Callable[[GraphWriter, _Fixed, Sequence[ir.Value]], dict[str, ir.Value]]] = {
    SSD: _write_ssd,
    RetinaNet: _write_retinanet,
    FCOS: _write_fcos,
}


def _foreground(write: GraphWriter, fixed: _Fixed, by_label: ir.Value) -> ir.Value:
    """Of [N, n, K+1] all but the background's."""
    return write.slice(by_label, 1, fixed.classes + 1, -1)


def _likely(write: GraphWriter, fixed: _Fixed, scores: ir.Value) -> ir.Value:
    """Scores, ``NOTHING`` where they are too low."""
    return write.where(write("Greater", scores, write.constant(fixed.network.score_thresh)), scores, NOTHING)


def _best_of_levels(
    write: GraphWriter,
    fixed: _Fixed,
    scores: ir.Value,
    regression: ir.Value,
    decoded: Callable[[ir.Value, ir.Value], ir.Value],
) -> dict[str, ir.Value]:
    """Detections out of each level's best pairs of anchor and class.

    Args:
        write: onto.
        fixed: of the network.
        scores: float32 [N, n, K].
        regression: float32 [N, n, 4].
        decoded: boxes [N, k, 4] of regression and anchors, both [N, k, 4].
    """
    classes, anchors = write.constant(fixed.classes, np.int64), write.constant(fixed.anchors)
    rated, labelled, rows, start, taken = [], [], [], 0, 0
    for size in fixed.levels:
        count = min(int(fixed.network.topk_candidates), size * fixed.classes)
        own = write.reshape(write.slice(scores, start, start + size, 1), -1, size * fixed.classes)
        best, places = write.top(_likely(write, fixed, own), count)
        rated.append(best)
        labelled.append(write("Mod", places, classes))
        rows.append(write("Add", write("Div", places, classes), write.constant(start, np.int64)))
        start, taken = start + size, taken + count
    chosen = write("Concat", *rows, axis=1)
    moved = decoded(write.gather_rows(regression, chosen), write("Gather", anchors, chosen, axis=0))
    boxes = clip(write, moved, fixed.height, fixed.width)
    detections = (write("Concat", *rated, axis=1), write("Concat", *labelled, axis=1))
    return best_of_labelled(write, boxes, detections, (fixed.classes, taken), fixed.suppression)
