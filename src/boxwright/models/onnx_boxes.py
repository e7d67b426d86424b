"""What detectors do to boxes, as ONNX nodes: decode, clip, suppress, choose.

Shapes are fixed but for N, the number of pictures: what a picture has too few of is filled up with score -1, so that
any number of pictures goes through one graph. Boxes are xyxy in canvas pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir

from .onnx_graph import GraphWriter

__all__ = [
    "NOTHING",
    "Suppression",
    "best_of_classes",
    "best_of_labelled",
    "clip",
    "decode",
    "decode_distances",
    "survivors",
    "without_small",
]

NOTHING = -1.0
"""Score of a place that holds no box."""

_ANY_SCORE = -0.5  # between NOTHING and the least score


class _Coder(Protocol):
    """Torchvision's ``BoxCoder``: factors of the deltas in training, and the logarithm of the greatest growth."""

    weights: Sequence[float]
    bbox_xform_clip: float


def decode(write: GraphWriter, deltas: ir.Value, boxes: ir.Value, coder: _Coder) -> ir.Value:
    """Regressed offsets applied to boxes; torchvision's ``BoxCoder.decode_single`` in other words.

    Args:
        write: onto.
        deltas: float32 […, 4]: shifts of the centre in widths and heights, logarithms of the growth.
        boxes: float32, broadcastable to […, 4].
        coder: of the network.

    Returns:
        float32 […, 4].
    """
    scaled = write("Div", deltas, write.constant(coder.weights))
    shift, growth = write.slice(scaled, 0, 2, -1), write.slice(scaled, 2, 4, -1)
    corner, end = write.slice(boxes, 0, 2, -1), write.slice(boxes, 2, 4, -1)
    size = write("Sub", end, corner)
    half = write.constant(0.5)
    centre = write("Add", corner, write("Mul", size, half))
    moved = write("Add", write("Mul", shift, size), centre)
    grown = write("Mul", write("Exp", write("Min", growth, write.constant(coder.bbox_xform_clip))), size)
    reach = write("Mul", grown, half)
    return write("Concat", write("Sub", moved, reach), write("Add", moved, reach), axis=-1)


def decode_distances(write: GraphWriter, distances: ir.Value, boxes: ir.Value) -> ir.Value:
    """Regressed distances of edges from the centres of boxes; torchvision's ``BoxLinearCoder.decode`` in other words.

    Args:
        write: onto.
        distances: float32 […, 4]: left, up, right and down, in widths and heights.
        boxes: float32, broadcastable to […, 4].

    Returns:
        float32 […, 4].
    """
    corner, end = write.slice(boxes, 0, 2, -1), write.slice(boxes, 2, 4, -1)
    size, centre = write("Sub", end, corner), write("Mul", write("Add", corner, end), write.constant(0.5))
    before = write("Mul", write.slice(distances, 0, 2, -1), size)
    after = write("Mul", write.slice(distances, 2, 4, -1), size)
    return write("Concat", write("Sub", centre, before), write("Add", centre, after), axis=-1)


def clip(write: GraphWriter, boxes: ir.Value, height: int, width: int) -> ir.Value:
    """Boxes float32 […, 4] cut off at the canvas."""
    edges = write.constant([width, height, width, height])
    return write("Max", write("Min", boxes, edges), write.constant(0.0))


def without_small(write: GraphWriter, scores: ir.Value, boxes: ir.Value, least: float) -> ir.Value:
    """Scores float32 […] of boxes […, 4], ``NOTHING`` where a side is shorter than ``least`` pixels."""
    sides = write("Sub", write.slice(boxes, 2, 4, -1), write.slice(boxes, 0, 2, -1))
    shorter = write("ReduceMin", sides, write.shape(-1), keepdims=0)
    return write.where(write("GreaterOrEqual", shorter, write.constant(least)), scores, NOTHING)


