"""Everything that a report shows about one evaluation, from one matching pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright import metrics
from boxwright.metrics.bootstrap import Intervals, intervals
from boxwright.metrics.interval import Interval
from boxwright.runtime import OperatingPoint

from .results import SplitResults

__all__ = ["Analysis", "analyse"]


@dataclass(frozen=True, eq=False)
class Analysis:
    """One evaluation with K classes.

    Attributes:
        matches: of the detections.
        figures: at the operating point.
        intervals: 95 %, of ``map``, ``map_50``, ``f2``, ``f2_macro``, ``precision`` and ``recall``.
        class_intervals: of ``map`` and ``f2`` by class index; None where fewer than two pictures have the class.
        thresholds: float64 [K], those in use.
        curve: micro F2.
        macro_curve: F2, mean over the classes that have boxes.
        precision_recall: at IoU .5, by class index.
        confusion: int64 [K + 1, K + 1], rows truth, columns detected, the last of each is background.
        errors: by kind, with the cost of each.
        calibration: of the scores.
    """

    matches: metrics.Matches
    figures: metrics.Figures
    intervals: Mapping[str, Interval]
    class_intervals: Mapping[str, tuple[Interval | None, ...]]
    thresholds: NDArray[np.float64]
    curve: metrics.FBetaCurve
    macro_curve: metrics.FBetaCurve
    precision_recall: tuple[metrics.PrecisionRecall, ...]
    confusion: NDArray[np.int64]
    errors: metrics.ErrorTypes
    calibration: metrics.Calibration


def analyse(results: SplitResults, point: OperatingPoint, measured: Intervals | None = None) -> Analysis:
    """Analyse the results of a split.

    Args:
        results: of the split.
        point: its thresholds are used.
        measured: intervals of the figures at these thresholds; computed if not given.
    """
    matches = results.matches()
    thresholds = np.array(point.thresholds(results.class_names))
    measured = measured or intervals(matches, thresholds)
    return Analysis(
        matches=matches,
        figures=metrics.figures_of(matches, thresholds),
        intervals=measured.figures,
        class_intervals=measured.by_class,
        thresholds=thresholds,
        curve=metrics.fbeta_curve(matches),
        macro_curve=metrics.macro_fbeta_curve(matches),
        precision_recall=tuple(metrics.precision_recall(matches, label) for label in range(matches.num_classes)),
        confusion=metrics.confusion_matrix(matches, thresholds),
        errors=metrics.error_types(matches),
        calibration=metrics.calibration(matches),
    )
