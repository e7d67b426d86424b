"""F-beta of a detector over all its score thresholds, from one matching pass.

The definition is the rule of the TensorFlow Great Barrier Reef competition (2022), extended to many
classes: F at each IoU threshold .30, .35, ... .80, averaged. A detection is a hit when it matches a
box of its own class with an IoU of at least the threshold, best score first, each box used once.
Counts are pooled over pictures and classes (micro).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import Detections
from boxwright.runtime.spec import DEFAULT_THRESHOLD

from .ground_truth import GroundTruth

__all__ = ["IOU_THRESHOLDS", "FBetaCurve", "Matches", "fbeta_curve", "match_detections"]

# Literals: np.arange(.3, .85, .05) yields .49999999999999994, which counts an IoU of exactly .5 twice over.
IOU_THRESHOLDS = (0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80)


@dataclass(frozen=True, eq=False)
class Matches:
    """The outcome of matching all detections of a data set; S detections, T IoU thresholds, K classes.

    Attributes:
        scores: float64 [S].
        labels: int64 [S].
        hit: bool [T, S], matched to a box that is no crowd.
        ignored: bool [T, S], matched to a crowd region: counts neither way.
        boxes_per_class: int64 [K], boxes to find (crowds left out).
    """

    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    boxes_per_class: NDArray[np.int64]

    def of_class(self, label: int) -> Matches:
        """The part of one class."""
        mine = self.labels == label
        return Matches(
            self.scores[mine],
            self.labels[mine],
            self.hit[:, mine],
            self.ignored[:, mine],
            self.boxes_per_class[label : label + 1],
        )


@dataclass(frozen=True, eq=False)
class FBetaCurve:
    """F-beta against the score threshold.

    Attributes:
        thresholds: float64 [S], the distinct scores that occur, falling; at each, detections with a
            score of at least it count.
        values: float64 [S], F-beta there, in [0, 1].
        beta: recall counts beta times as much as precision.
        without_detections: F-beta above the highest score: 1.0 where there is nothing to find, else 0.0.
    """

    thresholds: NDArray[np.float64]
    values: NDArray[np.float64]
    beta: float
    without_detections: float

    def best(self) -> tuple[float, float]:
        """The threshold of the highest F-beta and that value; of equal ones, the highest threshold.

        With no detections at all the threshold is the default, 0.5.
        """
        if not self.thresholds.size:
            return DEFAULT_THRESHOLD, self.without_detections
        at = int(np.argmax(self.values))
        return float(self.thresholds[at]), float(self.values[at])

    def at(self, threshold: float) -> float:
        """F-beta of the detections with a score of at least ``threshold``."""
        kept = int(np.searchsorted(-self.thresholds, -threshold, side="right"))
        return float(self.values[kept - 1]) if kept else self.without_detections


def match_detections(
    ground_truth: Sequence[GroundTruth], detections: Sequence[Detections], num_classes: int
) -> Matches:
    """Match every detection once, at all IoU thresholds.

    Greedy matching does not change when the score-sorted list is cut, so this one pass serves every
    score threshold. On equal IoU the later box is taken, as pycocotools does.

    Args:
        ground_truth: one a picture.
        detections: one a picture, in the same order and the same pixels.
        num_classes: K.

    Raises:
        ValueError: a different number of pictures on the two sides.
    """
    parts = [
        _match_class(truth, found, label)
        for truth, found in zip(ground_truth, detections, strict=True)
        for label in np.unique(found.labels)
    ]
    labels = np.concatenate([truth.labels[~truth.crowd] for truth in ground_truth] or [np.zeros(0, int)])
    empty = np.zeros((len(IOU_THRESHOLDS), 0), dtype=bool)
    return Matches(
        scores=np.concatenate([part.scores for part in parts] or [np.zeros(0)]),
        labels=np.concatenate([part.labels for part in parts] or [np.zeros(0, np.int64)]),
        hit=np.concatenate([part.hit for part in parts] or [empty], axis=1),
        ignored=np.concatenate([part.ignored for part in parts] or [empty], axis=1),
        boxes_per_class=np.bincount(labels, minlength=num_classes).astype(np.int64),
    )


def _match_class(truth: GroundTruth, found: Detections, label: int) -> Matches:
    """Match one picture's detections of one class, best score first."""
    own = found.select(found.labels == label)
    own = own.select(np.argsort(-own.scores, kind="stable"))
    here = truth.labels == label
    overlap = _iou(own.boxes.astype(np.float64), truth.boxes[here], truth.crowd[here])
    hit, ignored = _greedy(overlap, truth.crowd[here])
    return Matches(own.scores.astype(np.float64), own.labels, hit, ignored, np.zeros(0, np.int64))


def _iou(boxes: NDArray[np.float64], truth: NDArray[np.float64], crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """IoU [n, m] of xyxy boxes [n, 4] and [m, 4], continuous; over a crowd, the share of the detection inside."""
    low = np.maximum(boxes[:, None, :2], truth[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truth[None, :, 2:])
    common = np.clip(high - low, 0.0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)[:, None]
    truth_area = (truth[:, 2:] - truth[:, :2]).prod(axis=1)[None, :]
    union = np.where(crowd[None, :], area, area + truth_area - common)
    ratio: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return ratio


def _greedy(overlap: NDArray[np.float64], crowd: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Hits and ignored [T, n] from IoU [n, m]; all IoU thresholds advance together."""
    needed = np.asarray(IOU_THRESHOLDS)[:, None]
    free = np.broadcast_to(~crowd, (len(needed), len(crowd))).copy()
    hit = np.zeros((len(needed), len(overlap)), dtype=bool)
    ignored = np.zeros_like(hit)
    if not len(crowd):
        return hit, ignored
    rows = np.arange(len(needed))
    for index, row in enumerate(overlap):
        open_to = np.where(free & (row >= needed), row, -1.0)
        chosen = open_to.shape[1] - 1 - np.argmax(open_to[:, ::-1], axis=1)  # the later of equals
        hit[:, index] = open_to[rows, chosen] >= 0.0
        free[rows[hit[:, index]], chosen[hit[:, index]]] = False
        ignored[:, index] = ~hit[:, index] & (crowd & (row >= needed)).any(axis=1)
    return hit, ignored


def fbeta_curve(matches: Matches, beta: float = 2.0) -> FBetaCurve:
    """F-beta at every score that occurs.

    F = (1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP) at each IoU threshold, averaged over them. With
    nothing to find and nothing found it is 1.0.

    Args:
        matches: from ``match_detections``.
        beta: weight of recall; 2 for F2.
    """
    order = np.argsort(-matches.scores, kind="stable")
    scores = matches.scores[order]
    boxes = int(matches.boxes_per_class.sum())
    last_of_score = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if scores.size else np.zeros(0, int)
    hits = np.cumsum(matches.hit[:, order], axis=1)[:, last_of_score]
    counted = np.cumsum(~matches.ignored[:, order], axis=1)[:, last_of_score]
    weight = beta * beta
    denominator = weight * boxes + counted
    values = np.divide((1.0 + weight) * hits, denominator, out=np.ones(denominator.shape), where=denominator > 0)
    return FBetaCurve(scores[last_of_score], values.mean(axis=0), beta, 0.0 if boxes else 1.0)
