"""Bootstrap over pictures: every figure on many resamples, and its interval, from one matching pass.

A resample draws as many pictures as there are, with replacement; a picture drawn twice counts twice. Pictures are
the unit, not boxes: the boxes of one picture are detected or missed together. Matching happens inside a picture,
so a resample only changes how often each detection counts, and nothing is matched again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .average_precision import MAX_DETECTIONS, average_precisions
from .fbeta import fbeta_name
from .interval import Interval, corrected_interval
from .matching import AREAS, COCO_IOUS, FBETA_IOUS, Matches

__all__ = [
    "Counts",
    "Intervals",
    "Samples",
    "bootstrap_fbeta",
    "bootstrap_figures",
    "bootstrap_map",
    "in_blocks",
    "intervals",
    "intervals_by_size",
    "pictures_per_class",
    "pooled_units",
    "resample_counts",
    "sums_until",
    "with_all_once",
]

Counts = NDArray[np.unsignedinteger[Any]]
"""How often each picture is drawn: unsigned integers [R, P]."""
_BLOCK = 1 << 17
"""Numbers a thread works on at a time: few enough for a processor's cache."""
_HALF = FBETA_IOUS.index(0.5)


@dataclass(frozen=True, eq=False)
class Samples:
    """Figures of R resamples by name, each in [0, 1] or NaN.

    A class without boxes in a resample is left out of the means of this resample.

    Attributes:
        figures: float64 [R]: ``map`` and ``map_50``, NaN without boxes; ``f2`` pooled over pictures and classes, 1.0
            without boxes and detections; ``f2_macro``, mean over the classes that have boxes, NaN without any;
            ``precision`` and ``recall``, pooled, at IoU .5, NaN without detections or boxes. Another beta gives
            ``f1`` and ``f1_macro``, and so on.
        by_class: float64 [R, K]: ``map`` and ``f2``, NaN where the class has no boxes.
    """

    figures: Mapping[str, NDArray[np.float64]]
    by_class: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Intervals:
    """95 % intervals of a detector's figures, by name.

    Attributes:
        figures: of ``map``, ``map_50``, ``f2``, ``f2_macro``, ``precision`` and ``recall``; NaN to NaN
            where there are no boxes.
        by_class: of ``map`` and ``f2`` by class index; None where fewer than two pictures have the class.
    """

    figures: Mapping[str, Interval]
    by_class: Mapping[str, tuple[Interval | None, ...]]


def intervals(matches: Matches, thresholds: ArrayLike, resamples: int = 1000, seed: int = 0) -> Intervals:
    """How far the figures may be off because other pictures could have been taken.

    An interval is for the figure of infinitely many such pictures at the same thresholds; see
    ``corrected_interval``.

    Args:
        matches: of P pictures.
        thresholds: for F2: one score, or one per class, float [K].
        resamples: R.
        seed: of the draws.
    """
    samples = bootstrap_figures(matches, thresholds, with_all_once(matches.num_pictures, resamples, seed))
    pooled, per_class = pooled_units(matches), pictures_per_class(matches).tolist()

    def of_class(column: NDArray[np.float64], units: int) -> Interval | None:
        return corrected_interval(float(column[0]), column[1:], units) if units > 1 else None

    return Intervals(
        {name: corrected_interval(float(one[0]), one[1:], pooled) for name, one in samples.figures.items()},
        {name: tuple(map(of_class, table.T, per_class)) for name, table in samples.by_class.items()},
    )


