"""Figures by epoch, from the lines of ``metrics.jsonl``, of one run or of several over one another."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .charts import Chart, Mark, Plot, Series, line_chart
from .svg import axis_over

__all__ = ["Curves", "Line", "curves_by_epoch", "epoch_chart", "loss_chart", "median_of"]

Curves = Mapping[str, Mapping[int, float]]
"""Key of a figure -> epoch (from 0) -> its value."""


class Line(NamedTuple):
    """A line by epoch: its name, its values, and whether it is only context, drawn thin."""

    name: str
    values: Mapping[int, float]
    quiet: bool = False


_LOSS, _PART = "train/loss", "train/loss_"


def curves_by_epoch(lines: Sequence[Mapping[str, Any]]) -> Curves:
    """All finite figures of a run; of several lines about one epoch the last counts.

    Args:
        lines: ``{"epoch": e, "step": n, key: value, ...}``; several per epoch.
    """
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for line in lines:
        epoch = line.get("epoch")
        if not isinstance(epoch, int) or epoch < 0:
            continue
        for key, value in line.items():
            if key not in ("epoch", "step") and isinstance(value, (int, float)) and math.isfinite(value):
                curves[key][epoch] = float(value)
    return dict(curves)


def median_of(curves: Curves, key: str) -> float | None:
    """The median over the epochs; None if it was never logged."""
    values = list(curves.get(key, {}).values())
    return statistics.median(values) if values else None


def loss_chart(curves: Curves, best: int | None) -> Chart | None:
    """The training loss and its parts; None without any."""
    parts = sorted(key for key in curves if key.startswith(_PART))
    named = {_LOSS: "sum", **{key: key.removeprefix(_PART).replace("_", " ") for key in parts}}
    lines = [Line(name, curves[key]) for key, name in named.items() if key in curves]
    lines = [*lines[:1], *(line._replace(quiet=True) for line in lines[1:])]
    return epoch_chart("chart-loss", "Training loss", "loss", lines, best, top=None)


def epoch_chart(
    id: str,  # noqa: A002 - it is the element's id
    title: str,
    label: str,
    lines: Sequence[Line],
    best: int | None = None,
    *,
    top: float | None = 1.0,
) -> Chart | None:
    """Lines by epoch, counted from 1 as the console does; None if there is nothing to draw.

    Args:
        id: of the figure element.
        title: above the drawing.
        label: of the y axis.
        lines: what is drawn.
        best: epoch to mark, from 0.
        top: the greatest possible value, or None.
    """
    epochs = sorted({epoch for line in lines for epoch in line.values})
    if not epochs:
        return None
    series = [
        Series(line.name, [line.values.get(epoch, math.nan) for epoch in epochs], index, line.quiet)
        for index, line in enumerate(lines)
    ]
    every = [value for one in series for value in one.values]
    places = [epoch + 1.0 for epoch in epochs]
    x = axis_over("epoch", places, whole=True)
    y = axis_over(label, every, zero=True, top=top)
    marks = [] if best is None else [Mark(best + 1.0, f"best: epoch {best + 1}")]
    return line_chart(id, title, Plot(x, y, places, series, marks))
