"""What kinds of errors a detector makes, and how much AP each costs (TIDE).

After Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection
Errors", ECCV 2020. A detection that is no hit is, by the first of these that holds:

    localisation    its best overlap with a box of its class lies from .1 to below .5
    classification  it overlaps a box of another class by .5 or more
    duplicate       it overlaps a box of its class by .5 or more, which a better detection took
    background      it overlaps no box by .1
    both            the rest: another class's box, and badly

and a box is missed when nothing matched it and no error of the first two kinds was meant for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .average_precision import MAX_DETECTIONS, average_precision_at
from .matching import IOUS, Matches, Pairs
from .ordering import falling, rising
from .overlaps import LOWEST_IOU

__all__ = ["KINDS", "ErrorTypes", "error_types"]

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
_CLASSIFICATION, _LOCALISATION, _BOTH, _DUPLICATE, _BACKGROUND, _MISSED = range(len(KINDS))


@dataclass(frozen=True, eq=False)
class ErrorTypes:
    """Errors by kind.

    Attributes:
        counts: how many there are of each of ``KINDS``.
        costs: AP at the IoU gained if all errors of the kind, and no others, were mended; at least
            0. They do not add up to what is missing from 1. NaN without boxes.
        map_50: AP at the IoU, as it is; NaN without boxes.
        kinds: int8 [D], index into ``KINDS`` of each detection, -1 for none.
        missed: bool [G], boxes of the kind missed.
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


def error_types(matches: Matches, iou: float = 0.5, background: float = LOWEST_IOU) -> ErrorTypes:
    """Sort the errors and mend each kind in turn.

    Mended, a classification or localisation error becomes a hit of the box it was meant for; where
    that box is taken, or a better detection's error of one of the two kinds was meant for it, it
    goes, as in the paper's own program. Both, duplicate and background errors go. Missed boxes are
    no longer counted.

    Where this differs from that program: only the hundred best detections of a picture and class
    take part, as in COCO's AP; detections on crowd regions are no errors, and crowd regions are no
    boxes; an overlap of exactly .5 is enough, of exactly .1 is no background. A class whose boxes
    are all missed leaves the mean when that is mended, instead of counting as 0; with no class left
    the mended AP is 1.

    Args:
        matches: from ``match_detections``.
        iou: one of ``IOUS``; what a hit needs.
        background: overlap below which a detection sees nothing, .1 or more.

    Raises:
        ValueError: another IoU, or a lower background.
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
    missed = ~meant & ~matches.truth_crowd
    as_it_is = _Ranking(matches.labels, hit, hit | wrong, matches.boxes_per_class)
    base = as_it_is.average_precision()
    gains = [_mended(matches, as_it_is, kind, kinds, target, taken, missed) - base for kind in range(len(KINDS))]
    counts = [*np.bincount(kinds[kinds >= 0], minlength=_MISSED).tolist(), int(missed.sum())]
    return ErrorTypes(dict(zip(KINDS, counts, strict=True)), dict(zip(KINDS, gains, strict=True)), base, kinds, missed)


def _sort(
    matches: Matches, wrong: NDArray[np.bool_], needed: float, background: float
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Kind of each detection, -1 for none: int8 [D]; the box a mended one gets, -1 for none: int64 [D]."""
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
    """Each detection's greatest overlap, 0 without, and its box, the first of equals: float64 [D], int64 [D]."""
    order = falling(pairs.iou)
    pairs = pairs.select(order[rising(pairs.detection[order])])
    first = pairs.select(np.diff(pairs.detection, prepend=-1) != 0)
    overlap, box = np.zeros(detections), np.full(detections, -1)
    overlap[first.detection] = first.iou
    box[first.detection] = first.truth
    return overlap, box


def _mended(
    matches: Matches,
    ranking: _Ranking,
    kind: int,
    kinds: NDArray[np.int8],
    target: NDArray[np.int64],
    taken: NDArray[np.bool_],
    missed: NDArray[np.bool_],
) -> float:
    """AP without the errors of one kind."""
    if kind == _MISSED:
        boxes = ranking.boxes - np.bincount(matches.truth_labels[missed], minlength=len(ranking.boxes))
        without = _Ranking(ranking.labels, ranking.hit, ranking.counted, boxes).average_precision()
        return 1.0 if ranking.boxes.any() and not boxes.any() else without
    of_kind = kinds == kind
    hit, counted = ranking.hit.copy(), ranking.counted & ~of_kind
    if kind not in (_CLASSIFICATION, _LOCALISATION):
        return _Ranking(ranking.labels, hit, counted, ranking.boxes).average_precision()
    candidates = matches.by_score[target[matches.by_score] >= 0]
    best = candidates[np.unique(target[candidates], return_index=True)[1]]
    righted = best[of_kind[best] & ~taken[target[best]]]
    hit[righted] = counted[righted] = True
    labels = ranking.labels.copy()
    labels[righted] = matches.truth_labels[target[righted]]
    order = matches.by_score[rising(labels[matches.by_score])]
    return _Ranking(labels[order], hit[order], counted[order], ranking.boxes).average_precision()
