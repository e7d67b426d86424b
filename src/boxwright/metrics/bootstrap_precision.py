"""COCO AP of resampled pictures, from one matching pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .average_precision import MAX_DETECTIONS, RECALLS, hits_needed
from .matching import COCO_IOUS, Matches
from .resampling import Counts, in_blocks, mean_of_defined, sums_until

__all__ = ["PrecisionSamples", "bootstrap_map"]


@dataclass(frozen=True, eq=False)
class PrecisionSamples:
    """COCO AP of R resamples; a class that has no boxes in a resample is left out of its means.

    Attributes:
        map: float64 [R], NaN without any boxes.
        map_50: float64 [R].
        per_class: float64 [R, K], NaN where the class has no boxes.
    """

    map: NDArray[np.float64]
    map_50: NDArray[np.float64]
    per_class: NDArray[np.float64]


def bootstrap_map(matches: Matches, counts: Counts) -> PrecisionSamples:
    """COCO AP (IoU .50:.05:.95, at most 100 detections a picture and class) of each resample.

    Precision rises only at hits, so AP is made of the hits alone, each with the number of detections
    up to it: sums of the picture counts. Memory beside ``counts`` stays within some 40 bytes a hit and
    detection for each processor.

    Args:
        matches: of the P pictures.
        counts: unsigned integers [R, P], how often each picture is drawn.
    """
    hits = _Hits.of(matches)
    table = in_blocks(hits.average_precision, counts, len(hits.pictures) + len(hits.hit_pictures))
    return PrecisionSamples(mean_of_defined(table[:, 0]), mean_of_defined(table[:, 1]), table[:, 0])


@dataclass(frozen=True, eq=False)
class _Hits:
    """What AP depends on. Of the detections only those up to the last hit of their class: D'.

    U of them hit a box at one IoU or more; at each IoU apart there are H hits in order of IoU, class
    and falling score, in S segments of one IoU and class. I detections are ignored, at each IoU apart.
    """

    num_classes: int
    pictures: NDArray[np.intp]  # [D']
    until: NDArray[np.intp]  # [U], detections up to each of the U and with it
    class_starts: NDArray[np.intp]  # [U], detections before its class
    hit_pictures: NDArray[np.intp]  # [H]
    hit_places: NDArray[np.intp]  # [H], among the U
    segments: NDArray[np.intp]  # [S], first hit
    levels: NDArray[np.intp]  # [S], index into COCO_IOUS
    classes: NDArray[np.intp]  # [S]
    ignored_pictures: NDArray[np.intp]  # [I]
    ignored_until: NDArray[np.intp]  # [H], ignored of all segments before each hit
    ignored_from: NDArray[np.intp]  # [H], ignored of all segments before the hit's own
    box_pictures: NDArray[np.intp]  # [G], by class, crowds left out
    box_starts: NDArray[np.intp]  # first box of each class that has any
    box_classes: NDArray[np.intp]  # those classes

    @classmethod
    def of(cls, matches: Matches) -> _Hits:
        rows = np.array([matches.at(iou) for iou in COCO_IOUS])
        kept = _up_to_the_last_hit(matches, rows)
        labels, pictures = matches.labels[kept], matches.pictures[kept].astype(np.intp)
        hit = matches.hit[np.ix_(rows, kept)]
        places = np.flatnonzero(hit.any(axis=0))
        levels, hit_places = np.nonzero(hit[:, places])
        keys = levels * matches.num_classes + labels[places][hit_places]
        segments, starts = np.unique(keys, return_index=True)
        ignored_levels, ignored = np.nonzero(matches.ignored[np.ix_(rows, kept)])
        order = ignored_levels * len(kept) + ignored
        first = np.searchsorted(labels, labels[places][hit_places])
        boxes = np.flatnonzero(~matches.truth_crowd)
        boxes = boxes[np.argsort(matches.truth_labels[boxes], kind="stable")]
        box_classes, box_starts = np.unique(matches.truth_labels[boxes], return_index=True)
        return cls(
            num_classes=matches.num_classes,
            pictures=pictures,
            until=places + 1,
            class_starts=np.searchsorted(labels, labels[places]),
            hit_pictures=pictures[places][hit_places],
            hit_places=hit_places,
            segments=starts,
            levels=segments // matches.num_classes,
            classes=segments % matches.num_classes,
            ignored_pictures=pictures[ignored],
            ignored_until=np.searchsorted(order, levels * len(kept) + places[hit_places]),
            ignored_from=np.searchsorted(order, levels * len(kept) + first),
            box_pictures=matches.truth_pictures[boxes].astype(np.intp),
            box_starts=box_starts,
            box_classes=box_classes,
        )

    def average_precision(self, counts: Counts) -> NDArray[np.float64]:
        """Float64 [B, 2, K]: AP of each class over all IoUs and at .50; NaN without boxes."""
        boxes = self._boxes(counts)
        table = np.zeros((len(counts), len(COCO_IOUS), self.num_classes))
        if self.segments.size:
            table[:, self.levels, self.classes] = self._segments(counts, boxes[:, self.classes])
        both = np.stack([table.mean(axis=1), table[:, 0]], axis=1)
        both[np.broadcast_to(boxes[:, None] == 0, both.shape)] = np.nan
        return both

    def _boxes(self, counts: Counts) -> NDArray[np.int64]:
        """Int64 [B, K], boxes to find in each resample."""
        boxes = np.zeros((len(counts), self.num_classes), np.int64)
        if self.box_starts.size:
            drawn = counts.take(self.box_pictures, axis=1)
            boxes[:, self.box_classes] = np.add.reduceat(drawn, self.box_starts, axis=1, dtype=np.int64)
        return boxes

    def _segments(self, counts: Counts, boxes: NDArray[np.int64]) -> NDArray[np.float64]:
        """AP of each segment, float64 [B, S]; 0 where no picture with a hit of it is drawn."""
        drawn = counts.take(self.hit_pictures, axis=1)
        found = np.repeat(self._found(counts).ravel(), drawn.ravel())
        hits = np.add.reduceat(drawn, self.segments, axis=1, dtype=np.int64).ravel()
        with_hits = np.flatnonzero(hits)
        precision = np.zeros(hits.size)
        if with_hits.size:
            precision[with_hits] = _average_precision(found, hits[with_hits], boxes.ravel()[with_hits])
        return precision.reshape(boxes.shape)

    def _found(self, counts: Counts) -> NDArray[np.int32]:
        """Detections that count, up to each hit and with it: int32 [B, H]."""
        ends = sums_until(counts, self.pictures, np.append(self.until, self.class_starts))
        until, before = np.split(ends, 2, axis=1)
        found = (until - before).take(self.hit_places, axis=1)
        if self.ignored_pictures.size:
            ends = sums_until(counts, self.ignored_pictures, np.append(self.ignored_until, self.ignored_from))
            until, before = np.split(ends, 2, axis=1)
            found -= until - before
        return found


def _up_to_the_last_hit(matches: Matches, rows: NDArray[np.int64]) -> NDArray[np.intp]:
    """The detections that COCO looks at, without those after the last hit of their class."""
    looked_at = np.flatnonzero(matches.ranks < MAX_DETECTIONS[-1])
    labels = matches.labels[looked_at]
    hits = np.append(0, np.cumsum(matches.hit[np.ix_(rows, looked_at)].any(axis=0)))
    hits_of_class = hits[np.searchsorted(labels, labels, side="right")]
    return looked_at[hits[:-1] < hits_of_class]


def _average_precision(
    found: NDArray[np.int32], hits: NDArray[np.int64], boxes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """AP of S rankings that lie one after another in one flat array of n hits.

    Args:
        found: int32 [n], detections of the ranking that count, up to and with this hit.
        hits: int64 [S], of each ranking, at least 1.
        boxes: int64 [S], how many there are to find, at least as many as the hits.

    Returns:
        float64 [S].
    """
    starts = np.cumsum(hits) - hits
    precision = (np.arange(1, len(found) + 1) - np.repeat(starts, hits)) / found
    # Offsets that fall from ranking to ranking let one running maximum from the back serve them all.
    offsets = np.arange(len(hits), 0, -1, dtype=np.float64)
    precision += np.repeat(offsets, hits)
    np.maximum.accumulate(precision[::-1], out=precision[::-1])
    # Rankings with as many boxes reach a recall at the same hit. With few boxes these are few hits that
    # stand for many recalls, which is what makes many rare classes bearable.
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
