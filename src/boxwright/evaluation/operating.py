"""The operating point of a model, chosen from what it found on validation, and written into its specification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from boxwright.metrics.bootstrap import Intervals, intervals
from boxwright.metrics.figures import figures_of
from boxwright.metrics.interval import Interval
from boxwright.metrics.objective import Choice, Objective, choose
from boxwright.runtime import ModelSpec, OperatingPoint

from .results import SplitResults

__all__ = ["interval_document", "measured_spec"]


def measured_spec(spec: ModelSpec, results: SplitResults, objective: Objective, by_class: bool = False) -> ModelSpec:
    """The specification with its operating point and the figures there, with their intervals.

    Args:
        spec: of the model.
        results: on validation.
        objective: what the operating point maximises.
        by_class: report each class that has boxes enough from its own threshold.

    Raises:
        ConfigError: the objective cannot be attained.
    """
    matches = results.matches()
    point = _point(choose(matches, objective), objective, results, by_class)
    thresholds = np.array(point.thresholds(results.class_names))
    figures = figures_of(matches, thresholds).to_document(results.class_names)
    figures["intervals"] = interval_document(intervals(matches, thresholds), results.class_names)
    return replace(spec, operating_point=point, measured={**spec.measured, results.split: figures})


def interval_document(measured: Intervals, names: Sequence[str]) -> dict[str, Any]:
    """Intervals for JSON: ``{figure: [low, high], "per_class": {name: {figure: [low, high]}}}``; null for NaN.

    Args:
        measured: 95 % intervals.
        names: class names by index.
    """
    figures = {figure: _ends(one) for figure, one in measured.figures.items()}
    by_class = {
        name: {figure: _ends(ends[label]) for figure, ends in measured.by_class.items()}
        for label, name in enumerate(names)
    }
    return {**figures, "per_class": by_class}


def _point(choice: Choice, objective: Objective, results: SplitResults, by_class: bool) -> OperatingPoint:
    return OperatingPoint(
        threshold=choice.threshold,
        objective=str(objective),
        value=_null_if_nan(choice.value),
        split=results.split,
        interval=_ends(choice.interval),
        value_interval=_ends(choice.value_interval),
        per_class={results.class_names[label]: threshold for label, threshold in choice.per_class.items()},
        by_class=by_class,
    )


def _ends(interval: Interval | None) -> tuple[float, float] | None:
    return None if interval is None or np.isnan(interval.low) else (interval.low, interval.high)


def _null_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
