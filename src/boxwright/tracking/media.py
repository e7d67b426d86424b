"""What trackers show of a run besides its figures: pictures with boxes, and the best model. Values of no other part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxwright.runtime import Detections, ModelSpec

__all__ = [
    "CLASS_COLUMNS",
    "LONGEST_SIDE",
    "BestModel",
    "ClassRow",
    "Curve",
    "Gallery",
    "TrackedPicture",
    "choose_pictures",
    "shown_after",
]

LONGEST_SIDE = 640
"""Pixels; a larger picture is made smaller before a tracker gets it."""

CLASS_COLUMNS = ("class", "boxes", "AP", "AP50", "F2", "precision", "recall")
"""Heads of the table of classes, in the order of a ``ClassRow``."""


@dataclass(frozen=True, eq=False)
class TrackedPicture:
    """A picture with its annotations and detections.

    Attributes:
        index: of the picture in its split.
        name: of its file.
        image: upright, RGB.
        boxes: float64 [n, 4], xyxy, the annotated boxes in pixels of ``image``.
        labels: int64 [n], their class indices.
        detections: in pixels of ``image``.
    """

    index: int
    name: str
    image: Image.Image
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    detections: Detections

    def shrunk(self) -> TrackedPicture:
        """The picture with its boxes, made smaller if a side is longer than ``LONGEST_SIDE`` pixels."""
        image = self.image
        scale = min(1.0, LONGEST_SIDE / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        if size == image.size:
            return self
        scales = np.array([size[0] / image.width, size[1] / image.height] * 2)
        return replace(
            self,
            image=image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0),
            boxes=self.boxes * scales,
            detections=replace(self.detections, boxes=self.detections.boxes * scales),
        )


@dataclass(frozen=True, eq=False)
class Gallery:
    """The fixed pictures with the detections of one epoch's model.

    Attributes:
        pictures: in the split's order.
        class_names: by class index.
        threshold: score, 0..1, at which the epoch's model has its best F2.
        epoch: counted from 0.
        step: training step.
    """

    pictures: tuple[TrackedPicture, ...]
    class_names: tuple[str, ...]
    threshold: float
    epoch: int
    step: int


def choose_pictures(objects: Sequence[int], most: int) -> tuple[int, ...]:
    """Indices of pictures spread evenly over a split; pictures with objects are preferred.

    Args:
        objects: number of objects in each picture of the split.
        most: how many to choose; all if there are fewer.
    """
    filled = [index for index, count in enumerate(objects) if count]
    empty = [index for index, count in enumerate(objects) if not count]
    chosen = _spread(filled, most)
    return tuple(sorted(chosen + _spread(empty, most - len(chosen))))


def _spread(indices: list[int], most: int) -> list[int]:
    count = min(most, len(indices))
    return [indices[(2 * place + 1) * len(indices) // (2 * count)] for place in range(count)]


def shown_after(epoch: int) -> bool:
    """Whether pictures are shown after an epoch, counted from 0: the 1st, 2nd, 4th, 8th and so on."""
    number = epoch + 1
    return number & (number - 1) == 0


class ClassRow(NamedTuple):
    """One class of the validation split; figures are NaN where undefined.

    Attributes:
        name: of the class.
        boxes: number of annotated boxes, without crowds.
        ap: COCO AP.
        ap_50: AP at IoU .5.
        f2: at the class's threshold, like the next two.
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


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall of one class at every score that occurs, falling.

    Attributes:
        name: of the class.
        thresholds: float64 [s], scores.
        precision: float64 [s].
        recall: float64 [s].
        boxes: number of annotated boxes, without crowds.
    """

    name: str
    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    boxes: int

    def thinned(self, most: int) -> Curve:
        """At most ``most`` points, evenly spread, with the first and the last."""
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
        weights: files of the model, for a tracker that keeps models; empty if it should not.
    """

    spec: ModelSpec
    figures: Mapping[str, float]
    classes: tuple[ClassRow, ...]
    curves: tuple[Curve, ...]
    files: tuple[Path, ...]
    weights: tuple[Path, ...]
