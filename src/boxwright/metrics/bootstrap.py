"""Bootstrap over pictures of AP and F-beta, from one matching pass and nothing matched again.

A resample draws as many pictures as there are, with replacement; drawn twice, a picture counts twice.
Pictures are the unit, not boxes: the boxes of one picture are found or missed together. Matching
happens inside a picture, so a resample changes only how often each detection counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bootstrap_precision import PrecisionSamples, bootstrap_map
from .counts import kept_at
from .interval import Interval, corrected_interval
from .matching import FBETA_IOUS, Matches
from .resampling import Counts, mean_of_defined, resample_counts

__all__ = [
    "FBetaSamples",
    "Intervals",
    "PrecisionSamples",
    "Samples",
    "bootstrap_fbeta",
    "bootstrap_figures",
    "bootstrap_map",
    "intervals",
    "pictures_per_class",
    "pooled_units",
    "resample_counts",
    "with_all_once",
]

_HALF = FBETA_IOUS.index(0.5)


@dataclass(frozen=True, eq=False)
class FBetaSamples:
    """F-beta, precision and recall of R resamples at fixed thresholds.

    Attributes:
        micro: float64 [R], pooled over pictures and classes; 1.0 with nothing to find and nothing found.
        macro: float64 [R], mean over the classes that have boxes, NaN without any.
        per_class: float64 [R, K], NaN where the class has no boxes.
        precision: float64 [R], pooled, at IoU .5; NaN with nothing found.
        recall: float64 [R], likewise; NaN with nothing to find.
    """

    micro: NDArray[np.float64]
    macro: NDArray[np.float64]
    per_class: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def bootstrap_fbeta(matches: Matches, thresholds: ArrayLike, counts: Counts, beta: float = 2.0) -> FBetaSamples:
    """F-beta (mean over ``FBETA_IOUS``), precision and recall of each resample at fixed thresholds.

    Args:
        matches: of the P pictures.
        thresholds: one score, or one a class, float [K].
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
    found, counted, boxes = pooled[:, _HALF], pooled[:, levels + _HALF], pooled[:, -1]
    return FBetaSamples(
        _fbeta(pooled, beta), mean_of_defined(per_class), per_class, _share(found, counted), _share(found, boxes)
    )


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    share: NDArray[np.float64] = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return share


def _class_sums(matches: Matches, thresholds: ArrayLike) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Of each class: its pictures, and in each the hits [11 IoUs], the detections that count [11], the boxes [1]."""
    rows = np.array([matches.at(iou) for iou in FBETA_IOUS])
    kept = np.flatnonzero(kept_at(matches, np.asarray(thresholds, np.float64)))
    labels, pictures = matches.labels[kept], matches.pictures[kept]
    counted = np.concatenate([matches.hit[np.ix_(rows, kept)], ~matches.ignored[np.ix_(rows, kept)]])
    ends = np.searchsorted(labels, np.arange(matches.num_classes + 1))
    to_find = ~matches.truth_crowd
    for label in range(matches.num_classes):
        mine = slice(ends[label], ends[label + 1])
        boxes = np.bincount(
            matches.truth_pictures[to_find & (matches.truth_labels == label)], minlength=matches.num_pictures
        )
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


@dataclass(frozen=True, eq=False)
class Samples:
    """The figures of R resamples, each in [0, 1] or NaN, by name.

    Attributes:
        figures: ``map``, ``map_50``, ``f2``, ``f2_macro``, ``precision`` and ``recall``, float64 [R].
        by_class: ``map`` and ``f2``, float64 [R, K].
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
    """How far the figures might be off because other pictures could have been taken.

    The interval is for the figure of endlessly many such pictures with the same thresholds; see
    ``corrected_interval``.

    Args:
        matches: of P pictures.
        thresholds: for F2: one score, or one a class, float [K].
        resamples: R.
        seed: of the draws.
    """
    samples = bootstrap_figures(matches, thresholds, with_all_once(matches.num_pictures, resamples, seed))
    units = pictures_per_class(matches)
    return Intervals(
        {name: _interval(column, pooled_units(matches)) for name, column in samples.figures.items()},
        {
            name: tuple(
                _interval(column, int(count)) if count > 1 else None
                for column, count in zip(table.T, units, strict=True)
            )
            for name, table in samples.by_class.items()
        },
    )


def with_all_once(num_pictures: int, resamples: int, seed: int) -> Counts:
    """The pictures as they are, then resamples: unsigned integers [1 + R, P]."""
    as_they_are = np.ones((1, num_pictures), np.uint8)
    return np.concatenate([as_they_are, resample_counts(num_pictures, resamples, seed)])


def bootstrap_figures(matches: Matches, thresholds: ArrayLike, counts: Counts) -> Samples:
    """All figures of each resample; arguments as for ``bootstrap_fbeta``."""
    precision = bootstrap_map(matches, counts)
    fbeta = bootstrap_fbeta(matches, thresholds, counts)
    return Samples(
        {
            "map": precision.map,
            "map_50": precision.map_50,
            "f2": fbeta.micro,
            "f2_macro": fbeta.macro,
            "precision": fbeta.precision,
            "recall": fbeta.recall,
        },
        {"map": precision.per_class, "f2": fbeta.per_class},
    )


def pooled_units(matches: Matches) -> int:
    """Pictures that a figure of all classes hangs on: all, or none where there is nothing to find."""
    return matches.num_pictures if matches.boxes_per_class.any() else 0


def pictures_per_class(matches: Matches) -> NDArray[np.int64]:
    """How many pictures have boxes of each class, crowds left out: int64 [K]."""
    counts = ~matches.truth_crowd
    pairs = matches.truth_labels[counts] * matches.num_pictures + matches.truth_pictures[counts]
    return np.bincount(np.unique(pairs) // max(1, matches.num_pictures), minlength=matches.num_classes)


def _interval(samples: NDArray[np.float64], units: int) -> Interval:
    return corrected_interval(float(samples[0]), samples[1:], units)
