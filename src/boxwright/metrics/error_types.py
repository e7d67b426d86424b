"""What kinds of errors a detector makes, and how much AP each kind costs (TIDE).

After Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection
Errors", ECCV 2020. A detection that is not a hit is the first of these that applies:

    localisation    its best overlap with a box of its class is from .1 to below .5
    classification  it overlaps a box of another class by .5 or more
    duplicate       it overlaps a box of its class by .5 or more, but a better detection took that box
    background      it overlaps no box by .1
    both            the rest: a box of another class, and badly placed

A box is missed when nothing matched it and no error of the first two kinds was meant for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .average_precision import MAX_DETECTIONS, average_precision_at
from .columns import falling, rising
from .matching import IOUS, Matches, Pairs
from .overlaps import LOWEST_IOU

__all__ = ["KINDS", "ErrorTypes", "error_types"]

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
_CLASSIFICATION, _LOCALISATION, _BOTH, _DUPLICATE, _BACKGROUND, _MISSED = range(len(KINDS))


@dataclass(frozen=True, eq=False)
class ErrorTypes:
    """Errors by kind.

    Attributes:
        counts: how many errors there are of each of ``KINDS``.
        costs: how much AP at the IoU would rise if all errors of this kind, and no others, were corrected; at
            least 0. The costs do not add up to 1 - AP. NaN without boxes.
        map_50: the AP at the IoU; NaN without boxes.
        kinds: int8 [D], index into ``KINDS`` of each detection, -1 for none.
        missed: bool [G], whether a box is missed.
    """

    counts: dict[str, int]
    costs: dict[str, float]
    map_50: float
    kinds: NDArray[np.int8]
    missed: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Ranking:
    """What AP needs of D detections, best first within a class: hit and counted bool [D], boxes int64 [K]."""

    labels: NDArray[np.int64]
    hit: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    boxes: NDArray[np.int64]

    def average_precision(self) -> float:
        """Mean over the classes that have boxes; NaN without any."""
        starts = np.searchsorted(self.labels, np.arange(len(self.boxes)))
        counted = np.concatenate([[0], np.cumsum(self.counted)])
        rows = np.flatnonzero(self.hit)
        segment = self.labels[rows]
        by_class = average_precision_at(segment, counted[rows + 1] - counted[starts[segment]], self.boxes)
        return float(by_class[self.boxes > 0].mean()) if self.boxes.any() else float("nan")


@dataclass(frozen=True, eq=False)
class _Errors:
    """Kind of each of D detections, the box it gets when corrected (-1 for none); G boxes taken by a hit, or missed."""

    kinds: NDArray[np.int8]
    target: NDArray[np.int64]
    taken: NDArray[np.bool_]
    missed: NDArray[np.bool_]


def error_types(matches: Matches, iou: float = 0.5, background: float = LOWEST_IOU) -> ErrorTypes:
    """Sort the errors by kind, and correct each kind in turn.

    A corrected classification or localisation error becomes a hit of the box it was meant for. It is removed
    where that box is taken, or where a better detection with an error of these two kinds was meant for the same
    box, as in the paper's own program. Errors of the kinds both, duplicate and background are removed. Missed
    boxes are no longer counted.

    Differences from that program: only the hundred best detections per picture and class take part, as in
    COCO's AP; detections on crowd regions are not errors, and crowd regions are not boxes; an overlap of exactly
    .5 is enough, and of exactly .1 is not background. A class whose boxes are all missed leaves the mean when
    these are corrected, instead of counting as 0; with no class left the corrected AP is 1.

    Args:
        matches: from ``match_detections``.
        iou: one of ``IOUS``; least IoU of a hit.
        background: a detection with less overlap is background; .1 or more.

    Raises:
        ValueError: ``iou`` is not one of ``IOUS``, or ``background`` is too low.
    """
    if background < LOWEST_IOU:
        raise ValueError(f"Overlaps are known from {LOWEST_IOU} on; background cannot be {background}.")
    level = matches.at(iou)
    kept = matches.ranks < MAX_DETECTIONS[-1]
    hit = matches.hit[level] & kept
    wrong = kept & ~hit & ~matches.ignored[level]
    kinds, target = _sort(matches, wrong, IOUS[level], background)
    taken = np.zeros(len(matches.truth_labels), dtype=bool)
    taken[matches.truth[level][hit]] = True
    meant = taken.copy()
    meant[target[target >= 0]] = True
    errors = _Errors(kinds, target, taken, ~meant & ~matches.truth_crowd)
    ranking = _Ranking(matches.labels, hit, hit | wrong, matches.boxes_per_class)
    base = ranking.average_precision()
    costs = [_corrected(matches, ranking, errors, kind) - base for kind in range(len(KINDS))]
    counts = [*np.bincount(kinds[kinds >= 0], minlength=_MISSED).tolist(), int(errors.missed.sum())]
    counted, costing = (dict(zip(KINDS, values, strict=True)) for values in (counts, costs))
    return ErrorTypes(counted, costing, base, kinds, errors.missed)


def _sort(
    matches: Matches, wrong: NDArray[np.bool_], needed: float, background: float
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Kind of each detection, int8 [D], and the box it gets when corrected, int64 [D]; -1 for none."""
    pairs = matches.pairs
    pairs = pairs.select(np.flatnonzero(wrong[pairs.detection] & ~matches.truth_crowd[pairs.truth]))
    own = matches.labels[pairs.detection] == matches.truth_labels[pairs.truth]
    same, same_box = _best(pairs.select(own), len(wrong))
    other, other_box = _best(pairs.select(~own), len(wrong))
    conditions = [
        (same >= background) & (same < needed),
        other >= needed,
        same >= needed,
        np.maximum(same, other) < background,
    ]
    kinds = np.select(conditions, [_LOCALISATION, _CLASSIFICATION, _DUPLICATE, _BACKGROUND], _BOTH)
    kinds[~wrong] = -1
    target = np.select([kinds == _LOCALISATION, kinds == _CLASSIFICATION], [same_box, other_box], -1)
    return kinds.astype(np.int8), target


