"""COCO average precision and recall, the figures of record, as pycocotools computes them.

AP averages, over 101 recalls, the greatest precision at that recall or a higher one. Precision only rises at a hit,
so the hits alone are searched: at the j-th hit of a class, precision is j over the detections that count so far,
and recall is j over the boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .matching import AREAS, COCO_IOUS, Matches

__all__ = [
    "MAX_DETECTIONS",
    "RECALLS",
    "AveragePrecision",
    "CocoFigures",
    "average_precision",
    "average_precision_at",
    "average_precisions",
    "hits_needed",
]

MAX_DETECTIONS = (1, 10, 100)
"""How many detections per picture and class count: for the three recalls, and the last for all other figures."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""The recalls that precision is averaged over, as in pycocotools."""


@dataclass(frozen=True)
class CocoFigures:
    """COCO's figures, each in [0, 1], or NaN where there is no ground truth.

    Attributes:
        map: mean over classes and IoU .50:.05:.95, at most 100 detections per picture and class.
        map_50: at IoU .50.
        map_75: at IoU .75.
        map_small: boxes up to 32 x 32 pixels.
        map_medium: up to 96 x 96.
        map_large: larger boxes.
        ar_1: recall, mean over classes and IoUs, with one detection per picture and class.
        ar_10: with ten.
        ar_100: with a hundred.
        ar_small, ar_medium, ar_large: ``ar_100`` by box size.
    """

    map: float
    map_50: float
    map_75: float
    map_small: float
    map_medium: float
    map_large: float
    ar_1: float
    ar_10: float
    ar_100: float
    ar_small: float
    ar_medium: float
    ar_large: float


