"""What trackers show of a run's best model, in values of no other part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import ModelSpec

__all__ = ["CLASS_COLUMNS", "BestModel", "ClassRow", "Curve"]

CLASS_COLUMNS = ("class", "boxes", "AP", "AP50", "F2", "precision", "recall")
"""Heads of the table by class, in the order of a ``ClassRow``."""


@dataclass(frozen=True)
class ClassRow:
    """One class of the validation split; figures are NaN where undefined.

    Attributes:
        name: of the class.
        boxes: annotated, crowds left out.
        ap: COCO AP.
        ap_50: AP at IoU .5.
        f2: at the class's threshold, as are the next two.
        precision: at IoU .5.
        recall: at IoU .5.
    """

    name: str
    boxes: int
    ap: float
    ap_50: float
    f2: float
    precision: float
    recall: float

    @property
    def cells(self) -> list[str | float]:
        """Under ``CLASS_COLUMNS``."""
        return [self.name, self.boxes, self.ap, self.ap_50, self.f2, self.precision, self.recall]


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall of one class at every score that occurs, falling.

    Attributes:
        name: of the class.
        thresholds: float64 [s], scores.
        precision: float64 [s].
        recall: float64 [s].
        boxes: annotated, crowds left out.
    """

    name: str
    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    boxes: int

    def thinned(self, most: int) -> Curve:
        """At most ``most`` points, evenly spread, the first and the last among them."""
        if len(self.thresholds) <= most:
            return self
        rows = np.linspace(0, len(self.thresholds) - 1, most).round().astype(int)
        return Curve(self.name, self.thresholds[rows], self.precision[rows], self.recall[rows], self.boxes)

    def at(self, thresholds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Precision and recall, float64 [n] each, at thresholds [n]; 1 and 0 where nothing is detected."""
        rows = np.searchsorted(-self.thresholds, -thresholds, side="right")
        return np.concatenate([[1.0], self.precision])[rows], np.concatenate([[0.0], self.recall])[rows]


@dataclass(frozen=True, eq=False)
class BestModel:
    """The best model of a run, measured on the validation split.

    Attributes:
        spec: with operating point and provenance.
        figures: by key, ``best/…``.
        classes: by class index.
        curves: of the classes that have boxes and detections.
        files: small ones to keep with the run: specification, report.
        weights: files of the model, for a tracker that keeps models; empty where that is not wanted.
    """

    spec: ModelSpec
    figures: Mapping[str, float]
    classes: tuple[ClassRow, ...]
    curves: tuple[Curve, ...]
    files: tuple[Path, ...]
    weights: tuple[Path, ...]
