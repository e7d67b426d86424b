"""Ground truth and detections of a whole data set as columns, and the order they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from boxwright.runtime import Detections

__all__ = ["DetectionColumns", "GroundTruth", "TruthColumns", "area", "falling", "rising"]

_DIGIT = 16  # numpy sorts 16-bit integers by counting when asked for a stable order


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotated boxes of one picture.

    Attributes:
        boxes: float64 [n, 4], xyxy, in pixels of the original picture.
        labels: int64 [n], class indices 0..K-1.
        crowd: bool [n]; detections on a crowd region count neither for nor against.
        area: float64 [n], square pixels; decides between small, medium and large in COCO's AP.

    Raises:
        ValueError: when shapes disagree.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.labels)
        shapes = (self.boxes.shape, self.labels.shape, self.crowd.shape, self.area.shape)
        if shapes != ((count, 4), (count,), (count,), (count,)):
            got = ", ".join(str(list(shape)) for shape in shapes)
            raise ValueError(f"GroundTruth needs boxes [n, 4], labels, crowd and area [n]; got {got}.")

    @classmethod
    def of(cls, boxes: ArrayLike, labels: ArrayLike, crowd: ArrayLike | None = None) -> GroundTruth:
        """From anything array-like; areas are those of the boxes, and no box is a crowd by default."""
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        is_crowd = np.zeros(len(corners), dtype=bool) if crowd is None else np.asarray(crowd, dtype=bool)
        return cls(corners, np.asarray(labels, dtype=np.int64).reshape(-1), is_crowd, area(corners.T))


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
        """From one ``Detections`` per picture."""
        scores = _joined([one.scores for one in detections], np.float64)
        labels = _joined([one.labels for one in detections], np.int64)
        order = falling(scores)
        order = order[rising(labels[order])]
        pictures, positions = _places([len(one) for one in detections])
        boxes = _edges([one.boxes for one in detections], order)
        return cls(boxes, scores[order], labels[order], pictures[order], positions[order])

    def ranks(self) -> NDArray[np.int64]:
        """Place of each detection by score within its picture and class, from 0: int64 [D]."""
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
        """From one ``GroundTruth`` per picture."""
        pictures, positions = _places([len(one.labels) for one in ground_truth])
        return cls(
            boxes=_edges([one.boxes for one in ground_truth]),
            labels=_joined([one.labels for one in ground_truth], np.int64),
            crowd=_joined([one.crowd for one in ground_truth], np.bool_),
            area=_joined([one.area for one in ground_truth], np.float64),
            pictures=pictures,
            positions=positions,
        )


def area(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas, float64 [n], of boxes given by their left, top, right and bottom edges [4, n]."""
    areas: NDArray[np.float64] = (edges[2] - edges[0]) * (edges[3] - edges[1])
    return areas


def rising(keys: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The stable order, int64 [n], that sorts keys [n] from small to great; all keys must be at least 0."""
    return _order(keys.astype(np.uint64))


def falling(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The stable order, int64 [n], that sorts float64 [n] from great to small; NaN is not allowed."""
    bits = (scores + 0.0).view(np.int64)  # + 0.0 turns -0.0 into 0.0
    rising_bits = np.where(bits < 0, ~bits, bits ^ np.int64(-(2**63)))
    return _order(~rising_bits.view(np.uint64))


def _order(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Radix sort, several times faster than comparing: least digit first, digits that all keys share are skipped."""
    order: NDArray[np.int64] | None = None
    differing = int(np.bitwise_or.reduce(keys ^ keys[:1])) if keys.size else 0
    for shift in range(0, 64, _DIGIT):
        if not (differing >> shift) & (2**_DIGIT - 1):
            continue
        digit = (keys if order is None else keys[order]) >> np.uint64(shift)
        step = np.argsort(digit.astype(np.uint16), kind="stable")
        order = step if order is None else order[step]
    return np.arange(len(keys)) if order is None else order


def _joined(parts: list[NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts], dtype=dtype, casting="unsafe")


def _edges(parts: list[NDArray[Any]], order: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Boxes [n, 4] of every picture as rows of edges: float64 [4, n], contiguous."""
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *parts])
    return np.ascontiguousarray((boxes if order is None else boxes[order]).T, dtype=np.float64)


def _places(counts: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Picture of every row, and its place in that picture, int64 [n] each."""
    lengths = np.asarray(counts, dtype=np.int64)
    pictures = np.repeat(np.arange(len(lengths)), lengths)
    return pictures, np.arange(len(pictures)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
