"""Everything that is shown about one evaluation, from one matching pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright.metrics import FBetaCurve, Figures, Matches, fbeta_curve
from boxwright.metrics.bootstrap import Intervals, intervals
from boxwright.metrics.calibration import Calibration, calibration
from boxwright.metrics.confusion import confusion_matrix
from boxwright.metrics.error_types import ErrorTypes, error_types
from boxwright.metrics.fbeta import class_fbeta_curves, macro_fbeta_curve
from boxwright.metrics.figures import figures_of
from boxwright.metrics.interval import Interval
from boxwright.metrics.precision_recall import PrecisionRecall, precision_recall
from boxwright.runtime import OperatingPoint

from .results import SplitResults

__all__ = ["Analysis", "analyse"]


@dataclass(frozen=True, eq=False)
class Analysis:
    """One evaluation, K classes.

    Attributes:
        matches: of its detections.
        figures: at the operating point.
        intervals: 95 %, of ``map``, ``map_50``, ``f2``, ``f2_macro``, ``precision`` and ``recall``.
        class_intervals: of ``map`` and ``f2`` by class index; None where fewer than two pictures have the class.
        thresholds: float64 [K], those in use.
        curve: micro F2.
        macro_curve: mean over the classes that have boxes.
        class_curves: by class index.
        precision_recall: at IoU .5, by class index.
        confusion: int64 [K + 1, K + 1], rows truth, columns detected, last background.
        errors: by type, with what each costs.
        calibration: of the scores.
    """

    matches: Matches
    figures: Figures
    intervals: Mapping[str, Interval]
    class_intervals: Mapping[str, tuple[Interval | None, ...]]
    thresholds: NDArray[np.float64]
    curve: FBetaCurve
    macro_curve: FBetaCurve
    class_curves: tuple[FBetaCurve, ...]
    precision_recall: tuple[PrecisionRecall, ...]
    confusion: NDArray[np.int64]
    errors: ErrorTypes
    calibration: Calibration


def analyse(results: SplitResults, point: OperatingPoint, measured: Intervals | None = None) -> Analysis:
    """Analyse the results of a split.

    Args:
        results: of the split.
        point: whose thresholds are used.
        measured: intervals of the figures there, where they are at hand.
    """
    matches = results.matches()
    thresholds = np.array(point.thresholds(results.class_names))
    measured = measured or intervals(matches, thresholds)
    return Analysis(
        matches=matches,
        figures=figures_of(matches, thresholds),
        intervals=measured.figures,
        class_intervals=measured.by_class,
        thresholds=thresholds,
        curve=fbeta_curve(matches),
        macro_curve=macro_fbeta_curve(matches),
        class_curves=class_fbeta_curves(matches),
        precision_recall=tuple(precision_recall(matches, label) for label in range(matches.num_classes)),
        confusion=confusion_matrix(matches, thresholds),
        errors=error_types(matches),
        calibration=calibration(matches),
    )
