"""What kind of mistakes a model makes, and which classes it takes for one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.analysis import Analysis
from boxwright.metrics.error_types import KINDS

from .charts import Chart
from .rows import Bar, bars, matrix
from .svg import figure

__all__ = ["confusion_chart", "error_chart", "size_chart"]

_MOST_CLASSES = 25  # of a matrix that can be read
_MOST_PAIRS = 25
_MEANINGS = {
    "classification": ("wrong class", "the place is right; more pictures of the classes mixed up, or labels to mend"),
    "localisation": ("wrong place", "the class is right, the box loose; a larger canvas, or tighter annotations"),
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


def error_chart(analysis: Analysis) -> Chart:
    """Errors by type (TIDE) with what each costs, and what usually helps."""
    errors = analysis.errors
    rows = [
        Bar(
            _MEANINGS[kind][0].capitalize(),
            errors.costs[kind],
            f"+{figure(errors.costs[kind])}",
            detail=f"{errors.counts[kind]} of them",
            hint=_MEANINGS[kind][1],
            index=1,
        )
        for kind in KINDS
    ]
    note = (
        f"mAP50 that mending all errors of a kind would add to {figure(errors.map_50)}, and how many there are "
        "over all scores (TIDE, Bolya and others 2020)."
    )
    return bars("chart-errors", "Errors by type", rows, note=note)


def size_chart(analysis: Analysis) -> Chart:
    """COCO AP and recall by size of box."""
    boxes = analysis.matches.by_area.boxes_per_class.sum(axis=1)
    rows = []
    for at, (size, meaning) in enumerate(_SIZES.items()):
        average = getattr(analysis.figures, f"map_{size}")
        recall = getattr(analysis.figures, f"ar_{size}")
        hint = f"{meaning}; {boxes[at]} boxes"
        rows.append(Bar(size.capitalize(), average, figure(average), f"recall {figure(recall)}", hint))
    note = "COCO AP, and the mean recall of its 100 best detections a picture."
    return bars("chart-sizes", "mAP by size of box", rows, top=1.0, note=note)


def confusion_chart(analysis: Analysis, names: tuple[str, ...]) -> Chart:
    """The confusion matrix at the operating point; of many classes the pairs most often mixed up."""
    if len(names) > _MOST_CLASSES:
        return _pairs(analysis.confusion, names)
    note = (
        "Boxes of the truth (rows) as they were detected at the operating point, IoU 0.5; shaded by share of the row. "
        "The last column was missed, the last row is detections on nothing."
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
