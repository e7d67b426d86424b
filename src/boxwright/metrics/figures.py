"""The figures of one evaluation, as they are logged, stored and printed.

To add a figure, give ``Figures`` a field and compute it in ``figures_of``. It is then in ``evaluate --json`` and in
the ``measured`` part of ``spec.json``. The tables below say where else it appears:

- a row of ``HEADLINE``: with its title in the table of ``evaluate`` and in the report's cards;
- a name in ``LOGGED``: after each epoch of a training in ``metrics.jsonl`` and every tracker;
- a name in ``REPORTED``: among the figures that ``evaluate --endpoint`` shows.

A figure with an interval also needs an entry in ``bootstrap.bootstrap_figures``; ``compare`` then compares it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import Detections

from .average_precision import AveragePrecision, CocoFigures, average_precision
from .columns import GroundTruth
from .fbeta import class_fbeta_at, fbeta_at, fbeta_curve
from .matching import Matches, match_detections

__all__ = ["HEADLINE", "LOGGED", "REPORTED", "ClassFigures", "Figures", "figures_of", "measure", "none_if_nan"]

HEADLINE = {
    "map": "mAP",
    "map_50": "mAP50",
    "f2": "F2",
    "f2_macro": "macro F2",
    "precision": "precision",
    "recall": "recall",
}
"""The figures that come first in the terminal and on every page, with their titles; each has an interval."""
LOGGED = ("map", "map_50", "map_75", "f2", "f2_macro", "threshold")
"""The figures that are logged after each epoch of a training."""
REPORTED = ("map", "map_50", "map_75", "f2", "f2_macro", "precision", "recall", "images")
"""The figures of an endpoint, which answers only detections above the operating point."""


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one class; NaN where it has no boxes.

    Attributes:
        map: COCO AP.
        map_50: at IoU .50.
        f2: at ``threshold``.
        precision: at ``threshold``, IoU .50.
        recall: at ``threshold``, IoU .50.
        threshold: the score threshold used.
        boxes: how many there are to find.
    """

    map: float
    map_50: float
    f2: float
    precision: float
    recall: float
    threshold: float
    boxes: int


@dataclass(frozen=True)
class Figures(CocoFigures):
    """All figures of one evaluation, each in [0, 1] or NaN: COCO's, and these.

    Attributes:
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
            name: none_if_nan(value) for name, value in vars(self).items() if name != "per_class"
        }
        per_class = {
            name: {key: none_if_nan(value) for key, value in vars(one).items()}
            for name, one in zip(names, self.per_class, strict=True)
        }
        images = document.pop("images")
        return {**document, "per_class": per_class, "images": images}


def measure(
    ground_truth: Sequence[GroundTruth],
    detections: Sequence[Detections],
    num_classes: int,
    threshold: float | Sequence[float] | None = None,
) -> Figures:
    """All figures of a detector on a data set.

    Args:
        ground_truth: one per picture.
        detections: one per picture, in the same order and pixels, down to the lowest scores.
        num_classes: K.
        threshold: score threshold for F2, precision and recall, or one per class; by default the one
            with the best F2 on this data.

    Raises:
        ValueError: a different number of pictures on the two sides, or of thresholds and classes.
    """
    return figures_of(match_detections(ground_truth, detections, num_classes), threshold)


def figures_of(matches: Matches, threshold: float | Sequence[float] | NDArray[np.float64] | None = None) -> Figures:
    """All figures from one matching pass; ``threshold`` as for ``measure``."""
    precision = average_precision(matches)
    best_threshold, best_f2 = fbeta_curve(matches).best()
    used = np.asarray(best_threshold if threshold is None else threshold, dtype=np.float64)
    thresholds = np.broadcast_to(used, (matches.num_classes,))
    hits, counted = (counts[matches.at(0.5)] for counts in matches.counts_at(thresholds))
    per_class = _per_class(matches, precision, thresholds, hits, counted)
    with_boxes = [one.f2 for one in per_class if one.boxes]
    return Figures(
        **{name: value for name, value in vars(precision).items() if not name.startswith("per_class")},
        f2=fbeta_at(matches, thresholds),
        f2_macro=float(np.mean(with_boxes)) if with_boxes else float("nan"),
        precision=_share(hits.sum(), counted.sum()),
        recall=_share(hits.sum(), matches.boxes_per_class.sum()),
        threshold=_common(used),
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


def _common(thresholds: NDArray[np.float64]) -> float:
    """The threshold of all classes; NaN where they differ."""
    different = np.unique(thresholds)
    return float(different[0]) if len(different) == 1 else float("nan")


def none_if_nan(value: float) -> float | None:
    """A figure for JSON, which has no NaN; a count stays an integer."""
    return None if np.isnan(value) else value
