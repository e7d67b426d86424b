"""Pictures' detections and boxes as columns over a whole data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from boxwright.runtime import Detections

from .ground_truth import GroundTruth
from .ordering import falling, rising

__all__ = ["DetectionColumns", "TruthColumns"]


@dataclass(frozen=True, eq=False)
class DetectionColumns:
    """D detections by class, then score falling, then picture, then place in the picture.

    Attributes:
        boxes: float64 [4, D], left, top, right and bottom edges in pixels.
        scores: float64 [D].
        labels: int64 [D].
        pictures: int64 [D].
        positions: int64 [D], place in the picture's ``Detections``.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    pictures: NDArray[np.int64]
    positions: NDArray[np.int64]

    @classmethod
    def of(cls, detections: Sequence[Detections]) -> DetectionColumns:
        """From one ``Detections`` a picture."""
        scores = _joined([one.scores for one in detections], np.float64)
        labels = _joined([one.labels for one in detections], np.int64)
        order = falling(scores)
        order = order[rising(labels[order])]
        pictures, positions = _places([len(one) for one in detections])
        boxes = _edges([one.boxes for one in detections], order)
        return cls(boxes, scores[order], labels[order], pictures[order], positions[order])

    def areas(self) -> NDArray[np.float64]:
        """Square pixels of each box: float64 [D]."""
        left, top, right, bottom = self.boxes
        area: NDArray[np.float64] = (right - left) * (bottom - top)
        return area

    def ranks(self) -> NDArray[np.int64]:
        """Place of each detection by score among its picture's of its class, from 0: int64 [D]."""
        order = rising(self.pictures)
        picture, label = self.pictures[order], self.labels[order]
        starts = np.diff(picture, prepend=-1).astype(bool) | np.diff(label, prepend=-1).astype(bool)
        number = np.arange(len(order))
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = number - np.maximum.accumulate(np.where(starts, number, 0))
        return ranks


@dataclass(frozen=True, eq=False)
class TruthColumns:
    """G annotated boxes by picture, then place in the picture.

    Attributes:
        boxes: float64 [4, G], left, top, right and bottom edges in pixels.
        labels: int64 [G].
        crowd: bool [G].
        area: float64 [G], square pixels, as annotated.
        pictures: int64 [G], rising.
        positions: int64 [G], place in the picture's ``GroundTruth``.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]
    pictures: NDArray[np.int64]
    positions: NDArray[np.int64]

    @classmethod
    def of(cls, ground_truth: Sequence[GroundTruth]) -> TruthColumns:
        """From one ``GroundTruth`` a picture."""
        pictures, positions = _places([len(one.labels) for one in ground_truth])
        return cls(
            boxes=_edges([one.boxes for one in ground_truth]),
            labels=_joined([one.labels for one in ground_truth], np.int64),
            crowd=_joined([one.crowd for one in ground_truth], np.bool_),
            area=_joined([one.area for one in ground_truth], np.float64),
            pictures=pictures,
            positions=positions,
        )


def _joined(parts: list[NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts], dtype=dtype, casting="unsafe")


def _edges(parts: list[NDArray[Any]], order: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Boxes [n, 4] of every picture as rows of edges: float64 [4, n], contiguous."""
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *parts])
    return np.ascontiguousarray((boxes if order is None else boxes[order]).T, dtype=np.float64)


def _places(counts: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Picture and place in it of every row, int64 [n] each."""
    lengths = np.asarray(counts, dtype=np.int64)
    pictures = np.repeat(np.arange(len(lengths)), lengths)
    return pictures, np.arange(len(pictures)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
