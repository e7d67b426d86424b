"""What detectors do to boxes, as ONNX nodes: decode, clip, suppress, choose.

Shapes are fixed but for N, the number of pictures: what a picture has too few of is filled up with score -1, so that
any number of pictures goes through one graph. Boxes are xyxy in canvas pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from .onnx_graph import GraphWriter

__all__ = ["NOTHING", "best_of_classes", "clip", "decode", "survivors", "without_small"]

NOTHING = -1.0
"""Score of a place that holds no box."""

_ANY_SCORE = -0.5  # between NOTHING and the least score


def decode(write: GraphWriter, deltas: ir.Value, boxes: ir.Value, weights: Sequence[float], largest: float) -> ir.Value:
    """Regressed offsets applied to boxes; torchvision's ``BoxCoder.decode_single`` in other words.

    Args:
        write: onto.
        deltas: float32 […, 4]: shifts of the centre in widths and heights, logarithms of the growth.
        boxes: float32, broadcastable to […, 4].
        weights: what the deltas were multiplied by in training.
        largest: logarithm of the greatest growth.

    Returns:
        float32 […, 4].
    """
    scaled = write("Div", deltas, write.constant(weights))
    shift, growth = write.slice(scaled, 0, 2, -1), write.slice(scaled, 2, 4, -1)
    corner, end = write.slice(boxes, 0, 2, -1), write.slice(boxes, 2, 4, -1)
    size = write("Sub", end, corner)
    half = write.constant(0.5)
    centre = write("Add", corner, write("Mul", size, half))
    moved = write("Add", write("Mul", shift, size), centre)
    grown = write("Mul", write("Exp", write("Min", growth, write.constant(largest))), size)
    reach = write("Mul", grown, half)
    return write("Concat", write("Sub", moved, reach), write("Add", moved, reach), axis=-1)


def clip(write: GraphWriter, boxes: ir.Value, height: int, width: int) -> ir.Value:
    """Boxes float32 […, 4] cut off at the canvas."""
    edges = write.constant([width, height, width, height])
    return write("Max", write("Min", boxes, edges), write.constant(0.0))


def without_small(write: GraphWriter, scores: ir.Value, boxes: ir.Value, least: float) -> ir.Value:
    """Scores float32 […] of boxes […, 4], ``NOTHING`` where a side is shorter than ``least`` pixels."""
    sides = write("Sub", write.slice(boxes, 2, 4, -1), write.slice(boxes, 0, 2, -1))
    shorter = write("ReduceMin", sides, write.shape(-1), keepdims=0)
    return write.where(write("GreaterOrEqual", shorter, write.constant(least)), scores, NOTHING)


def survivors(write: GraphWriter, boxes: ir.Value, scores: ir.Value, overlap: float, most: int) -> ir.Value:
    """Non-maximum suppression of independent groups.

    Args:
        write: onto.
        boxes: float32 [G, n, 4].
        scores: float32 [G, n]; ``NOTHING`` is never chosen.
        overlap: a box with a greater IoU with a better one goes.
        most: boxes kept of a group, the best.

    Returns:
        The scores [G, n], ``NOTHING`` for all that went.
    """
    chosen = write(
        "NonMaxSuppression",
        boxes,
        write("Unsqueeze", scores, write.shape(1)),
        write.constant([most], np.int64),
        write.constant([overlap]),
        write.constant([_ANY_SCORE]),
    )  # [S, 3]: group, 0, row
    places = write("Gather", chosen, write.shape(0, 2), axis=1)
    nothing = write("Add", write("Mul", scores, write.constant(0.0)), write.constant(NOTHING))
    return write("ScatterND", nothing, places, write("GatherND", scores, places))


def best_of_classes(
    write: GraphWriter, boxes: ir.Value, scores: ir.Value, candidates: int, classes: int, overlap: float, most: int
) -> dict[str, ir.Value]:
    """The detections of each picture: suppression within classes, then the best of all.

    Args:
        write: onto.
        boxes: float32 [N, K, n, 4], K classes with ``candidates`` boxes each.
        scores: float32 [N, K, n]; ``NOTHING`` where there is none.
        candidates: n.
        classes: K.
        overlap: see ``survivors``.
        most: detections of a picture.

    Returns:
        ``boxes`` [N, D, 4], ``scores`` [N, D], ``labels`` int64 [N, D], best first, D the smaller of ``most`` and K n;
        places without a detection have score and label -1.
    """
    groups = write.reshape(boxes, -1, candidates, 4)
    kept = survivors(write, groups, write.reshape(scores, -1, candidates), overlap, min(most, candidates))
    everything = classes * candidates
    best, places = write.top(write.reshape(kept, -1, everything), min(most, everything))
    labels = write("Div", places, write.constant(candidates, np.int64))
    there = write("GreaterOrEqual", best, write.constant(0.0))
    return {
        "boxes": write.gather_rows(write.reshape(boxes, -1, everything, 4), places),
        "scores": best,
        "labels": write.where(there, labels, -1, np.int64),
    }