@dataclass(frozen=True)
class AveragePrecision(CocoFigures):
    """COCO's figures, and those of each class.

    Attributes:
        per_class: ``map`` of each class, by class index.
        per_class_50: ``map_50`` of each class.
    """

    per_class: tuple[float, ...]
    per_class_50: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Tables:
    """By IoU and class, NaN for classes without boxes: precision [10, K], recall [3, 10, K] by ``MAX_DETECTIONS``."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def average_precision(matches: Matches) -> AveragePrecision:
    """All of COCO's figures from one matching pass.

    Ids are not used, so annotation files that start at id 0 are measured right (pycocotools reads id 0 as
    unmatched: cocodataset/cocoapi #332).
    """
    every = _every_size(matches)
    sized = {f"{name}_{size}": value for number, size in enumerate(AREAS) for name, value in _of_size(matches, number)}
    ar_1, ar_10, ar_100 = (_mean(recall) for recall in every.recall)
    return AveragePrecision(
        map=_mean(every.precision),
        map_50=_mean(every.precision[COCO_IOUS.index(0.50)]),
        map_75=_mean(every.precision[COCO_IOUS.index(0.75)]),
        ar_1=ar_1,
        ar_10=ar_10,
        ar_100=ar_100,
        per_class=tuple(every.precision.mean(axis=0).tolist()),
        per_class_50=tuple(every.precision[COCO_IOUS.index(0.50)].tolist()),
        **sized,
    )


def _every_size(matches: Matches) -> _Tables:
    rows = matches.by_area.rows
    levels = slice(matches.at(COCO_IOUS[0]), None)
    inside = np.ones(len(matches.labels), dtype=bool)
    hit, ignored = matches.hit[levels, rows], matches.ignored[levels, rows]
    return _tables(matches, hit, ignored, inside, matches.boxes_per_class)


def _of_size(matches: Matches, size: int) -> list[tuple[str, float]]:
    sized = matches.by_area
    tables = _tables(matches, sized.hit[size], sized.ignored[size], sized.inside[size], sized.boxes_per_class[size])
    return [("map", _mean(tables.precision)), ("ar", _mean(tables.recall[-1]))]


def _tables(
    matches: Matches,
    hit: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    boxes: NDArray[np.int64],
) -> _Tables:
    """Precision and recall of every IoU and class.

    Args:
        matches: the matching pass.
        hit: bool [10, C], of the detections ``by_area.rows``; the others have no hit.
        ignored: bool [10, C].
        inside: bool [D], whether a detection counts as a false alarm when it is unmatched.
        boxes: int64 [K], how many there are to find.
    """
    kept = matches.ranks < MAX_DETECTIONS[-1]
    rows, inside = matches.by_area.rows, inside & kept
    hit = hit & kept[rows]
    level, place = np.unravel_index(np.flatnonzero(hit), hit.shape)
    labels = matches.labels[rows[place]]
    segment = level * matches.num_classes + labels
    changes, before = _changes(matches, (hit | (inside[rows] & ~ignored)).astype(np.int8) - inside[rows])
    sums = np.concatenate([[0], np.cumsum(inside)])
    counted = sums[rows[place] + 1] - sums[matches.class_starts[labels]] + changes[level, place] - before[level, labels]
    wanted = np.tile(boxes, len(hit))
    precision = average_precision_at(segment, counted, wanted).reshape(len(hit), -1)
    recall = [_recall(segment[matches.ranks[rows[place]] < most], wanted) for most in MAX_DETECTIONS]
    return _Tables(precision, np.stack(recall).reshape(len(recall), len(hit), -1))


def _changes(matches: Matches, change: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Running sums of the changes at ``by_area.rows`` alone, so that the long sum is computed once for all IoUs.

    Args:
        matches: the matching pass.
        change: int8 [10, C].

    Returns:
        The sum up to and including each row, int64 [10, C], and before each class, int64 [10, K].
    """
    sums = np.zeros((len(change), change.shape[1] + 1), dtype=np.int64)
    np.cumsum(change, axis=1, out=sums[:, 1:])
    return sums[:, 1:], sums[:, np.searchsorted(matches.by_area.rows, matches.class_starts[:-1])]


def average_precision_at(
    segment: NDArray[np.int64], counted: NDArray[np.int64], boxes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """AP of many rankings at once; n hits in S segments, each a class at an IoU.

    Args:
        segment: int64 [n], rising; within a segment by score falling.
        counted: int64 [n], detections of the segment that count, up to and including this hit.
        boxes: int64 [S], how many there are to find.

    Returns:
        float64 [S], NaN without boxes.
    """
    hits = np.bincount(segment, minlength=len(boxes))
    first = np.cumsum(hits) - hits
    number = np.arange(1, len(segment) + 1) - first[segment]
    precision = np.zeros(len(segment) + len(boxes))  # a zero ends each segment: recalls that are never reached
    precision[np.arange(len(segment)) + segment] = number / counted
    needed = np.minimum(hits_needed(boxes) - 1, hits[:, None]) + (first + np.arange(len(boxes)))[:, None]
    if not len(boxes):
        return np.zeros(0)
    best = np.maximum.reduceat(precision, needed.reshape(-1)).reshape(needed.shape)
    envelope = np.maximum.accumulate(best[:, ::-1], axis=1)
    averaged: NDArray[np.float64] = np.where(boxes > 0, envelope.mean(axis=1), np.nan)
    return averaged


def average_precisions(
    counted: NDArray[np.int32], hits: NDArray[np.int64], boxes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """AP of S rankings that follow one another in one flat array of n hits: for very many rankings at once.

    Args:
        counted: int32 [n], detections of the ranking that count, up to and including this hit.
        hits: int64 [S], of each ranking, at least 1.
        boxes: int64 [S], how many there are to find, at least as many as the hits.

    Returns:
        float64 [S].
    """
    starts = np.cumsum(hits) - hits
    precision = (np.arange(1, len(counted) + 1) - np.repeat(starts, hits)) / counted
    # Offsets that fall from ranking to ranking allow one running maximum, from the back, for all of them.
    offsets = np.arange(len(hits), 0, -1, dtype=np.float64)
    precision += np.repeat(offsets, hits)
    np.maximum.accumulate(precision[::-1], out=precision[::-1])
    # Rankings with equally many boxes reach a recall at the same hit. With few boxes, few hits serve many recalls,
    # which keeps many rare classes fast.
    numbers, which = np.unique(boxes, return_inverse=True)
    width = int(numbers[-1]) + 2
    steps, weights = np.unique(hits_needed(numbers) + width * np.arange(len(numbers))[:, None], return_counts=True)
    begin = np.searchsorted(steps, width * which)
    reached = np.searchsorted(steps, width * which + hits, side="right") - begin
    first = np.cumsum(reached) - reached
    points = np.arange(int(reached.sum())) + np.repeat(begin - first, reached)
    places = steps.take(points) + np.repeat(starts - width * which - 1, reached)
    sampled = weights.take(points) * (precision.take(places) - np.repeat(offsets, reached))
    mean: NDArray[np.float64] = np.add.reduceat(sampled, first) / len(RECALLS)
    return mean


def hits_needed(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The fewest hits whose recall, hits / boxes, is at least each of ``RECALLS``: int64 [..., 101].

    Exact in integers. Some of COCO's thresholds lie one rounding above k / 100 (.29 is
    .29000000000000004): there a recall of exactly k / 100 is not enough. The first hit serves recall 0, and
    all recalls where there are no boxes.
    """
    hundredths = np.arange(len(RECALLS))
    more_than = (hundredths / 100 < RECALLS) | (hundredths == 0)
    return (np.maximum(boxes, 1)[..., None] * hundredths + np.where(more_than, 100, 99)) // 100


def _recall(segment: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    hits = np.bincount(segment, minlength=len(boxes))
    recall: NDArray[np.float64] = np.divide(hits, boxes, out=np.full(len(boxes), np.nan), where=boxes > 0)
    return recall


def _mean(figures: NDArray[np.float64]) -> float:
    defined = figures[~np.isnan(figures)]
    return float(defined.mean()) if defined.size else float("nan")
