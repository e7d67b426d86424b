"""The operating point of a model: chosen from its detections on validation, and written into its specification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.host.files import write_text
from boxwright.metrics import Figures, Matches, fbeta_at, none_if_nan
from boxwright.metrics.bootstrap import Intervals, intervals
from boxwright.metrics.figures import REPORTED, figures_of
from boxwright.metrics.interval import Interval
from boxwright.metrics.objective import Choice, Objective, choose
from boxwright.metrics.stability import ReportedCounts
from boxwright.runtime import ConfigError, ModelSpec, OperatingPoint
from boxwright.runtime.bundle import RUN_SPEC
from boxwright.runtime.spec import DEFAULT_THRESHOLD

from .results import RESULTS, SplitResults

__all__ = [
    "best_point",
    "between_scores",
    "interval_document",
    "measured_spec",
    "recorded_intervals",
    "reported_counts",
    "reported_figures",
    "with_reported",
    "write_spec",
]


def measured_spec(spec: ModelSpec, results: SplitResults, objective: Objective, by_class: bool = False) -> ModelSpec:
    """The specification with its operating point and the figures there, with their intervals.

    Args:
        spec: of the model.
        results: on validation.
        objective: what the operating point maximises.
        by_class: report each class with enough boxes from its own threshold.

    Raises:
        ConfigError: the objective cannot be attained.
    """
    matches = results.matches()
    point = _point(choose(matches, objective), objective, results, by_class)
    thresholds = np.array(point.thresholds(results.class_names))
    figures, measured = figures_of(matches, thresholds), intervals(matches, thresholds)
    if by_class:
        point = _measured_by_class(point, objective, matches, figures, measured)
    document = figures.to_document(results.class_names)
    document["intervals"] = interval_document(measured, results.class_names)
    document["reported"] = reported_figures(results, thresholds)
    document["reported_counts"] = reported_counts(results, thresholds)
    return replace(spec, operating_point=point, measured={**spec.measured, results.split: document})


def reported_figures(results: SplitResults, thresholds: NDArray[np.float64]) -> dict[str, Any]:
    """The figures that an endpoint can reach, for JSON: of the detections that reach the thresholds alone.

    F2, precision and recall equal those of all detections. mAP is lower, since it also ranks fainter detections.

    Args:
        results: on a split.
        thresholds: float64 [K], lowest reported score of each class.
    """
    document = figures_of(_reported(results, thresholds).matches(), thresholds).to_document(results.class_names)
    return {name: document[name] for name in REPORTED}


def reported_counts(results: SplitResults, thresholds: NDArray[np.float64]) -> dict[str, Any]:
    """How often each class and each score is reported, for JSON: what a server's answers are held against.

    Args:
        results: on a split.
        thresholds: float64 [K], lowest reported score of each class.
    """
    names = results.class_names
    return ReportedCounts.of(_reported(results, thresholds).detections, len(names)).to_document(names)


def _reported(results: SplitResults, thresholds: NDArray[np.float64]) -> SplitResults:
    return replace(results, detections=tuple(one.filter_by_score(thresholds) for one in results.detections))


_OF_REPORTED = {"reported": reported_figures, "reported_counts": reported_counts}


def with_reported(spec: ModelSpec, run: Path) -> ModelSpec:
    """The specification with figures and counts of what is reported, which an older run lacks.

    They are made from the run's detections, if it has them.
    """
    if not (run / RESULTS).is_file():
        return spec
    results = SplitResults.load(run / RESULTS)
    document = spec.measured.get(results.split)
    if not isinstance(document, Mapping) or results.class_names != spec.class_names:
        return spec
    missing = [name for name in _OF_REPORTED if name not in document]
    if not missing:
        return spec
    thresholds = np.array(spec.operating_point.thresholds(spec.class_names))
    added = {name: _OF_REPORTED[name](results, thresholds) for name in missing}
    return replace(spec, measured={**spec.measured, results.split: {**document, **added}})


def best_point(results: SplitResults) -> OperatingPoint:
    """Where F2 is highest on the very pictures of the results: a little too good, as it was chosen on them.

    Without boxes or without detections it is the default, with no value.
    """
    objective = Objective.parse("f2")
    if not _can_choose(results.matches()):
        return OperatingPoint(objective=str(objective), split=results.split)
    return _point(choose(results.matches(), objective), objective, results, by_class=False)


def _can_choose(matches: Matches) -> bool:
    return bool(matches.scores.size and matches.boxes_per_class.any())


def _measured_by_class(
    point: OperatingPoint, objective: Objective, matches: Matches, figures: Figures, measured: Intervals
) -> OperatingPoint:
    """The operating point with its value at the classes' own thresholds, where the bound must hold as well.

    Raises:
        ConfigError: classes without a threshold of their own push the pooled figure below the bound.
    """
    if objective.figure == "f":
        thresholds = np.array([one.threshold for one in figures.per_class])
        value = fbeta_at(matches, thresholds, objective.number)
    else:
        value, bound = (float(getattr(figures, name)) for name in (objective.maximised, objective.figure))
        if bound < objective.number:
            raise ConfigError(
                f"With a threshold for each class the {objective.figure} is {bound:.3f}, less than {objective.number}.",
                "Use one threshold for all classes (--global), or ask for less.",
            )
    interval = measured.figures.get(objective.maximised)
    return replace(point, value=none_if_nan(value), value_interval=_ends(interval))


def write_spec(run: Path, spec: ModelSpec) -> None:
    """Write a run's ``spec.json``, whole or not at all."""
    write_text(run / RUN_SPEC, spec.to_json())


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


