"""All detections of a data set matched with its boxes, once for all figures.

A detection matches a box of its own class in its own picture with an IoU of at least the threshold. The best
score chooses first, each box is used once, and of equal IoUs the later box is taken, as in pycocotools. The
matches of the best detections do not depend on the fainter ones, so one pass serves every score threshold.

The matching is greedy, but needs no loop over detections. It is a stable matching in which every box prefers the
better detection, and the only one, so deferred acceptance (Gale and Shapley, 1962) finds it in rounds over all
detections at once: each asks for its favourite box, a box keeps the best that asked, the others ask for their next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import Detections

from .columns import DetectionColumns, GroundTruth, TruthColumns, area, falling, rising
from .overlaps import Pairs, overlapping_pairs

__all__ = [
    "AREAS",
    "COCO_IOUS",
    "FBETA_IOUS",
    "IOUS",
    "Matches",
    "Pairs",
    "SizedMatches",
    "assign",
    "last_of_score",
    "match_detections",
]

# Literals: np.arange(.3, .85, .05) yields .49999999999999994 instead of .5.
FBETA_IOUS = (0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80)
# The ninth is the number that pycocotools' np.linspace gives for .9.
COCO_IOUS = (0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.8999999999999999, 0.95)
IOUS = FBETA_IOUS[:4] + COCO_IOUS
AREAS = ("small", "medium", "large")
_AREA_RANGES = ((0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))


@dataclass(frozen=True, eq=False)
class SizedMatches:
    """The outcome when only boxes of one size count, for each of ``AREAS`` and ``COCO_IOUS``.

    A box of another size is treated like a crowd region, except that it takes only one detection; a
    detection prefers a box that counts. Unmatched detections of another size are ignored. Only the C
    detections that overlap a box of their class enough to match are listed; the others have no hit.

    Attributes:
        rows: int64 [C], rows of the detection columns, rising.
        hit: bool [3, 10, C], matched to a box that counts.
        ignored: bool [3, 10, C], matched to a box that does not count.
        inside: bool [3, D], whether the detection itself has that size.
        boxes_per_class: int64 [3, K].
        counts: bool [3, G], whether a box has that size and is no crowd.
    """

    rows: NDArray[np.int64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    boxes_per_class: NDArray[np.int64]
    counts: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Matches:
    """The outcome of matching a data set; D detections, G boxes, T = 14 ``IOUS``, K classes, P pictures.

    Detections are ordered by class, then score falling, then picture, then place in the picture;
    boxes by picture, then place.

    Attributes:
        num_pictures: P.
        num_classes: K.
        pictures: int64 [D].
        labels: int64 [D], rising.
        scores: float64 [D].
        positions: int64 [D], place in its picture's ``Detections``.
        ranks: int64 [D], place by score among its picture's detections of its class, from 0.
        truth: int32 [T, D], row of the box it matched, -1 for none.
        hit: bool [T, D], matched a box that is not a crowd.
        ignored: bool [T, D], matched a crowd region: counts neither way.
        truth_pictures: int64 [G].
        truth_labels: int64 [G].
        truth_positions: int64 [G], place in its picture's ``GroundTruth``.
        truth_crowd: bool [G].
        pairs: every overlap of at least .1.
        by_area: the outcome by box size.
    """

    num_pictures: int
    num_classes: int
    pictures: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    positions: NDArray[np.int64]
    ranks: NDArray[np.int64]
    truth: NDArray[np.int32]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truth_pictures: NDArray[np.int64]
    truth_labels: NDArray[np.int64]
    truth_positions: NDArray[np.int64]
    truth_crowd: NDArray[np.bool_]
    pairs: Pairs
    by_area: SizedMatches

    @cached_property
    def boxes_per_class(self) -> NDArray[np.int64]:
        """How many boxes there are to find, int64 [K], without crowds."""
        return np.bincount(self.truth_labels[~self.truth_crowd], minlength=self.num_classes)

    @cached_property
    def class_starts(self) -> NDArray[np.int64]:
        """Where each class's detections start, and the last one's end: int64 [K + 1]."""
        return np.searchsorted(self.labels, np.arange(self.num_classes + 1))

    @cached_property
    def by_score(self) -> NDArray[np.int64]:
        """The rows of the detections by score falling over all classes, then picture, then place: int64 [D]."""
        order = rising(self.positions)
        order = order[rising(self.pictures[order])]
        return order[falling(self.scores[order])]

    def rows_of(self, label: int) -> slice:
        """The rows of one class's detections."""
        return slice(int(self.class_starts[label]), int(self.class_starts[label + 1]))

    def at(self, iou: float) -> int:
        """The row of ``IOUS`` that holds ``iou``.

        Raises:
            ValueError: ``iou`` is not one of them.
        """
        row = int(np.argmin(np.abs(np.asarray(IOUS) - iou)))
        if abs(IOUS[row] - iou) > 1e-9:
            raise ValueError(f"Detections are matched at IoU .30, .35, ... .95, not at {iou}.")
        return row

    def kept_at(self, thresholds: float | NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each detection's score reaches the threshold of its class: bool [D].

        Args:
            thresholds: one for all, or float64 [K], one per class.
        """
        per_class = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), (self.num_classes,))
        kept: NDArray[np.bool_] = self.scores >= per_class[self.labels]
        return kept

    def counts_at(self, thresholds: float | NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Hits, and detections that count (not those on crowd regions), at each of ``IOUS``: int64 [14, K] each.

        Args:
            thresholds: as for ``kept_at``.
        """
        kept = np.flatnonzero(self.kept_at(thresholds))
        labels = self.labels[kept]
        hits, ignored = (self._by_level_and_class(marked[:, kept], labels) for marked in (self.hit, self.ignored))
        return hits, np.bincount(labels, minlength=self.num_classes) - ignored

    def _by_level_and_class(self, marked: NDArray[np.bool_], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        level, place = np.unravel_index(np.flatnonzero(marked), marked.shape)
        cells = level * self.num_classes + labels[place]
        return np.bincount(cells, minlength=len(IOUS) * self.num_classes).reshape(len(IOUS), self.num_classes)


def last_of_score(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where a threshold can cut falling scores [n]: the last place of each distinct score."""
    return np.flatnonzero(np.diff(scores, append=-np.inf))


def match_detections(
    ground_truth: Sequence[GroundTruth], detections: Sequence[Detections], num_classes: int
) -> Matches:
    """Match every detection once, at all IoU thresholds.

    Args:
        ground_truth: one per picture.
        detections: one per picture, in the same order and the same pixels.
        num_classes: K.

    Raises:
        ValueError: a different number of pictures on the two sides.
    """
    if len(ground_truth) != len(detections):
        raise ValueError(f"{len(ground_truth)} pictures have ground truth, {len(detections)} detections.")
    columns, truth = DetectionColumns.of(detections), TruthColumns.of(ground_truth)
    pairs = overlapping_pairs(columns, truth, len(ground_truth))
    wishes = _by_preference(pairs, columns.labels, truth.labels)
    rows, chosen = _choose(wishes, truth.crowd, truth.crowd, IOUS)
    on_crowd = (chosen >= 0) & truth.crowd[chosen] if rows.size else np.zeros(chosen.shape, dtype=bool)
    return Matches(
        num_pictures=len(ground_truth),
        num_classes=num_classes,
        pictures=columns.pictures,
        labels=columns.labels,
        scores=columns.scores,
        positions=columns.positions,
        ranks=columns.ranks(),
        truth=_widened(chosen.astype(np.int32), rows, len(columns.labels), -1),
        hit=_widened((chosen >= 0) & ~on_crowd, rows, len(columns.labels), False),
        ignored=_widened(on_crowd, rows, len(columns.labels), False),
        truth_pictures=truth.pictures,
        truth_labels=truth.labels,
        truth_positions=truth.positions,
        truth_crowd=truth.crowd,
        pairs=pairs,
        by_area=_by_area(wishes, columns, truth, num_classes),
    )


def _widened(values: NDArray[Any], rows: NDArray[np.int64], length: int, otherwise: int) -> NDArray[Any]:
    """Columns [T, C] spread over all detections: [T, D]."""
    wide = np.full((len(values), length), otherwise, dtype=values.dtype)
    for level, column in zip(wide, values, strict=True):
        level[rows] = column
    return wide


def _by_preference(pairs: Pairs, labels: NDArray[np.int64], truth_labels: NDArray[np.int64]) -> Pairs:
    """The pairs that may match: those of each detection by falling IoU, the later box first among equals."""
    may = (labels[pairs.detection] == truth_labels[pairs.truth]) & (pairs.iou >= IOUS[0])
    backwards = pairs.select(np.flatnonzero(may)[::-1])
    order = falling(backwards.iou)
    return backwards.select(order[rising(backwards.detection[order])])


def _choose(
    wishes: Pairs, avoided: NDArray[np.bool_], crowd: NDArray[np.bool_], ious: tuple[float, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which box each detection gets at each IoU.

    Args:
        wishes: by preference.
        avoided: bool [G], boxes that a detection takes only if no other is free.
        crowd: bool [G], boxes that any number of detections may take.
        ious: T thresholds.

    Returns:
        The rows of the C detections with a wish, int64 [C], and the box each gets: its row or -1, int64 [T, C].
    """
    starts = np.diff(wishes.detection, prepend=-1) != 0
    rows, seekers = wishes.detection[starts], np.cumsum(starts) - 1
    order = rising(2 * seekers + avoided[wishes.truth])
    seekers, truth, iou = seekers[order], wishes.truth[order], wishes.iou[order]
    level, wish = np.unravel_index(np.flatnonzero(iou >= np.asarray(ious)[:, None]), (len(ious), len(iou)))
    seeker, wanted = level * len(rows) + seekers[wish], truth[wish]
    granted = assign(seeker, level * len(crowd) + wanted, crowd[wanted], len(ious) * len(crowd))
    chosen = np.full((len(ious), len(rows)), -1)
    chosen.reshape(-1)[seeker[granted]] = wanted[granted]
    return rows, chosen


def assign(
    seekers: NDArray[np.int64], places: NDArray[np.int64], shared: NDArray[np.bool_], num_places: int
) -> NDArray[np.int64]:
    """Which seeker gets which place; F wishes, each an acceptable pair of a seeker and a place.

    Args:
        seekers: int64 [F], rising; where two want one place, the lower number gets it.
        places: int64 [F], 0..num_places-1, those of each seeker in its order of preference.
        shared: bool [F], whether the place takes any number of seekers.
        num_places: M.

    Returns:
        int64 [n], the rows of the wishes granted, at most one per seeker, rising.
    """
    wish = np.flatnonzero(np.diff(seekers, prepend=-1))
    last = np.append(wish[1:], len(seekers)) - 1
    nobody = len(wish)
    holder = np.full(num_places, nobody)
    asking = np.arange(nobody)
    while asking.size:
        asking = asking[~shared[wish[asking]]]
        asked = places[wish[asking]]
        before = holder[asked]
        np.minimum.at(holder, asked, asking)
        got_it = holder[asked] == asking
        turned_out = before[got_it]
        asking = np.concatenate([asking[~got_it], turned_out[turned_out < nobody]])
        more = wish[asking] < last[asking]
        wish[asking[~more]] = -1
        asking = asking[more]
        wish[asking] += 1
    return wish[wish >= 0]


def _by_area(wishes: Pairs, detections: DetectionColumns, truth: TruthColumns, num_classes: int) -> SizedMatches:
    wishes = wishes.select(wishes.iou >= COCO_IOUS[0])
    inside = _inside(area(detections.boxes))
    counts = _inside(truth.area) & ~truth.crowd
    rows = np.unique(wishes.detection)
    hit = np.zeros((len(AREAS), len(COCO_IOUS), len(rows)), dtype=bool)
    ignored = np.zeros_like(hit)
    for size in range(len(AREAS)):
        _, chosen = _choose(wishes, ~counts[size], truth.crowd, COCO_IOUS)
        hit[size] = (chosen >= 0) & counts[size][chosen] if rows.size else False
        ignored[size] = (chosen >= 0) & ~hit[size]
    boxes = [np.bincount(truth.labels[of_size], minlength=num_classes) for of_size in counts]
    return SizedMatches(rows, hit, ignored, inside, np.stack(boxes), counts)


def _inside(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which areas [n] belong to which size: bool [3, n]; an area on the limit belongs to both."""
    low, high = np.transpose(_AREA_RANGES)[:, :, None]
    within: NDArray[np.bool_] = (areas >= low) & (areas <= high)
    return within
