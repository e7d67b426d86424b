"""Whether detections with a score of .8 are right eight times in ten."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .matching import Matches

__all__ = ["Calibration", "calibration"]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores compared with the share of right detections, in B bins of equal width.

    Attributes:
        edges: float64 [B + 1], from 0 to 1; a bin includes its lower edge, the last bin both edges.
        confidence: float64 [B], mean score in the bin, NaN where it is empty.
        precision: float64 [B], share of hits in the bin, NaN where it is empty.
        counts: int64 [B], detections in the bin.
        error: expected calibration error, in [0, 1]: the mean over detections of the gap between
            confidence and precision of their bin; NaN without detections.
    """

    edges: NDArray[np.float64]
    confidence: NDArray[np.float64]
    precision: NDArray[np.float64]
    counts: NDArray[np.int64]
    error: float


def calibration(matches: Matches, iou: float = 0.5, bins: int = 10) -> Calibration:
    """Calibration of all classes together; detections on crowd regions are left out.

    The error is that of Naeini et al. (2015), where a hit is a right answer as in Kueppers et al. (2020),
    by score alone.

    Args:
        matches: from ``match_detections``.
        iou: one of ``IOUS``; least IoU of a hit.
        bins: B.

    Raises:
        ValueError: ``iou`` is not one of ``IOUS``.
    """
    level = matches.at(iou)
    counted = ~matches.ignored[level]
    scores, hit = matches.scores[counted], matches.hit[level][counted]
    edges = np.linspace(0.0, 1.0, bins + 1)
    of_bin = np.searchsorted(edges[1:-1], scores, side="right")
    counts = np.bincount(of_bin, minlength=bins)
    empty = np.where(counts > 0, counts, np.nan)
    confidence = np.bincount(of_bin, weights=scores, minlength=bins) / empty
    precision = np.bincount(of_bin[hit], minlength=bins) / empty
    gaps = np.nansum(np.abs(confidence - precision) * counts)
    return Calibration(edges, confidence, precision, counts, float(gaps / len(scores)) if len(scores) else np.nan)
