"""F-beta of a detector over all its score thresholds, from one matching pass.

The definition is the rule of the TensorFlow Great Barrier Reef competition (2022), extended to many
classes: F at each IoU threshold .30, .35, ... .80, averaged. A detection is a hit when it matches a
box of its own class with an IoU of at least the threshold, best score first, each box used once.
Counts are pooled over pictures and classes (micro).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime.spec import DEFAULT_THRESHOLD

from .matching import FBETA_IOUS, Matches, last_of_score

__all__ = [
    "ROUNDING",
    "FBetaCurve",
    "class_fbeta_at",
    "class_fbeta_curves",
    "fbeta_at",
    "fbeta_curve",
    "fbeta_name",
    "macro_fbeta_curve",
]

ROUNDING = 1e-12
"""Values that differ by less come from the same counts, rounded differently."""


@dataclass(frozen=True, eq=False)
class FBetaCurve:
    """F-beta against the score threshold.

    Attributes:
        thresholds: float64 [S], the distinct scores that occur, falling; at each, detections with a
            score of at least it count.
        values: float64 [S], F-beta there, in [0, 1].
        beta: recall counts beta times as much as precision.
        without_detections: F-beta above the highest score: 1.0 where there is nothing to find, else 0.0.
    """

    thresholds: NDArray[np.float64]
    values: NDArray[np.float64]
    beta: float
    without_detections: float

    def best(self) -> tuple[float, float]:
        """The threshold with the highest F-beta, and that value; of equal values the highest threshold.

        With no detections at all the threshold is the default, 0.5.
        """
        if not self.thresholds.size:
            return DEFAULT_THRESHOLD, self.without_detections
        at = int(np.argmax(self.values >= self.values.max() - ROUNDING))
        return float(self.thresholds[at]), float(self.values[at])

    def at(self, threshold: float) -> float:
        """F-beta of the detections with a score of at least ``threshold``."""
        kept = int(np.searchsorted(-self.thresholds, -threshold, side="right"))
        return float(self.values[kept - 1]) if kept else self.without_detections


def fbeta_name(beta: float) -> str:
    """``f2``, ``f0.5``."""
    return f"f{np.format_float_positional(beta, trim='-')}"


def fbeta_curve(matches: Matches, beta: float = 2.0) -> FBetaCurve:
    """F-beta at every score that occurs.

    F = (1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP) at each IoU threshold, averaged over them. Without
    boxes and detections it is 1.0.

    Args:
        matches: from ``match_detections``.
        beta: weight of recall; 2 for F2.
    """
    return _curve(matches, matches.by_score, int(matches.boxes_per_class.sum()), beta)


def class_fbeta_curves(matches: Matches, beta: float = 2.0) -> tuple[FBetaCurve, ...]:
    """The curve of each single class, by class index."""
    return tuple(
        _curve(matches, matches.rows_of(label), int(boxes), beta) for label, boxes in enumerate(matches.boxes_per_class)
    )


def macro_fbeta_curve(matches: Matches, beta: float = 2.0) -> FBetaCurve:
    """Mean of the curves of the classes that have boxes, at every score that occurs.

    Where no class has a box it is 1.0 everywhere: there is nothing to miss.
    """
    counting = np.flatnonzero(matches.boxes_per_class).tolist()
    steps = np.zeros(len(matches.scores))  # how much the F of a class changes at the last detection of each score
    for label in counting:
        rows = matches.rows_of(label)
        last = last_of_score(matches.scores[rows]) + rows.start
        curve = _curve(matches, rows, int(matches.boxes_per_class[label]), beta)
        steps[last] = np.diff(curve.values, prepend=curve.without_detections)
    scores = matches.scores[matches.by_score]
    last = last_of_score(scores)
    if not counting:
        return FBetaCurve(scores[last], np.ones(len(last)), beta, 1.0)
    values = np.clip(np.cumsum(steps[matches.by_score])[last] / len(counting), 0.0, 1.0)
    return FBetaCurve(scores[last], values, beta, 0.0)


def fbeta_at(matches: Matches, thresholds: float | NDArray[np.float64], beta: float = 2.0) -> float:
    """Micro F-beta of the detections at or above a threshold.

    Args:
        matches: from ``match_detections``.
        thresholds: one for all, or float64 [K], one per class.
        beta: weight of recall.
    """
    hits, counted = (counts[: len(FBETA_IOUS)].sum(axis=1) for counts in matches.counts_at(thresholds))
    return float(_averaged(_f(hits, counted, int(matches.boxes_per_class.sum()), beta)))


def class_fbeta_at(matches: Matches, thresholds: float | NDArray[np.float64], beta: float = 2.0) -> NDArray[np.float64]:
    """F-beta of each single class at a threshold: float64 [K]; arguments as for ``fbeta_at``."""
    hits, counted = (counts[: len(FBETA_IOUS)] for counts in matches.counts_at(thresholds))
    return _averaged(_f(hits, counted, matches.boxes_per_class, beta))


def _curve(matches: Matches, rows: slice | NDArray[np.int64], boxes: int, beta: float) -> FBetaCurve:
    """The curve of some detections, given by falling score."""
    scores = matches.scores[rows]
    last = last_of_score(scores)
    values = np.zeros(len(last))
    for level in range(len(FBETA_IOUS)):
        hits = np.cumsum(matches.hit[level][rows])[last]
        ignored = np.cumsum(matches.ignored[level][rows])[last]
        values += _f(hits, last + 1 - ignored, boxes, beta)
    return FBetaCurve(scores[last], values / len(FBETA_IOUS), beta, 0.0 if boxes else 1.0)


def _f(
    hits: NDArray[np.int64], counted: NDArray[np.int64], boxes: int | NDArray[np.int64], beta: float
) -> NDArray[np.float64]:
    """F-beta of counts; (1 + b^2) TP + b^2 FN + FP is b^2 boxes + detections."""
    weight = beta * beta
    denominator = weight * boxes + counted
    values = np.ones(denominator.shape)
    np.divide((1.0 + weight) * hits, denominator, out=values, where=denominator > 0)
    return values


def _averaged(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the IoUs [11, ...], summed in the same order as in the curve, so that both are equal to the bit."""
    averaged: NDArray[np.float64] = np.cumsum(values, axis=0)[-1] / len(values)
    return averaged
