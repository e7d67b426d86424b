"""Faster R-CNN as an ONNX graph: the networks from the exporter, everything about boxes written by hand.

``torch.export`` cannot trace torchvision's own code between the networks, where sizes depend on the picture; it is
written here with fixed shapes, and held to torchvision by tests.

Shapes: N pictures, H x W the canvas, L pyramid levels that proposals come from, P proposals per picture, C channels,
S x S a pooled box, K classes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.image_list import ImageList

from boxwright.runtime import ModelSpec

from .family import GraphPlan
from .onnx_boxes import NOTHING, Suppression, best_of_classes, clip, decode, survivors, without_small
from .onnx_graph import GraphWriter, name_last_layers

__all__ = ["plan_two_stage"]

_LEAST_SIDE = 1e-2  # torchvision's RoIHeads.postprocess_detections


def plan_two_stage(network: FasterRCNN, spec: ModelSpec) -> GraphPlan:
    """See ``Family.graph_plan``."""
    fixed = _Fixed.of(network, spec.input.height, spec.input.width)
    return GraphPlan(_Networks(network), fixed.example(), ("pictures", "proposals"), lambda graph: _write(graph, fixed))


class _Networks(nn.Module):
    """The networks of a Faster R-CNN, side by side: body, pyramid and proposal head; box head and predictor.

    Args:
        network: in eval mode.
    """

    def __init__(self, network: FasterRCNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, pooled: Tensor) -> dict[str, Any]:
        """Both halves.

        Args:
            images: uint8 [N, 3, H, W].
            pooled: float32 [M, C, S, S].

        Returns:
            ``features``: the levels boxes are pooled from, [N, C, h, w] each; ``objectness``: L of [N, n];
            ``deltas``: L of [N, n, 4]; ``logits`` [M, K+1]; ``regression`` [M, 4(K+1)].
        """
        features = self.network.backbone(self.network.transform.normalized(images))
        objectness, deltas = self.network.rpn.head(list(features.values()))
        roi_heads = self.network.roi_heads
        logits, regression = roi_heads.box_predictor(roi_heads.box_head(pooled))
        return {
            "features": [features[name] for name in roi_heads.box_roi_pool.featmap_names if name in features],
            "objectness": [_by_anchor(level, 1).flatten(1) for level in objectness],
            "deltas": [_by_anchor(level, 4) for level in deltas],
            "logits": logits,
            "regression": regression,
        }


def _by_anchor(level: Tensor, size: int) -> Tensor:
    """[N, A size, h, w] to [N, h w A, size], in the order of the anchors."""
    batch, channels, height, width = level.shape
    anchors = channels // size
    split = level.reshape(batch, anchors, size, height, width).permute(0, 3, 4, 1, 2)
    return split.reshape(batch, height * width * anchors, size)


@dataclass(frozen=True)
class _Fixed:
    """What is fixed about a network on its canvas.

    Attributes:
        network: in eval mode.
        height: of the canvas.
        width: of the canvas.
        anchors: L of float32 [n, 4].
        pools: levels that the networks' answer holds to pool from.
        scales: of the first of these, which are used, pixels there per canvas pixel.
        channels: C.
    """

    network: FasterRCNN
    height: int
    width: int
    anchors: tuple[NDArray[np.float32], ...]
    pools: int
    scales: tuple[float, ...]
    channels: int

    @classmethod
    def of(cls, network: FasterRCNN, height: int, width: int) -> _Fixed:
        """Run the body once on an empty canvas."""
        canvas = torch.zeros(1, 3, height, width, dtype=torch.uint8)
        with torch.inference_mode():
            features = network.backbone(network.transform(canvas)[0].tensors)
            levels = list(features.values())
            (every,) = network.rpn.anchor_generator(ImageList(canvas, [(height, width)]), levels)
            objectness, _ = network.rpn.head(levels)  # of the levels it looks at
        counts = [one[0].numel() for one in objectness]
        pooled = [features[name] for name in network.roi_heads.box_roi_pool.featmap_names if name in features]
        # powers of two, as MultiScaleRoIAlign takes them; where two levels have one stride, it never uses the second
        scales = tuple(dict.fromkeys(2.0 ** round(math.log2(one.shape[2] / height)) for one in pooled))
        anchors = tuple(level.numpy() for level in every.split(counts))
        return cls(network, height, width, anchors, len(pooled), scales, int(pooled[0].shape[1]))

    @property
    def candidates(self) -> int:
        """Boxes of a level that go into suppression."""
        return max(min(int(self.network.rpn.pre_nms_top_n()), len(level)) for level in self.anchors)

    @property
    def proposals(self) -> int:
        """P."""
        return min(int(self.network.rpn.post_nms_top_n()), self.candidates * len(self.anchors))

    @property
    def pooled_side(self) -> int:
        """S."""
        return int(self.network.roi_heads.box_roi_pool.output_size[0])

    def example(self) -> tuple[Tensor, Tensor]:
        """Inputs of ``_Networks`` to trace with; both first sizes are free."""
        canvases = torch.zeros(2, 3, self.height, self.width, dtype=torch.uint8)
        return canvases, torch.zeros(3, self.channels, self.pooled_side, self.pooled_side)


def _write(graph: ir.Graph, plan: _Fixed) -> dict[str, ir.Value]:
    """Connect the exported halves and turn their answers into detections.

    Args:
        graph: of ``_Networks``, its outputs in that module's order; afterwards its second input is unused.
        plan: of the same network.

    Returns:
        ``boxes``, ``scores`` and ``labels``; see ``best_of_classes``.
    """
    write = GraphWriter(graph)
    outputs = list(graph.outputs)
    name_last_layers(outputs[plan.pools :])
    pools, levels = plan.pools, len(plan.anchors)
    features, objectness = outputs[: len(plan.scales)], outputs[pools : pools + levels]
    deltas, (logits, regression) = outputs[pools + levels : pools + 2 * levels], outputs[-2:]
    proposals, scores = _proposals(write, plan, objectness, deltas)
    pooled, boxes, places = _pooled(write, plan, features, proposals, scores)
    graph.inputs[1].replace_all_uses_with(pooled)
    boxes, logits, regression = (write("Gather", one, places, axis=0) for one in (boxes, logits, regression))
    return _detections(write, plan, write.reshape(boxes, -1, plan.proposals, 4), scores, logits, regression)


def _proposals(
    write: GraphWriter, plan: _Fixed, objectness: list[ir.Value], deltas: list[ir.Value]
) -> tuple[ir.Value, ir.Value]:
    """Boxes [N, P, 4] and their scores [N, P], as ``RegionProposalNetwork.filter_proposals`` chooses them."""
    levels = [_candidates(write, plan, *level) for level in zip(objectness, deltas, plan.anchors, strict=True)]
    boxes = write("Concat", *(one for one, _ in levels), axis=1)
    scores = write("Concat", *(one for _, one in levels), axis=1)
    groups = (write.reshape(boxes, -1, plan.candidates, 4), write.reshape(scores, -1, 1, plan.candidates))
    within = Suppression(plan.network.rpn.nms_thresh, min(plan.proposals, plan.candidates))
    kept = survivors(write, *groups, within)
    best, places = write.top(write.reshape(kept, -1, plan.candidates * len(plan.anchors)), plan.proposals)
    return write.gather_rows(boxes, places), best


def _candidates(
    write: GraphWriter, plan: _Fixed, objectness: ir.Value, deltas: ir.Value, anchors: NDArray[np.float32]
) -> tuple[ir.Value, ir.Value]:
    """A level's likeliest boxes [N, n, 4] and their scores [N, n], n the same for all levels."""
    rpn = plan.network.rpn
    count = min(plan.candidates, len(anchors))
    best, places = write.top(objectness, count)
    own = write("Gather", write.constant(anchors), places, axis=0)
    offsets = write.gather_rows(deltas, places)
    moved = decode(write, offsets, own, rpn.box_coder)
    boxes = clip(write, moved, plan.height, plan.width)
    likely = write("Sigmoid", best)
    scores = write.where(write("GreaterOrEqual", likely, write.constant(rpn.score_thresh)), likely, NOTHING)
    scores = without_small(write, scores, boxes, rpn.min_size)
    missing = plan.candidates - count
    return _filled(write, boxes, [0, missing, 0], 0.0), _filled(write, scores, [0, missing], NOTHING)


