"""Charts of one evaluation: over scores and recalls, by kind of mistake, by size of box, by class."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.analysis import Analysis
from boxwright.metrics.calibration import Calibration
from boxwright.metrics.error_types import KINDS
from boxwright.metrics.figures import HEADLINE
from boxwright.metrics.precision_recall import PrecisionRecall, precision_recall
from boxwright.runtime import OperatingPoint

from .charts import Chart, Column, Dot, Mark, Plot, Series, line_chart
from .rows import Bar, bars, matrix
from .svg import figure, number, share_axis
from .words import GIVEN, is_shared

__all__ = [
    "THRESHOLDS",
    "boxes_chart",
    "calibration_chart",
    "confusion_chart",
    "error_chart",
    "precision_recall_chart",
    "size_chart",
    "threshold_chart",
]

THRESHOLDS: tuple[float, ...] = tuple(step / 100 for step in range(101))
"""The scores at which curves are drawn."""

_RECALLS: tuple[float, ...] = tuple(step / 100 for step in range(101))
_MOST_CLASSES = 12
_MOST_BARS = 40
_LARGEST_MATRIX = 25  # classes of a confusion matrix that can be read
_MOST_PAIRS = 25
_LEAST_COST = 0.1  # of mAP50, that fills a bar: what costs next to nothing must not look like much
_MEANINGS = {
    "classification": (
        "wrong class",
        "the place is right; more pictures of the mixed-up classes, or labels to correct",
    ),
    "localisation": (
        "wrong place",
        "the class is right, the box is loose; a larger canvas, or tighter annotations",
    ),
    "both": ("wrong class and place", "near a box of another class; usually goes with the two above"),
    "duplicate": ("found twice", "a second box on the same object; suppress overlaps more strictly"),
    "background": ("on nothing", "no box there; pictures without objects in training, or boxes that were forgotten"),
    "missed": ("missed", "nothing near; more examples, stronger augmentation, a larger canvas for small objects"),
}
_SIZES = {
    "small": "below 32 x 32 pixels",
    "medium": "up to 96 x 96 pixels",
    "large": "above",
}


def threshold_chart(analysis: Analysis, point: OperatingPoint, names: Sequence[str]) -> Chart:
    """F2 and macro F2 by score threshold, with precision and recall."""
    pooled = precision_recall(analysis.matches)
    at = np.array([pooled.at(threshold) for threshold in THRESHOLDS])
    series = [
        Series("F2", [analysis.curve.at(threshold) for threshold in THRESHOLDS], 0),
        Series(HEADLINE["f2_macro"], [analysis.macro_curve.at(threshold) for threshold in THRESHOLDS], 1),
        Series("precision, IoU 0.5", at[:, 0].tolist(), 2, quiet=True),
        Series("recall, IoU 0.5", at[:, 1].tolist(), 3, quiet=True),
    ]
    shared = is_shared(point, names)
    mark = Mark(point.threshold, f"{_word(point, shared)} {figure(point.threshold)}", point.interval)
    note = "One threshold for all classes" + ("; the band is its 95 % interval." if point.interval else ".")
    note += "" if shared else " The thresholds of the classes are in use: see the table."
    x, y = share_axis("score threshold"), share_axis("")
    return line_chart("chart-threshold", "F2 by score threshold", Plot(x, y, THRESHOLDS, series, [mark]), note)


def _word(point: OperatingPoint, shared: bool) -> str:
    if point.objective == GIVEN:
        return "asked for:"
    return "operating point" if shared else "one for all:"


def precision_recall_chart(analysis: Analysis, names: Sequence[str]) -> Chart | None:
    """Precision by recall at IoU .5 of the classes that have boxes; of many, the worst and the most frequent.

    Each precision is the best at that recall or a higher one, as in AP; the dots are the thresholds in use.
    None without boxes.
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
    plot = Plot(x, y, _RECALLS, series, dots=dots)
    return line_chart("chart-precision-recall", "Precision by recall", plot, note)


def _worth_showing(analysis: Analysis, labels: Sequence[int]) -> Sequence[int]:
    if len(labels) <= _MOST_CLASSES:
        return labels
    worst = sorted(labels, key=lambda label: analysis.figures.per_class[label].map_50)
    frequent = sorted(labels, key=lambda label: -analysis.figures.per_class[label].boxes)
    in_turn = [label for pair in zip(worst, frequent, strict=True) for label in pair]
    return list(dict.fromkeys(in_turn))[:_MOST_CLASSES]


def _best_from(curve: PrecisionRecall) -> NDArray[np.float64]:
    """The highest precision at each of ``_RECALLS`` or beyond; NaN where that recall is never reached."""
    from_here = np.maximum.accumulate(np.nan_to_num(curve.precision)[::-1])[::-1]
    first = np.searchsorted(curve.recall, np.asarray(_RECALLS) - 1e-12)
    reached: NDArray[np.float64] = np.append(from_here, np.nan)[first]
    return reached