def intervals_by_size(matches: Matches, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """95 % intervals of ``map_small``, ``map_medium`` and ``map_large``; NaN to NaN where no box has the size.

    Args:
        matches: of P pictures.
        resamples: R.
        seed: of the draws.
    """
    counts, found = with_all_once(matches.num_pictures, resamples, seed), {}
    for number, size in enumerate(AREAS):
        of_size = _of_size(matches, number)
        column = bootstrap_map(of_size, counts).figures["map"]
        found[f"map_{size}"] = corrected_interval(float(column[0]), column[1:], pooled_units(of_size))
    return found


def _of_size(matches: Matches, number: int) -> Matches:
    """The same matching as COCO counts it for one size of box: the others, and what lies on them, count neither way."""
    sized = matches.by_area
    levels = slice(matches.at(COCO_IOUS[0]), None)
    hit, ignored = np.zeros_like(matches.hit), np.zeros_like(matches.ignored)
    hit[levels, sized.rows] = sized.hit[number]
    ignored[levels] = ~sized.inside[number]
    ignored[levels, sized.rows] |= sized.ignored[number]
    return replace(matches, hit=hit, ignored=ignored & ~hit, truth_crowd=~sized.counts[number])


def bootstrap_figures(matches: Matches, thresholds: ArrayLike, counts: Counts) -> Samples:
    """All figures of each resample; arguments as for ``bootstrap_fbeta``."""
    precision, fbeta = bootstrap_map(matches, counts), bootstrap_fbeta(matches, thresholds, counts)
    return Samples({**precision.figures, **fbeta.figures}, {**precision.by_class, **fbeta.by_class})


def pooled_units(matches: Matches) -> int:
    """How many pictures a figure of all classes depends on: all, or 0 where there are no boxes."""
    return matches.num_pictures if matches.boxes_per_class.any() else 0


def pictures_per_class(matches: Matches) -> NDArray[np.int64]:
    """How many pictures have boxes of each class, without crowds: int64 [K]."""
    counts = ~matches.truth_crowd
    pairs = matches.truth_labels[counts] * matches.num_pictures + matches.truth_pictures[counts]
    return np.bincount(np.unique(pairs) // max(1, matches.num_pictures), minlength=matches.num_classes)


def resample_counts(num_pictures: int, resamples: int = 1000, seed: int = 0) -> Counts:
    """How often each picture is drawn: unsigned integers [R, P], each row adding up to P.

    Args:
        num_pictures: P.
        resamples: R.
        seed: the same seed and number of pictures give the same draws.
    """
    generator = np.random.default_rng(seed)
    counts = np.zeros((resamples, num_pictures), np.uint8)
    for row in range(resamples if num_pictures else 0):
        drawn = np.bincount(generator.integers(num_pictures, size=num_pictures), minlength=num_pictures)
        assert drawn.max() <= 255  # more is impossible in practice: the odds are below 1e-500
        counts[row] = drawn
    return counts


def with_all_once(num_pictures: int, resamples: int, seed: int) -> Counts:
    """Every picture once, then resamples: unsigned integers [1 + R, P]."""
    return np.concatenate([np.ones((1, num_pictures), np.uint8), resample_counts(num_pictures, resamples, seed)])


def in_blocks(work: Callable[[Counts], NDArray[np.float64]], counts: Counts, size: int) -> NDArray[np.float64]:
    """Apply ``work`` to blocks of resamples, on all processors (numpy releases Python's lock).

    Args:
        work: takes counts [B, P], returns B rows.
        counts: [R, P], R at least 1.
        size: how many numbers one resample takes.

    Returns:
        The R rows.
    """
    step = max(1, _BLOCK // max(1, size))
    blocks = [counts[start : start + step] for start in range(0, len(counts), step)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(work, blocks)))


def sums_until(
    counts: Counts, pictures: NDArray[np.intp], until: NDArray[np.intp], values: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """Sums of picture counts over the first rows of a list: int32 [B, m].

    Args:
        counts: [B, P].
        pictures: [n], the picture of each row of the list.
        until: [m], how many rows to sum over, 0..n.
        values: [n], factor of each row; 1 by default.
    """
    drawn = counts.take(pictures, axis=1)
    sums = np.zeros((len(counts), len(pictures) + 1), np.int32)
    np.cumsum(drawn if values is None else drawn * values, axis=1, dtype=np.int32, out=sums[:, 1:])
    return sums.take(until, axis=1)


def _mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis without NaN; NaN where all values are NaN."""
    defined = ~np.isnan(values)
    return _share(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def _share(part: NDArray[np.float64], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Part / whole, NaN for 0 / 0."""
    share: NDArray[np.float64] = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return share


def bootstrap_fbeta(matches: Matches, thresholds: ArrayLike, counts: Counts, beta: float = 2.0) -> Samples:
    """F-beta (mean over ``FBETA_IOUS``), precision and recall of each resample at fixed thresholds.

    Args:
        matches: of the P pictures.
        thresholds: one score, or one per class, float [K].
        counts: unsigned integers [R, P], how often each picture is drawn.
        beta: weight of recall.
    """
    num_classes, levels = matches.num_classes, len(FBETA_IOUS)
    per_class = np.full((len(counts), num_classes), np.nan)
    pooled = np.zeros((len(counts), 2 * levels + 1))
    for label, (pictures, sums) in enumerate(_class_sums(matches, thresholds)):
        drawn = counts[:, pictures].astype(np.float64) @ sums
        pooled += drawn
        has_boxes = drawn[:, -1] > 0
        per_class[has_boxes, label] = _fbeta(drawn[has_boxes], beta)
    hits, counted, boxes = pooled[:, _HALF], pooled[:, levels + _HALF], pooled[:, -1]
    name = fbeta_name(beta)
    figures = {
        name: _fbeta(pooled, beta),
        f"{name}_macro": _mean_of_defined(per_class),
        "precision": _share(hits, counted),
        "recall": _share(hits, boxes),
    }
    return Samples(figures, {name: per_class})


def _class_sums(matches: Matches, thresholds: ArrayLike) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """For each class its pictures, and for each picture the hits [11 IoUs], detections that count [11], boxes [1]."""
    rows = np.array([matches.at(iou) for iou in FBETA_IOUS])
    kept = np.flatnonzero(matches.kept_at(np.asarray(thresholds, np.float64)))
    labels, pictures = matches.labels[kept], matches.pictures[kept]
    counted = np.concatenate([matches.hit[np.ix_(rows, kept)], ~matches.ignored[np.ix_(rows, kept)]])
    ends = np.searchsorted(labels, np.arange(matches.num_classes + 1))
    to_find = ~matches.truth_crowd
    for label in range(matches.num_classes):
        mine = slice(ends[label], ends[label + 1])
        with_box = matches.truth_pictures[to_find & (matches.truth_labels == label)]
        boxes = np.bincount(with_box, minlength=matches.num_pictures)
        sums = [np.bincount(pictures[mine], weights=row[mine], minlength=matches.num_pictures) for row in counted]
        table = np.stack([*sums, boxes], axis=1).astype(np.float64)
        present = np.flatnonzero(table.any(axis=1))
        yield present, table[present]


def _fbeta(sums: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """F-beta [R] of hits, counted detections and boxes, [R, 11 + 11 + 1]."""
    hits, counted = np.split(sums[:, :-1], 2, axis=1)
    weight = beta * beta
    denominator = weight * sums[:, -1:] + counted
    values = np.divide((1 + weight) * hits, denominator, out=np.ones(hits.shape), where=denominator > 0)
    mean: NDArray[np.float64] = values.mean(axis=1)
    return mean


def bootstrap_map(matches: Matches, counts: Counts) -> Samples:
    """COCO AP (IoU .50:.05:.95, at most 100 detections per picture and class) of each resample.

    Precision rises only at hits, so AP needs the hits alone, each with the number of detections up to it:
    these are sums of the picture counts. Besides ``counts`` it takes about 40 bytes of memory per hit and
    detection and processor.

    Args:
        matches: of the P pictures.
        counts: unsigned integers [R, P], how often each picture is drawn.
    """
    hits = _Hits.of(matches)
    table = in_blocks(hits.average_precision, counts, len(hits.pictures) + len(hits.hit_pictures))
    means = _mean_of_defined(table)
    return Samples({"map": means[:, 0], "map_50": means[:, 1]}, {"map": table[:, 0]})


@dataclass(frozen=True, eq=False)
class _Hits:
    """What AP depends on: of the detections only those up to the last hit of their class, D'.

    U of them hit a box at one IoU or more. Counted at each IoU separately there are H hits in order of IoU, class
    and falling score, in S segments of one IoU and class; and I ignored detections.
    """

    num_classes: int
    pictures: NDArray[np.intp]  # [D']
    until: NDArray[np.intp]  # [U], detections up to and including each of the U
    class_starts: NDArray[np.intp]  # [U], detections before its class
    hit_pictures: NDArray[np.intp]  # [H]
    hit_places: NDArray[np.intp]  # [H], index into the U
    segments: NDArray[np.intp]  # [S], first hit
    levels: NDArray[np.intp]  # [S], index into COCO_IOUS
    classes: NDArray[np.intp]  # [S]
    ignored_pictures: NDArray[np.intp]  # [I]
    ignored_until: NDArray[np.intp]  # [H], ignored detections of all segments before each hit
    ignored_from: NDArray[np.intp]  # [H], ignored detections of all segments before that of the hit
    box_pictures: NDArray[np.intp]  # [G], by class, without crowds
    box_starts: NDArray[np.intp]  # first box of each class that has any
    box_classes: NDArray[np.intp]  # these classes

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
        """AP of each segment, float64 [B, S]; 0 where no picture with a hit in the segment is drawn."""
        drawn = counts.take(self.hit_pictures, axis=1)
        counted = np.repeat(self._counted(counts).ravel(), drawn.ravel())
        hits = np.add.reduceat(drawn, self.segments, axis=1, dtype=np.int64).ravel()
        with_hits = np.flatnonzero(hits)
        precision = np.zeros(hits.size)
        if with_hits.size:
            precision[with_hits] = average_precisions(counted, hits[with_hits], boxes.ravel()[with_hits])
        return precision.reshape(boxes.shape)

    def _counted(self, counts: Counts) -> NDArray[np.int32]:
        """Detections that count, up to and including each hit: int32 [B, H]."""
        ends = sums_until(counts, self.pictures, np.append(self.until, self.class_starts))
        until, before = np.split(ends, 2, axis=1)
        counted = (until - before).take(self.hit_places, axis=1)
        if self.ignored_pictures.size:
            ends = sums_until(counts, self.ignored_pictures, np.append(self.ignored_until, self.ignored_from))
            until, before = np.split(ends, 2, axis=1)
            counted -= until - before
        return counted


def _up_to_the_last_hit(matches: Matches, rows: NDArray[np.int64]) -> NDArray[np.intp]:
    """The detections that COCO evaluates, without those after the last hit of their class."""
    evaluated = np.flatnonzero(matches.ranks < MAX_DETECTIONS[-1])
    labels = matches.labels[evaluated]
    hits = np.append(0, np.cumsum(matches.hit[np.ix_(rows, evaluated)].any(axis=0)))
    hits_of_class = hits[np.searchsorted(labels, labels, side="right")]
    return evaluated[hits[:-1] < hits_of_class]
