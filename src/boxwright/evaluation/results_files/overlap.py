"""How well a way to read a results file explains it: how many of its best detections lie on an annotated box.

A wrong reading of boxes, of picture ids or of category ids still gives figures, only low ones. The annotated boxes tell
readings apart that fit equally well by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright.data import Truth
from boxwright.evaluation.results import ground_truth_of
from boxwright.metrics.columns import DetectionColumns, GroundTruth, TruthColumns, falling
from boxwright.metrics.overlaps import overlapping_pairs

__all__ = ["Overlap"]

_LEAST, _MOST = 100, 5000  # detections looked at, the best of the file; between these as many as there are boxes
_IOU = 0.5


@dataclass(frozen=True, eq=False)
class Overlap:
    """The best S detections of a file, and the boxes they may lie on.

    Attributes:
        rows: int64 [S], of the detections in the file, best first.
    """

    rows: NDArray[np.int64]
    _truth: TruthColumns
    _pictures: int

    @classmethod
    def of(cls, truth: Truth, scores: NDArray[np.float64]) -> Overlap:
        """For the scores, float64 [D], of a file that is measured by ``truth``."""
        columns = TruthColumns.of([_without_crowds(one) for one in ground_truth_of(truth.split)])
        looked_at = min(max(_LEAST, len(columns.labels)), _MOST)
        return cls(falling(scores)[:looked_at], columns, len(truth.split.pictures))

    def best(
        self, pictures: NDArray[np.int64], boxes: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The annotated box that each detection lies on most.

        Args:
            pictures: int64 [D], of all detections of the file.
            boxes: float64 [S, 4], xyxy, of ``rows``.

        Returns:
            Its IoU, float64 [S], and its class, int64 [S]; 0 and -1 where no box overlaps by half.
        """
        count = len(self.rows)
        order = np.argsort(pictures[self.rows], kind="stable")
        nothing = np.zeros(count, np.int64)
        columns = DetectionColumns(
            np.ascontiguousarray(boxes[order].T), np.zeros(count), nothing, pictures[self.rows][order], nothing
        )
        pairs = overlapping_pairs(columns, self._truth, self._pictures)
        pairs = pairs.select(pairs.iou >= _IOU)
        pairs = pairs.select(np.argsort(pairs.iou, kind="stable"))  # the last one written is the greatest
        ious, labels = np.zeros(count), np.full(count, -1)
        ious[order[pairs.detection]] = pairs.iou
        labels[order[pairs.detection]] = self._truth.labels[pairs.truth]
        return ious, labels

    def count(self, pictures: NDArray[np.int64], boxes: NDArray[np.float64]) -> int:
        """How many lie on a box of any class; arguments as of ``best``."""
        return int(np.count_nonzero(self.best(pictures, boxes)[0]))


def _without_crowds(one: GroundTruth) -> GroundTruth:
    own = ~one.crowd
    return GroundTruth(one.boxes[own], one.labels[own], one.crowd[own], one.area[own])