def calibration_chart(calibration: Calibration) -> Chart | None:
    """How often detections with a score are right, with the number of detections behind; None without detections."""
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
    x, y = share_axis("score"), share_axis("share that is right")
    plot = Plot(x, y, places, series, dots=dots, columns=columns, stops=stops)
    return line_chart("chart-calibration", "Do scores mean what they say?", plot, note)


def _bin(calibration: Calibration, at: int) -> str:
    low, high = calibration.edges[at : at + 2]
    lines = (
        f"score {number(low, 2)} to {number(high, 2)}: {calibration.counts[at]} detections",
        f"mean score  {figure(calibration.confidence[at])}",
        f"right  {figure(calibration.precision[at])}",
    )
    return "\n".join(lines)


def error_chart(analysis: Analysis) -> Chart:
    """Errors by type (TIDE) with what each costs, and what usually helps."""
    errors = analysis.errors
    rows = [
        Bar(
            _MEANINGS[kind][0].capitalize(),
            errors.costs[kind],
            _added(errors.costs[kind]),
            detail=f"{errors.counts[kind]} error{'' if errors.counts[kind] == 1 else 's'}",
            hint=_MEANINGS[kind][1],
            index=1,
        )
        for kind in KINDS
    ]
    note = (
        f"What correcting all errors of a kind would add to an mAP50 of {figure(errors.map_50)}, and their number "
        "over all scores (TIDE, Bolya et al. 2020)."
    )
    longest = max([_LEAST_COST, *(row.value for row in rows if math.isfinite(row.value))])
    return bars("chart-errors", "Errors by type", rows, top=longest, note=note)


def _added(cost: float) -> str:
    return "under +0.001" if 0.0 < cost < 0.001 else f"+{figure(cost)}"


def size_chart(analysis: Analysis) -> Chart:
    """COCO AP and recall by size of box."""
    boxes = analysis.matches.by_area.boxes_per_class.sum(axis=1)
    rows = []
    for at, (size, meaning) in enumerate(_SIZES.items()):
        average = getattr(analysis.figures, f"map_{size}")
        recall = getattr(analysis.figures, f"ar_{size}")
        hint = f"{meaning}; {boxes[at]} boxes"
        rows.append(Bar(size.capitalize(), average, figure(average), f"recall {figure(recall)}", hint))
    note = "COCO AP, and the mean recall of the 100 best detections per picture."
    return bars("chart-sizes", "mAP by size of box", rows, top=1.0, note=note)


def confusion_chart(analysis: Analysis, names: tuple[str, ...]) -> Chart:
    """The confusion matrix at the operating point; with many classes the pairs that are mixed up most often."""
    if len(names) > _LARGEST_MATRIX:
        return _pairs(analysis.confusion, names)
    note = (
        "Annotated boxes (rows) as they were detected at the operating point, IoU 0.5; shaded by share of the row. "
        "Boxes in the column 'background' were missed; detections in the row 'background' lie on no box."
    )
    title = "Confusion of classes"
    return matrix("chart-confusion", title, analysis.confusion, [*names, "background"], note=note)


def _pairs(confusion: NDArray[np.int64], names: tuple[str, ...]) -> Chart:
    classes = confusion[:-1, :-1].copy()
    np.fill_diagonal(classes, 0)
    order = np.argsort(-classes, axis=None, kind="stable")[:_MOST_PAIRS]
    rows = []
    for truth, detected in zip(*np.unravel_index(order, classes.shape), strict=True):
        count = int(classes[truth, detected])
        if count:
            share = count / int(confusion[truth].sum())
            rows.append(Bar(f"{names[truth]} → {names[detected]}", count, str(count), f"{share:.0%}", index=1))
    note = (
        f"Boxes detected as another class at the operating point, IoU 0.5, with their share of the class. "
        f"Of {int(confusion[:-1].sum())} boxes {int(confusion[:-1, -1].sum())} were missed; "
        f"{int(confusion[-1].sum())} detections lie on nothing."
    )
    return bars("chart-confusion", "Classes most often mixed up", rows, note=note)


def boxes_chart(analysis: Analysis, names: Sequence[str], split: str) -> Chart:
    """How many boxes each class has in the split; with many classes only the most frequent ones."""
    counts = sorted(zip(analysis.matches.boxes_per_class.tolist(), names, strict=True), key=lambda pair: -pair[0])
    rows = [Bar(name, count, str(count)) for count, name in counts[:_MOST_BARS]]
    note = f"The {_MOST_BARS} most frequent of {len(names)} classes." if len(names) > _MOST_BARS else ""
    return bars("chart-boxes", f"Boxes by class in {split}", rows, note=note)