def recorded_intervals(spec: ModelSpec, split: str) -> Intervals | None:
    """The intervals that ``measured_spec`` wrote, read back; None if they are not of the thresholds in use.

    Args:
        spec: of a model.
        split: they were measured on.
    """
    document, names = spec.measured.get(split, {}), spec.class_names
    figures = dict(document.get("intervals", {}))
    per_class = figures.pop("per_class", None)
    measured_at = [document.get("per_class", {}).get(name, {}).get("threshold") for name in names]
    if per_class is None or measured_at != list(spec.operating_point.thresholds(names)):
        return None
    return Intervals(
        {figure: _interval(ends) for figure, ends in figures.items()},
        {figure: tuple(_interval(per_class[name][figure]) for name in names) for figure in ("map", "f2")},
    )


def _interval(ends: Sequence[float] | None) -> Interval:
    return Interval(nan, nan) if ends is None else Interval(*ends)


def _point(choice: Choice, objective: Objective, results: SplitResults, by_class: bool) -> OperatingPoint:
    matches = results.matches()
    per_class = {
        results.class_names[label]: between_scores(threshold, matches.scores[matches.rows_of(label)])
        for label, threshold in choice.per_class.items()
    }
    threshold, interval = DEFAULT_THRESHOLD, None
    if _can_choose(matches):
        threshold, interval = between_scores(choice.threshold, matches.scores), _ends(choice.interval)
    return OperatingPoint(
        threshold=threshold,
        objective=str(objective),
        value=none_if_nan(choice.value),
        split=results.split,
        interval=None if interval is None else (min(interval[0], threshold), interval[1]),  # include the threshold
        value_interval=_ends(choice.value_interval),
        per_class=per_class,
        by_class=by_class,
    )


def between_scores(threshold: float, scores: NDArray[np.float64]) -> float:
    """Halfway from a threshold down to the next score, or to 0: the same detections reach it.

    With a threshold equal to a score, that detection is lost wherever another backend rounds the score down.
    Without any score there is nothing to lose: the threshold is the default, and stays.
    """
    if not scores.size:
        return threshold
    return float((threshold + scores[scores < threshold].max(initial=0.0)) / 2)


def _ends(interval: Interval | None) -> tuple[float, float] | None:
    return None if interval is None or np.isnan(interval.low) else (interval.low, interval.high)
