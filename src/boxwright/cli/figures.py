"""Figures as tables and sentences for people, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from boxwright.cli.verbs.options import shown
from boxwright.evaluation import Evaluation
from boxwright.evaluation.compare import Contender
from boxwright.metrics.comparison import Comparison, Difference
from boxwright.metrics.objective import MIN_BOXES
from boxwright.parity.endpoint import EndpointEvaluation
from boxwright.reporting.headline import HEADLINE
from boxwright.reporting.operating_point import in_words, measured_at
from boxwright.runtime import ModelSpec, OperatingPoint

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "comparison_document",
    "print_comparisons",
    "print_endpoint_evaluation",
    "print_evaluation",
    "print_operating_point",
]

_ANSWERED = {
    "map": "mAP",
    "map_50": "mAP50",
    "map_75": "mAP75",
    "f2": "F2",
    "f2_macro": "F2, mean of classes",
    "precision": "precision",
    "recall": "recall",
}


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """The headline with its intervals, and a line a class."""
    from rich.table import Table

    document = evaluation.to_document()
    intervals = document["intervals"]
    console.print(f"{evaluation.split}: {document['images']} pictures in {document['seconds']:.1f} s")
    headline = Table("", "", "95 % interval", box=None, show_header=True)
    for key, title in HEADLINE.items():
        headline.add_row(title, shown(document[key]), _interval(intervals.get(key)))
    console.print(headline)
    used = measured_at(evaluation.spec.operating_point, evaluation.spec.class_names)
    best = f"{shown(document['best_f2'])} at {document['best_threshold']:.3f}"
    console.print(f"{used}; best possible F2 with one score for all classes {best}")
    table = Table("class", "boxes", "mAP", "mAP50", "F2", "precision", "recall", box=None)
    for name, row in document["per_class"].items():
        cells = (shown(row[key]) for key in ("map", "map_50", "f2", "precision", "recall"))
        table.add_row(name, str(row["boxes"]), *cells)
    console.print(table)


def print_endpoint_evaluation(console: Console, evaluation: EndpointEvaluation) -> None:
    """Figures of the answers beside the model's."""
    from rich.table import Table

    figures, reference = evaluation.figures, evaluation.reference
    used = measured_at(evaluation.spec.operating_point, evaluation.spec.class_names)
    pictures = f"{figures['images']} pictures of {evaluation.split}"
    console.print(f"{evaluation.url}: {pictures} in {evaluation.seconds:.1f} s, {used}")
    table = Table("of what is reported", "endpoint", "model", "difference", box=None)
    for key, title in _ANSWERED.items():
        one, other = figures.get(key), reference.get(key)
        difference = "-" if one is None or other is None else f"{one - other:+.6f}"
        table.add_row(title, shown(one), shown(other), difference)
    console.print(table)
    console.print(f"The model's figures are from {evaluation.reference_from}; tolerance {evaluation.tolerance:g}")


def print_operating_point(console: Console, spec: ModelSpec) -> None:
    """Where it lies, how sure that is, and the thresholds of single classes."""
    from rich.table import Table

    point = spec.operating_point
    measured = f"{shown(point.value)} on {point.split}" if point.split else "never measured"
    console.print(f"{spec.name}: {in_words(point, spec.class_names)}, for {point.objective}: {measured}")
    if point.interval:
        what = f"one score for all, {point.threshold:.3f}: " if point.by_class else ""
        console.print(f"{what}95 % of resampled validation sets would choose {_interval(point.interval)}")
    if not point.per_class and not point.by_class:
        return
    table = Table("class", "boxes", "own threshold", "in use", box=None)
    for name, used in zip(spec.class_names, point.thresholds(spec.class_names), strict=True):
        boxes = _boxes(spec, name)
        table.add_row(name, "-" if boxes is None else str(boxes), _own(point, name, boxes), f"{used:.3f}")
    console.print(table)


def _boxes(spec: ModelSpec, name: str) -> int | None:
    """How many there were to choose the class's threshold by; None where that was not recorded."""
    measured = spec.measured.get(spec.operating_point.split or "", {})
    boxes = measured.get("per_class", {}).get(name, {}).get("boxes")
    return boxes if isinstance(boxes, int) else None


def _own(point: OperatingPoint, name: str, boxes: int | None) -> str:
    """A class's own threshold, or why it has none."""
    if name in point.per_class:
        return f"{point.per_class[name]:.3f}"
    if boxes is None:
        return "-"
    if boxes < MIN_BOXES:
        return f"none: fewer than {MIN_BOXES} boxes"
    return "none: nothing detected" if point.objective.startswith("f") else f"none: {point.objective} not attained"


def _interval(ends: Sequence[float | None] | None) -> str:
    return f"{shown(ends[0])} to {shown(ends[1])}" if ends else "-"


def print_comparisons(console: Console, contenders: Sequence[Contender], comparisons: Sequence[Comparison]) -> None:
    """A sentence for every figure that is compared, and a table of the classes."""
    first = contenders[0]
    pictures = len(first.results.file_names)
    console.print(f"On the same {pictures} pictures ({first.results.split}):")
    for other, comparison in zip(contenders[1:], comparisons, strict=True):
        console.print()
        for difference in comparison.figures:
            console.print(difference.sentence(first.name, other.name))
        console.print(_class_table(first, other, comparison))


def _class_table(first: Contender, other: Contender, comparison: Comparison) -> Table:
    from rich.table import Column, Table

    names = [Column(one.name, overflow="fold") for one in (first, other)]  # cut short, two might look the same
    table = Table("AP", *names, "difference", "95 % interval", "stands", box=None)
    for name, (precision, _) in zip(first.results.class_names, comparison.per_class, strict=True):
        ends = (precision.interval.low, precision.interval.high)
        cells = (precision.first, precision.second, precision.difference)
        table.add_row(name, *map(shown, cells), _interval(ends), "yes" if precision.stands else "no")
    return table


def comparison_document(contenders: Sequence[Contender], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """What ``boxwright compare --json`` writes."""
    first = contenders[0]
    return {
        "split": first.results.split,
        "images": len(first.results.file_names),
        "first": first.name,
        "comparisons": [
            {"second": other.name, **_differences(first, comparison)}
            for other, comparison in zip(contenders[1:], comparisons, strict=True)
        ],
    }


def _differences(first: Contender, comparison: Comparison) -> dict[str, Any]:
    names = first.results.class_names
    return {
        "figures": {one.figure: _difference(one) for one in comparison.figures},
        "per_class": {
            name: {one.figure: _difference(one) for one in pair}
            for name, pair in zip(names, comparison.per_class, strict=True)
        },
    }


def _difference(one: Difference) -> dict[str, Any]:
    numbers = {"first": one.first, "second": one.second, "difference": one.difference}
    ends = (one.interval.low, one.interval.high)
    return {
        **{name: None if isnan(number) else number for name, number in numbers.items()},
        "interval": None if isnan(ends[0]) else ends,
        "stands": one.stands,
    }
