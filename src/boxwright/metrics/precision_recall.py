"""Precision and recall over all score thresholds, at one IoU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .matching import Matches, last_of_score

__all__ = ["PrecisionRecall", "precision_recall"]


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Precision and recall against the score threshold; as measured, not smoothed or interpolated.

    Attributes:
        thresholds: float64 [S], the distinct scores that occur, falling.
        precision: float64 [S], in [0, 1]; NaN where all detections lie on crowd regions.
        recall: float64 [S], in [0, 1]; NaN without boxes.
        iou: least IoU of a hit.
        boxes: how many there are to find.
    """

    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    iou: float
    boxes: int

    def at(self, threshold: float) -> tuple[float, float]:
        """Precision and recall of the detections with a score of at least ``threshold``.

        Precision is NaN when nothing is detected, recall NaN without boxes.
        """
        kept = int(np.searchsorted(-self.thresholds, -threshold, side="right"))
        if not kept:
            return float("nan"), 0.0 if self.boxes else float("nan")
        return float(self.precision[kept - 1]), float(self.recall[kept - 1])


def precision_recall(matches: Matches, label: int | None = None, iou: float = 0.5) -> PrecisionRecall:
    """The curve of one class, or of all classes pooled.

    Args:
        matches: from ``match_detections``.
        label: class index; None for all.
        iou: one of ``IOUS``.

    Raises:
        ValueError: ``iou`` is not one of ``IOUS``.
    """
    rows = matches.by_score if label is None else matches.rows_of(label)
    boxes = int(matches.boxes_per_class.sum() if label is None else matches.boxes_per_class[label])
    scores, level = matches.scores[rows], matches.at(iou)
    last = last_of_score(scores)
    hits = np.cumsum(matches.hit[level][rows])[last]
    counted = last + 1 - np.cumsum(matches.ignored[level][rows])[last]
    precision = np.divide(hits, counted, out=np.full(len(last), np.nan), where=counted > 0)
    recall = hits / boxes if boxes else np.full(len(last), np.nan)
    return PrecisionRecall(scores[last], precision, recall, iou, boxes)
