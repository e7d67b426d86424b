"""The figures of every class, as rows that can be sorted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from boxwright.evaluation.analysis import Analysis
from boxwright.metrics.interval import Interval

from .charts import Chart
from .rows import Bar, bars
from .svg import between, figure

__all__ = ["COLUMNS", "Cell", "Row", "boxes_chart", "class_rows"]

COLUMNS = (
    ("class", False), ("boxes", True), ("mAP", True), ("mAP50", True), ("F2", True), ("precision", True),
    ("recall", True), ("threshold", True), ("own threshold", True),
)  # fmt: skip
"""Heads of the table, and whether figures stand below."""

_MOST_BARS = 40


@dataclass(frozen=True)
class Cell:
    """A figure.

    Attributes:
        value: to sort by; empty where there is none.
        text: to read.
        interval: 95 %, to read; empty where there is none.
    """

    value: str
    text: str
    interval: str = ""


@dataclass(frozen=True)
class Row:
    """A class and its figures, in the order of ``COLUMNS``."""

    name: str
    cells: tuple[Cell, ...]


def class_rows(analysis: Analysis, names: Sequence[str], own: Mapping[str, float]) -> Iterator[Row]:
    """One row a class, in the order of the class contract.

    Args:
        analysis: of a split, with the thresholds in use.
        names: class names by index.
        own: thresholds of single classes by name, in use or not.
    """
    intervals = analysis.class_intervals
    for label, (name, one) in enumerate(zip(names, analysis.figures.per_class, strict=True)):
        yield Row(
            name,
            (
                Cell(str(one.boxes), str(one.boxes)),
                _cell(one.map, intervals["map"][label]),
                _cell(one.map_50),
                _cell(one.f2, intervals["f2"][label]),
                _cell(one.precision),
                _cell(one.recall),
                _cell(float(analysis.thresholds[label])),
                _cell(own.get(name, math.nan)),
            ),
        )


def _cell(value: float, interval: Interval | None = None) -> Cell:
    if not math.isfinite(value):
        return Cell("", figure(value))
    return Cell(repr(float(value)), figure(value), "" if interval is None else between(interval.low, interval.high))


def boxes_chart(analysis: Analysis, names: Sequence[str], split: str) -> Chart:
    """How many boxes each class has in the split; of many classes the most frequent."""
    counts = sorted(zip(analysis.matches.boxes_per_class.tolist(), names, strict=True), key=lambda pair: -pair[0])
    rows = [Bar(name, count, str(count)) for count, name in counts[:_MOST_BARS]]
    note = f"The {_MOST_BARS} most frequent of {len(names)} classes." if len(names) > _MOST_BARS else ""
    return bars("chart-boxes", f"Boxes by class in {split}", rows, note=note)
