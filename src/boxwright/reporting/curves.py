"""Charts over the scores and recalls of one evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.analysis import Analysis
from boxwright.metrics.calibration import Calibration
from boxwright.metrics.precision_recall import PrecisionRecall, precision_recall
from boxwright.runtime import OperatingPoint

from .charts import Chart, Column, Dot, Mark, Series, line_chart
from .operating_point import GIVEN, is_shared
from .svg import figure, number, share_axis

__all__ = ["THRESHOLDS", "calibration_chart", "precision_recall_chart", "threshold_chart"]

THRESHOLDS: tuple[float, ...] = tuple(step / 100 for step in range(101))
"""Where curves over the score are drawn at."""

_RECALLS: tuple[float, ...] = tuple(step / 100 for step in range(101))
_MOST_CLASSES = 12


def threshold_chart(analysis: Analysis, point: OperatingPoint, names: Sequence[str]) -> Chart:
    """F2 by score threshold, pooled and mean over classes, with precision and recall."""
    pooled = precision_recall(analysis.matches)
    at = np.array([pooled.at(threshold) for threshold in THRESHOLDS])
    series = [
        Series("F2", [analysis.curve.at(threshold) for threshold in THRESHOLDS], 0),
        Series("F2, mean over classes", [analysis.macro_curve.at(threshold) for threshold in THRESHOLDS], 1),
        Series("precision, IoU 0.5", at[:, 0].tolist(), 2, quiet=True),
        Series("recall, IoU 0.5", at[:, 1].tolist(), 3, quiet=True),
    ]
    shared = is_shared(point, names)
    mark = Mark(point.threshold, f"{_word(point, shared)} {figure(point.threshold)}", point.interval)
    note = "One threshold for all classes" + ("; the band is its 95 % interval." if point.interval else ".")
    note += "" if shared else " In use are those of the classes: see the table."
    x, y = share_axis("score threshold"), share_axis("")
    return line_chart("chart-threshold", "F2 by score threshold", x, y, THRESHOLDS, series, marks=[mark], note=note)


def _word(point: OperatingPoint, shared: bool) -> str:
    if point.objective == GIVEN:
        return "asked for:"
    return "operating point" if shared else "one for all:"


def precision_recall_chart(analysis: Analysis, names: Sequence[str]) -> Chart | None:
    """Precision by recall at IoU .5 of the classes that have boxes; of many, the worst and the most frequent.

    Each precision is the best that can be had at that recall or a higher one, as in AP; the dots are
    the thresholds in use. None without boxes.
    """
    labels = [label for label, curve in enumerate(analysis.precision_recall) if curve.boxes]
    if not labels:
        return None
    chosen = _worth_showing(analysis, labels)
    series, dots = [], []
    for index, label in enumerate(chosen):
        curve = analysis.precision_recall[label]
        series.append(Series(names[label], _best_from(curve).tolist(), index))
        precision, recall = curve.at(float(analysis.thresholds[label]))
        dots.append(Dot(recall, precision, index))
    some = f" {len(chosen)} of {len(labels)} classes: the worst and the most frequent." if chosen != labels else ""
    note = f"At IoU 0.5; dots are the threshold in use.{some}"
    x, y = share_axis("recall"), share_axis("precision")
    title = "Precision by recall"
    return line_chart("chart-precision-recall", title, x, y, _RECALLS, series, dots=dots, note=note)


def _worth_showing(analysis: Analysis, labels: Sequence[int]) -> Sequence[int]:
    if len(labels) <= _MOST_CLASSES:
        return labels
    worst = sorted(labels, key=lambda label: analysis.figures.per_class[label].map_50)
    frequent = sorted(labels, key=lambda label: -analysis.figures.per_class[label].boxes)
    in_turn = [label for pair in zip(worst, frequent, strict=True) for label in pair]
    return list(dict.fromkeys(in_turn))[:_MOST_CLASSES]


def _best_from(curve: PrecisionRecall) -> NDArray[np.float64]:
    """The highest precision at each of ``_RECALLS`` or beyond; NaN where so much is never found."""
    from_here = np.maximum.accumulate(np.nan_to_num(curve.precision)[::-1])[::-1]
    first = np.searchsorted(curve.recall, np.asarray(_RECALLS) - 1e-12)
    reached: NDArray[np.float64] = np.append(from_here, np.nan)[first]
    return reached


def calibration_chart(calibration: Calibration) -> Chart | None:
    """How often detections of a score are right, with the number of detections behind; None without detections."""
    counts = calibration.counts
    if not counts.sum():
        return None
    filled = np.flatnonzero(counts)
    edges, most = calibration.edges, int(counts.max())
    columns = [Column(float(edges[at]), float(edges[at + 1]), int(counts[at]) / most) for at in filled]
    stops = [((float(edges[at]) + float(edges[at + 1])) / 2, _bin(calibration, at)) for at in filled.tolist()]
    places = [0.0, *calibration.confidence[filled].tolist(), 1.0]
    measured = [np.nan, *calibration.precision[filled].tolist(), np.nan]
    series = [Series("measured", measured, 0), Series("if scores were probabilities", places, 7, quiet=True)]
    dots = [Dot(x, y, 0) for x, y in zip(places[1:-1], measured[1:-1], strict=True)]
    note = f"Expected calibration error {figure(calibration.error)}; grey columns: number of detections."
    return line_chart(
        "chart-calibration", "Do scores mean what they say?", share_axis("score"), share_axis("share that is right"),
        places, series, dots=dots, columns=columns, stops=stops, note=note,
    )  # fmt: skip


def _bin(calibration: Calibration, at: int) -> str:
    low, high = calibration.edges[at : at + 2]
    lines = (
        f"score {number(low, 2)} to {number(high, 2)}: {calibration.counts[at]} detections",
        f"mean score  {figure(calibration.confidence[at])}",
        f"right  {figure(calibration.precision[at])}",
    )
    return "\n".join(lines)
