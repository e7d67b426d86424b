"""How far boxes overlap: two sets of boxes, or the detections and the ground truth of a whole data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .columns import DetectionColumns, TruthColumns, area

__all__ = ["LOWEST_IOU", "Pairs", "iou_matrix", "overlapping_pairs"]

LOWEST_IOU = 0.1
"""Boxes that overlap less have nothing to do with each other; it is TIDE's limit of background."""

_CHUNK = 1 << 16  # pairs compared at a time: as many as fit a processor's cache


def iou_matrix(boxes: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """IoU of every box with every other box; 0 where both are empty.

    Args:
        boxes: [n, 4], xyxy.
        others: [m, 4], xyxy, in the same pixels.

    Returns:
        float64 [n, m], computed in float64.
    """
    one, other = (np.asarray(each, dtype=np.float64).reshape(-1, 4).T for each in (boxes, others))
    width, height = (
        np.clip(np.minimum(one[end][:, None], other[end]) - np.maximum(one[start][:, None], other[start]), 0.0, None)
        for start, end in ((0, 2), (1, 3))
    )
    common = width * height
    union = area(one)[:, None] + area(other) - common
    iou: NDArray[np.float64] = np.divide(common, union, out=np.zeros(common.shape), where=union > 0)
    return iou


@dataclass(frozen=True, eq=False)
class Pairs:
    """Every detection with every box of its picture that it overlaps, whatever the classes; N pairs.

    Attributes:
        detection: int64 [N], row of the detection columns, rising.
        truth: int64 [N], row of the truth columns, rising within a detection.
        iou: float64 [N], from .1 to 1; over a crowd, the share of the detection inside.
    """

    detection: NDArray[np.int64]
    truth: NDArray[np.int64]
    iou: NDArray[np.float64]

    def select(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
        """The pairs picked by a boolean mask [N] or by indices."""
        return Pairs(self.detection[which], self.truth[which], self.iou[which])


def overlapping_pairs(detections: DetectionColumns, truth: TruthColumns, num_pictures: int) -> Pairs:
    """All pairs with an IoU of at least ``LOWEST_IOU``; takes the memory of these pairs and of one chunk."""
    per_picture = np.bincount(truth.pictures, minlength=num_pictures)
    first = (np.cumsum(per_picture) - per_picture)[detections.pictures]
    counts = per_picture[detections.pictures]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if ends.size else 0
    cuts = np.unique(np.searchsorted(ends, np.arange(_CHUNK, total, _CHUNK)))
    chunks = [
        _near(rows, counts[rows], first[rows], detections.boxes, truth)
        for rows in np.split(np.arange(len(detections.pictures)), cuts)
    ]
    return Pairs(
        np.concatenate([chunk.detection for chunk in chunks]),
        np.concatenate([chunk.truth for chunk in chunks]),
        np.concatenate([chunk.iou for chunk in chunks]),
    )


def _near(
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
    first: NDArray[np.int64],
    boxes: NDArray[np.float64],
    truths: TruthColumns,
) -> Pairs:
    """The overlaps of some detections, each with the ``counts`` boxes from row ``first`` on.

    IoU is continuous. Most pairs lie side by side, so the width they share is computed before anything else.
    """
    truth = np.arange(int(counts.sum())) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    right = np.minimum(np.repeat(boxes[2, rows], counts), truths.boxes[2].take(truth))
    width = right - np.maximum(np.repeat(boxes[0, rows], counts), truths.boxes[0].take(truth))
    beside = np.flatnonzero(width > 0)
    detection, truth = np.repeat(rows, counts)[beside], truth[beside]
    bottom = np.minimum(boxes[3].take(detection), truths.boxes[3].take(truth))
    height = bottom - np.maximum(boxes[1].take(detection), truths.boxes[1].take(truth))
    touching = np.flatnonzero(height > 0)
    detection, truth = detection[touching], truth[touching]
    common = width[beside[touching]] * height[touching]
    own = area(boxes.take(detection, axis=1))
    union = np.where(truths.crowd[truth], own, own + area(truths.boxes.take(truth, axis=1)) - common)
    iou = common / union
    near = np.flatnonzero(iou >= LOWEST_IOU)
    return Pairs(detection[near], truth[near], iou[near])
