"""The figures of one evaluation, as they are logged, stored and printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import Detections

from .average_precision import AveragePrecision, average_precision
from .counts import counts_at
from .fbeta import class_fbeta_at, fbeta_at, fbeta_curve
from .ground_truth import GroundTruth
from .matching import Matches, match_detections

__all__ = ["ClassFigures", "Figures", "figures_of", "measure", "none_if_nan"]

_APART = ("per_class", "images")


@dataclass(frozen=True)
class ClassFigures:
    """One class's figures; NaN where there is nothing to measure by.

    Attributes:
        map: COCO AP.
        map_50: at IoU .50.
        f2: at ``threshold``.
        precision: at ``threshold``, IoU .50.
        recall: at ``threshold``, IoU .50.
        threshold: the score threshold used.
        boxes: how many there were to find.
    """

    map: float
    map_50: float
    f2: float
    precision: float
    recall: float
    threshold: float
    boxes: int


@dataclass(frozen=True)
class Figures:
    """All figures of one evaluation, each in [0, 1] or NaN.

    Attributes:
        map, map_50, map_75, map_small, map_medium, map_large: COCO AP.
        ar_1, ar_10, ar_100, ar_small, ar_medium, ar_large: COCO AR.
        f2: micro F2 at ``threshold``.
        f2_macro: mean over the classes that have boxes, at ``threshold``.
        precision: pooled, at ``threshold``, IoU .50.
        recall: pooled, at ``threshold``, IoU .50.
        threshold: the score threshold used; NaN where classes have different ones.
        best_f2: the highest micro F2 over all thresholds, one for all classes.
        best_threshold: where it lies.
        per_class: by class index.
        images: number of pictures.
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
    f2: float
    f2_macro: float
    precision: float
    recall: float
    threshold: float
    best_f2: float
    best_threshold: float
    per_class: tuple[ClassFigures, ...]
    images: int

    def to_document(self, names: Sequence[str]) -> dict[str, Any]:
        """For JSON; NaN becomes null.

        Args:
            names: class names by index.
        """
        document: dict[str, Any] = {
            name: none_if_nan(value) for name, value in vars(self).items() if name not in _APART
        }
        document["per_class"] = {
            name: {key: none_if_nan(value) for key, value in vars(one).items()}
            for name, one in zip(names, self.per_class, strict=True)
        }
        return {**document, "images": self.images}


def measure(
    ground_truth: Sequence[GroundTruth],
    detections: Sequence[Detections],
    num_classes: int,
    threshold: float | Sequence[float] | None = None,
) -> Figures:
    """All figures of a detector on a data set.

    Args:
        ground_truth: one a picture.
        detections: one a picture, in the same order and pixels, down to the lowest scores.
        num_classes: K.
        threshold: score threshold for F2, precision and recall, or one a class; the one with the
            best F2 on this data by default.

    Raises:
        ValueError: a different number of pictures on the two sides, or of classes and thresholds.
    """
    return figures_of(match_detections(ground_truth, detections, num_classes), threshold)


def figures_of(matches: Matches, threshold: float | Sequence[float] | NDArray[np.float64] | None = None) -> Figures:
    """The same from a matching pass at hand."""
    precision = average_precision(matches)
    best_threshold, best_f2 = fbeta_curve(matches).best()
    used = np.asarray(best_threshold if threshold is None else threshold, dtype=np.float64)
    thresholds = np.broadcast_to(used, (matches.num_classes,))
    hits, counted = (counts[matches.at(0.5)] for counts in counts_at(matches, thresholds))
    per_class = _per_class(matches, precision, thresholds, hits, counted)
    with_boxes = [one.f2 for one in per_class if one.boxes]
    return Figures(
        **{name: value for name, value in vars(precision).items() if not name.startswith("per_class")},
        f2=fbeta_at(matches, thresholds),
        f2_macro=float(np.mean(with_boxes)) if with_boxes else float("nan"),
        precision=_share(hits.sum(), counted.sum()),
        recall=_share(hits.sum(), matches.boxes_per_class.sum()),
        threshold=_the_one(used),
        best_f2=best_f2,
        best_threshold=best_threshold,
        per_class=per_class,
        images=matches.num_pictures,
    )


def _per_class(
    matches: Matches,
    precision: AveragePrecision,
    thresholds: NDArray[np.float64],
    hits: NDArray[np.int64],
    counted: NDArray[np.int64],
) -> tuple[ClassFigures, ...]:
    boxes = matches.boxes_per_class
    f2 = np.where(boxes > 0, class_fbeta_at(matches, thresholds), np.nan)
    return tuple(
        ClassFigures(
            map=precision.per_class[label],
            map_50=precision.per_class_50[label],
            f2=float(f2[label]),
            precision=_share(hits[label], counted[label]),
            recall=_share(hits[label], boxes[label]),
            threshold=float(thresholds[label]),
            boxes=int(boxes[label]),
        )
        for label in range(matches.num_classes)
    )


def _share(part: np.int64, whole: np.int64) -> float:
    return float(part / whole) if whole else float("nan")


def _the_one(thresholds: NDArray[np.float64]) -> float:
    different = np.unique(thresholds)
    return float(different[0]) if len(different) == 1 else float("nan")


def none_if_nan(value: float) -> float | None:
    """A figure for JSON, which has no NaN; a count stays an integer."""
    return None if np.isnan(value) else value