@dataclass(frozen=True)
class Suppression:
    """Non-maximum suppression.

    Attributes:
        overlap: a box with a greater IoU with a better one goes.
        most: boxes kept, the best.
    """

    overlap: float
    most: int


def survivors(write: GraphWriter, boxes: ir.Value, scores: ir.Value, suppression: Suppression) -> ir.Value:
    """Non-maximum suppression of each class of independent groups.

    Args:
        write: onto.
        boxes: float32 [G, n, 4].
        scores: float32 [G, C, n], of C classes; ``NOTHING`` is never chosen.
        suppression: within a class of a group.

    Returns:
        The scores [G, C, n], ``NOTHING`` for all that went.
    """
    chosen = write(
        "NonMaxSuppression",
        boxes,
        scores,
        write.constant([suppression.most], np.int64),
        write.constant([suppression.overlap]),
        write.constant([_ANY_SCORE]),
    )  # [S, 3]: group, class, row
    nothing = write("Add", write("Mul", scores, write.constant(0.0)), write.constant(NOTHING))
    return write("ScatterND", nothing, chosen, write("GatherND", scores, chosen))


def best_of_classes(
    write: GraphWriter, boxes: ir.Value, scores: ir.Value, sizes: tuple[int, int], suppression: Suppression
) -> dict[str, ir.Value]:
    """The detections of each picture, where each class has boxes of its own; see ``best_of_labelled``.

    Args:
        write: onto.
        boxes: float32 [N, K, n, 4].
        scores: float32 [N, K, n]; ``NOTHING`` where there is no box.
        sizes: K and n.
        suppression: within classes; ``most`` of all of them are kept.
    """
    classes, candidates = sizes
    groups, rated = write.reshape(boxes, -1, candidates, 4), write.reshape(scores, -1, 1, candidates)
    within = Suppression(suppression.overlap, min(suppression.most, candidates))
    kept = write.reshape(survivors(write, groups, rated, within), -1, classes * candidates)
    best, places = write.top(kept, min(suppression.most, classes * candidates))
    labels = write("Div", places, write.constant(candidates, np.int64))
    return _outputs(write, write.gather_rows(write.reshape(boxes, -1, classes * candidates, 4), places), best, labels)


def best_of_labelled(
    write: GraphWriter,
    boxes: ir.Value,
    labelled: tuple[ir.Value, ir.Value],
    sizes: tuple[int, int],
    suppression: Suppression,
) -> dict[str, ir.Value]:
    """The detections of each picture, where each box is of one class.

    Args:
        write: onto.
        boxes: float32 [N, n, 4].
        labelled: scores float32 [N, n], ``NOTHING`` where there is no box, and classes int64 [N, n].
        sizes: K and n.
        suppression: within classes; ``most`` of all of them are kept.

    Returns:
        ``boxes`` [N, D, 4], ``scores`` [N, D], ``labels`` int64 [N, D], best first, D the smaller of ``most`` and the
        number of boxes; places without a detection have score and label -1.
    """
    scores, labels = labelled
    classes, candidates = sizes
    numbers = write.constant(np.arange(classes).reshape(1, classes, 1), np.int64)
    own = write("Equal", write("Unsqueeze", labels, write.shape(1)), numbers)
    by_class = write.where(own, write("Unsqueeze", scores, write.shape(1)), NOTHING)
    most = min(suppression.most, candidates)
    within = survivors(write, boxes, by_class, Suppression(suppression.overlap, most))
    best, places = write.top(write("ReduceMax", within, write.shape(1), keepdims=0), most)
    return _outputs(write, write.gather_rows(boxes, places), best, write.gather_rows(labels, places))


def _outputs(write: GraphWriter, boxes: ir.Value, scores: ir.Value, labels: ir.Value) -> dict[str, ir.Value]:
    there = write("GreaterOrEqual", scores, write.constant(0.0))
    return {"boxes": boxes, "scores": scores, "labels": write.where(there, labels, -1, np.int64)}