def _best(pairs: Pairs, detections: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The greatest overlap of each detection, or 0, and its box, the first of equals: float64 [D], int64 [D]."""
    order = falling(pairs.iou)
    pairs = pairs.select(order[rising(pairs.detection[order])])
    first = pairs.select(np.diff(pairs.detection, prepend=-1) != 0)
    overlap, box = np.zeros(detections), np.full(detections, -1)
    overlap[first.detection] = first.iou
    box[first.detection] = first.truth
    return overlap, box


def _corrected(matches: Matches, ranking: _Ranking, errors: _Errors, kind: int) -> float:
    """AP without the errors of one kind."""
    if kind == _MISSED:
        boxes = ranking.boxes - np.bincount(matches.truth_labels[errors.missed], minlength=len(ranking.boxes))
        without = replace(ranking, boxes=boxes).average_precision()
        return 1.0 if ranking.boxes.any() and not boxes.any() else without
    of_kind, target = errors.kinds == kind, errors.target
    hit, counted = ranking.hit.copy(), ranking.counted & ~of_kind
    if kind not in (_CLASSIFICATION, _LOCALISATION):
        return replace(ranking, counted=counted).average_precision()
    candidates = matches.by_score[target[matches.by_score] >= 0]
    best = candidates[np.unique(target[candidates], return_index=True)[1]]
    righted = best[of_kind[best] & ~errors.taken[target[best]]]
    hit[righted] = counted[righted] = True
    labels = ranking.labels.copy()
    labels[righted] = matches.truth_labels[target[righted]]
    order = matches.by_score[rising(labels[matches.by_score])]
    return _Ranking(labels[order], hit[order], counted[order], ranking.boxes).average_precision()