def _filled(write: GraphWriter, value: ir.Value, after: list[int], number: float) -> ir.Value:
    """Filled up at the ends of its axes."""
    if not any(after):
        return value
    return write("Pad", value, write.shape(*[0] * len(after), *after), write.constant(number))


def _pooled(
    write: GraphWriter, plan: _Fixed, features: list[ir.Value], proposals: ir.Value, rated: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Pooled boxes [M, C, S, S] by pyramid level, their edges [M, 4], and where each proposal [N P] is among them.

    The box head takes them in any order, so only its small answers are brought back into the proposals' order. It is
    spared places that hold no proposal, of which a proposal head with a score threshold leaves many; these get the
    answers of another, and their score keeps them out. The first is never spared: no runtime meets an empty batch.

    The edges are brought back too, though the proposals are the same numbers: asked for bf16, OpenVINO computes in it
    whatever leads to an answer through a network alone, and rounded edges are off by up to two pixels.
    """
    boxes = write.reshape(proposals, -1, 4)
    one, zero = write.constant(1, np.int64), write.constant(0, np.int64)
    rows = write("Range", zero, write("Squeeze", write.slice(write("Shape", boxes), 0, 1, 0)), one)
    pictures = write("Div", rows, write.constant(plan.proposals, np.int64))
    there = write("GreaterOrEqual", write.reshape(rated, -1), write.constant(0.0))
    needed = write("Or", there, write("Equal", rows, zero))
    pooled, sorted_boxes, sorted_rows = [], [], []
    for here, feature, scale in zip(_levels(write, plan, boxes), features, plan.scales, strict=True):
        own = write.reshape(write("NonZero", write("And", needed, here)), -1)
        own_boxes, own_pictures = (write("Gather", table, own, axis=0) for table in (boxes, pictures))
        pooled.append(_align(write, plan, feature, own_boxes, own_pictures, scale))
        sorted_boxes.append(own_boxes)
        sorted_rows.append(own)
    in_order = write("Concat", *sorted_rows, axis=0)
    among = write("Range", zero, write("Squeeze", write("Shape", in_order)), one)
    places = write("ScatterElements", write("Mul", rows, zero), in_order, among, axis=0)
    return write("Concat", *pooled, axis=0), write("Concat", *sorted_boxes, axis=0), places


def _levels(write: GraphWriter, plan: _Fixed, boxes: ir.Value) -> list[ir.Value]:
    """Bool [n] per level: which boxes [n, 4] are pooled from it; equation 1 of Lin et al. (2017), as comparisons."""
    pool = plan.network.roi_heads.box_roi_pool
    sides = write("Sub", write.slice(boxes, 2, 4, -1), write.slice(boxes, 0, 2, -1))
    area = write("ReduceProd", sides, write.shape(-1), keepdims=0)
    finest, coarsest = (round(-math.log2(scale)) for scale in (plan.scales[0], plan.scales[-1]))
    eps = 1e-6  # torchvision's LevelMapper
    steps = range(finest + 1, coarsest + 1)
    limits = [(pool.canonical_scale * 2.0 ** (step - pool.canonical_level - eps)) ** 2 for step in steps]
    return [
        write("And", write("GreaterOrEqual", area, write.constant(least)), write("Less", area, write.constant(most)))
        for least, most in itertools.pairwise([0.0, *limits, np.inf])
    ]


def _align(
    write: GraphWriter, plan: _Fixed, feature: ir.Value, boxes: ir.Value, pictures: ir.Value, scale: float
) -> ir.Value:
    """Torchvision's ``roi_align`` with ``aligned=False``."""
    return write(
        "RoiAlign",
        feature,
        boxes,
        pictures,
        output_height=plan.pooled_side,
        output_width=plan.pooled_side,
        sampling_ratio=int(plan.network.roi_heads.box_roi_pool.sampling_ratio),
        spatial_scale=scale,
        mode="avg",
        coordinate_transformation_mode="output_half_pixel",
    )


def _detections(
    write: GraphWriter,
    plan: _Fixed,
    proposals: ir.Value,
    rated: ir.Value,
    logits: ir.Value,
    regression: ir.Value,
) -> dict[str, ir.Value]:
    """As ``RoIHeads.postprocess_detections``; logits [N P, K+1], regression [N P, 4(K+1)], in the proposals' order."""
    heads, count = plan.network.roi_heads, plan.proposals
    classes = int(plan.network.roi_heads.box_predictor.cls_score.out_features) - 1
    likely = write.slice(write("Softmax", logits, axis=-1), 1, classes + 1, -1)
    deltas = write.reshape(write.slice(regression, 4, 4 * (classes + 1), -1), -1, count, classes, 4)
    origin = write("Unsqueeze", proposals, write.shape(2))
    moved = decode(write, deltas, origin, heads.box_coder)
    boxes = write("Transpose", clip(write, moved, plan.height, plan.width), perm=[0, 2, 1, 3])
    scores = write("Transpose", write.reshape(likely, -1, count, classes), perm=[0, 2, 1])
    there = write("Unsqueeze", write("GreaterOrEqual", rated, write.constant(0.0)), write.shape(1))
    likely_enough = write("Greater", scores, write.constant(heads.score_thresh))
    scores = write.where(write("And", likely_enough, there), scores, NOTHING)
    scores = without_small(write, scores, boxes, _LEAST_SIDE)
    suppression = Suppression(heads.nms_thresh, heads.detections_per_img)
    return best_of_classes(write, boxes, scores, (classes, count), suppression)
