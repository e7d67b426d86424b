"""The figures of one evaluation, as they are logged, stored and printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from boxwright.runtime import Detections

from .average_precision import average_precision
from .fbeta import fbeta_curve, match_detections
from .ground_truth import GroundTruth

__all__ = ["ClassFigures", "Figures", "measure"]


@dataclass(frozen=True)
class ClassFigures:
    """One class's figures; NaN where there is nothing to measure by.

    Attributes:
        map: COCO AP.
        f2: at the threshold of the whole evaluation.
        boxes: how many there were to find.
    """

    map: float
    f2: float
    boxes: int


@dataclass(frozen=True)
class Figures:
    """All figures of one evaluation, each in [0, 1] or NaN.

    Attributes:
        map, map_50, map_75: COCO AP.
        f2: micro F2 at ``threshold``.
        f2_macro: mean over the classes that have boxes, at ``threshold``.
        threshold: the score threshold used.
        best_f2: the highest micro F2 over all thresholds.
        best_threshold: where it lies.
        per_class: by class index.
        images: number of pictures.
    """

    map: float
    map_50: float
    map_75: float
    f2: float
    f2_macro: float
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
        headline = ("map", "map_50", "map_75", "f2", "f2_macro", "threshold", "best_f2", "best_threshold")
        document: dict[str, Any] = {name: _null_if_nan(getattr(self, name)) for name in headline}
        document["per_class"] = {
            name: {"map": _null_if_nan(one.map), "f2": _null_if_nan(one.f2), "boxes": one.boxes}
            for name, one in zip(names, self.per_class, strict=True)
        }
        return {**document, "images": self.images}


def measure(
    ground_truth: Sequence[GroundTruth],
    detections: Sequence[Detections],
    num_classes: int,
    threshold: float | None = None,
) -> Figures:
    """All figures of a detector on a data set.

    Args:
        ground_truth: one a picture.
        detections: one a picture, in the same order and pixels, down to the lowest scores.
        num_classes: K.
        threshold: score threshold for F2; the best one on this data by default.
    """
    precision = average_precision(ground_truth, detections, num_classes)
    matches = match_detections(ground_truth, detections, num_classes)
    curve = fbeta_curve(matches)
    best_threshold, best_f2 = curve.best()
    used = best_threshold if threshold is None else threshold
    per_class = tuple(
        _class_figures(precision.per_class[label], fbeta_curve(matches.of_class(label)).at(used), int(boxes))
        for label, boxes in enumerate(matches.boxes_per_class)
    )
    with_boxes = [one.f2 for one in per_class if one.boxes]
    return Figures(
        map=precision.map,
        map_50=precision.map_50,
        map_75=precision.map_75,
        f2=curve.at(used),
        f2_macro=float(np.mean(with_boxes)) if with_boxes else float("nan"),
        threshold=used,
        best_f2=best_f2,
        best_threshold=best_threshold,
        per_class=per_class,
        images=len(ground_truth),
    )


def _class_figures(precision: float, f2: float, boxes: int) -> ClassFigures:
    return ClassFigures(map=precision, f2=f2 if boxes else float("nan"), boxes=boxes)


def _null_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
