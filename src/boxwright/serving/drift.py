"""Whether what a served model reports is still what it reported on validation."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright.metrics.stability import SCORE_BUCKETS, ReportedCounts, stability_index
from boxwright.runtime import ModelSpec

__all__ = ["ALERT", "LEAST_PICTURES", "WINDOW", "Drift", "DriftFigures", "expected_counts"]

WINDOW = 1000
"""Pictures that are looked back on."""
LEAST_PICTURES = 200
"""Pictures below which nothing is said: a few scenes are no sample."""
ALERT = 0.25
"""Index from which somebody should look; see ``stability_index``."""


def expected_counts(spec: ModelSpec) -> ReportedCounts | None:
    """What the model reported on validation; None if its archive does not say, as older ones do not.

    Args:
        spec: of the model. The split its operating point was chosen on is preferred.
    """
    splits = sorted(spec.measured, key=lambda split: (split != spec.operating_point.split, split))
    for split in splits:
        counts = ReportedCounts.from_document(spec.measured[split].get("reported_counts"), spec.class_names)
        if counts is not None and counts.pictures:
            return counts
    return None


@dataclass(frozen=True)
class DriftFigures:
    """How far the last pictures are from validation.

    Attributes:
        classes: stability index of the class shares; a picture without detections counts as a class of its own.
        scores: stability index of the scores.
        pictures: that were looked at.
    """

    classes: float
    scores: float
    pictures: int


class Drift:
    """Counts what is reported on the last pictures of one version. Not for several threads at once.

    Args:
        spec: of the model.
        window: pictures that are looked back on.
        least: pictures below which nothing is said.

    Attributes:
        expected: counts of validation; None if the archive holds none, then there are never figures.
    """

    def __init__(self, spec: ModelSpec, window: int = WINDOW, least: int = LEAST_PICTURES) -> None:
        assert 0 < least <= window, "with fewer pictures than that there would never be a figure"
        self.expected = expected_counts(spec)
        self._window, self._least = window, least
        self._pictures: deque[NDArray[np.int64]] = deque()
        self._classes = len(spec.classes) + 1
        self._counts = np.zeros(self._classes + SCORE_BUCKETS, np.int64)

    @property
    def pictures(self) -> int:
        """In the window now."""
        return len(self._pictures)

    def add(self, counts: NDArray[np.int64]) -> None:
        """Count a picture, and forget the one that leaves the window.

        Args:
            counts: of its detections from the operating point on; see ``picture_counts``.
        """
        self._pictures.append(counts)
        self._counts += counts
        if len(self._pictures) > self._window:
            self._counts -= self._pictures.popleft()

    def figures(self) -> DriftFigures | None:
        """How far the window is from validation; None with too few pictures, or nothing to compare with."""
        if self.expected is None or self.pictures < self._least:
            return None
        expected, pictures = self.expected, (self.expected.pictures, self.pictures)
        return DriftFigures(
            classes=stability_index(expected.classes, self._counts[: self._classes], pictures),
            scores=stability_index(expected.scores, self._counts[self._classes :], pictures),
            pictures=self.pictures,
        )
