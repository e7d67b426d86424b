"""Figures by epoch, from the lines of ``metrics.jsonl``, of one run or of several over one another."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from .charts import Chart, Mark, Series, line_chart
from .svg import axis_over

__all__ = ["Curves", "curves_by_epoch", "epoch_chart", "loss_chart", "median_of"]

Curves = Mapping[str, Mapping[int, float]]
"""Key of a figure -> epoch (from 0) -> its value."""

_LOSS, _PART = "train/loss", "train/loss_"


def curves_by_epoch(lines: Sequence[Mapping[str, Any]]) -> Curves:
    """All finite figures of a run; what a later line says of the same epoch holds.

    Args:
        lines: ``{"epoch": e, "step": n, key: value, ...}``; several an epoch.
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
    """The median over the epochs; None where it was never logged."""
    values = list(curves.get(key, {}).values())
    return statistics.median(values) if values else None


def loss_chart(curves: Curves, best: int | None) -> Chart | None:
    """The training loss and its parts; None without any."""
    parts = sorted(key for key in curves if key.startswith(_PART))
    named = {_LOSS: "sum", **{key: key.removeprefix(_PART).replace("_", " ") for key in parts}}
    lines = [(name, curves[key]) for key, name in named.items() if key in curves]
    return epoch_chart("chart-loss", "Training loss", "loss", lines, best, top=None, quiet_from=1)


def epoch_chart(
    id: str,  # noqa: A002 - it is the element's id
    title: str,
    label: str,
    lines: Sequence[tuple[str, Mapping[int, float]]],
    best: int | None = None,
    *,
    top: float | None = 1.0,
    quiet_from: int = 99,
) -> Chart | None:
    """Lines by epoch, counted from 1 as the console does; None if there is nothing to draw.

    Args:
        id: of the figure element.
        title: above the drawing.
        label: of the y axis.
        lines: name and values by epoch.
        best: epoch to mark, from 0.
        top: the greatest value there can be, or None.
        quiet_from: lines from this one on are context.
    """
    epochs = sorted({epoch for _, values in lines for epoch in values})
    if not epochs:
        return None
    series = [
        Series(name, [values.get(epoch, math.nan) for epoch in epochs], index, quiet=index >= quiet_from)
        for index, (name, values) in enumerate(lines)
    ]
    every = [value for one in series for value in one.values]
    x = axis_over("epoch", [epoch + 1.0 for epoch in epochs], whole=True)
    y = axis_over(label, every, zero=True, top=top)
    marks = [] if best is None else [Mark(best + 1.0, f"best: epoch {best + 1}")]
    return line_chart(id, title, x, y, [epoch + 1.0 for epoch in epochs], series, marks=marks)
