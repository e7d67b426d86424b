"""Which detections overlap which boxes, over a whole data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOWEST_IOU", "Pairs", "overlapping_pairs"]

LOWEST_IOU = 0.1
"""Below this two boxes have nothing to do with each other; TIDE's limit of background."""

_CHUNK = 1 << 16  # pairs looked at together: what fits a cache


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


def overlapping_pairs(
    boxes: NDArray[np.float64],
    pictures: NDArray[np.int64],
    truth_boxes: NDArray[np.float64],
    truth_pictures: NDArray[np.int64],
    truth_crowd: NDArray[np.bool_],
    num_pictures: int,
) -> Pairs:
    """All pairs with an IoU of at least ``LOWEST_IOU``; no more memory than those and one chunk need.

    Args:
        boxes: float64 [4, D], left, top, right and bottom edges of the detections.
        pictures: int64 [D].
        truth_boxes: float64 [4, G].
        truth_pictures: int64 [G], rising.
        truth_crowd: bool [G].
        num_pictures: P.
    """
    counts = np.bincount(truth_pictures, minlength=num_pictures)
    first = (np.cumsum(counts) - counts)[pictures]
    here = counts[pictures]
    ends = np.cumsum(here)
    total = int(ends[-1]) if ends.size else 0
    cuts = np.unique(np.searchsorted(ends, np.arange(_CHUNK, total, _CHUNK)))
    chunks = [
        _near(rows, here[rows], first[rows], boxes, truth_boxes, truth_crowd)
        for rows in np.split(np.arange(len(pictures)), cuts)
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
    truth_boxes: NDArray[np.float64],
    truth_crowd: NDArray[np.bool_],
) -> Pairs:
    """The overlaps of some detections, each with ``counts`` boxes from row ``first`` on.

    IoU is continuous. Most pairs lie apart sideways, so that is looked at before anything else.
    """
    truth = np.arange(int(counts.sum())) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    right = np.minimum(np.repeat(boxes[2, rows], counts), truth_boxes[2].take(truth))
    width = right - np.maximum(np.repeat(boxes[0, rows], counts), truth_boxes[0].take(truth))
    beside = np.flatnonzero(width > 0)
    detection, truth = np.repeat(rows, counts)[beside], truth[beside]
    bottom = np.minimum(boxes[3].take(detection), truth_boxes[3].take(truth))
    height = bottom - np.maximum(boxes[1].take(detection), truth_boxes[1].take(truth))
    touching = np.flatnonzero(height > 0)
    detection, truth = detection[touching], truth[touching]
    common = width[beside[touching]] * height[touching]
    own = _area(boxes.take(detection, axis=1))
    union = np.where(truth_crowd[truth], own, own + _area(truth_boxes.take(truth, axis=1)) - common)
    iou = common / union
    near = np.flatnonzero(iou >= LOWEST_IOU)
    return Pairs(detection[near], truth[near], iou[near])


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes[2] - boxes[0]) * (boxes[3] - boxes[1])
    return area
