"""A results file and the annotated pictures it is about become ``SplitResults``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from boxwright.data import Truth
from boxwright.evaluation.results import SplitResults, ground_truth_of
from boxwright.runtime import ClassEntry, Detections, OperatingPoint

from .boxes import boxes_of
from .document import ResultsFile, read_results_file
from .ids import labels_of, pictures_of
from .overlap import Overlap

__all__ = ["FoundDetections", "ResultsSpec", "read_detections"]

_CUT = 0.1
"""Where a file has no fainter detection, it was probably cut at a threshold."""


@dataclass(frozen=True, eq=False, repr=False)
class FoundDetections(Detections):
    """What a results file holds of one picture: boxes float64 [n, 4] and scores float64 [n].

    Networks give float32. Numbers of a file are decimals, and mAP changes where rounding them makes scores equal or
    moves an IoU over its threshold.
    """

    _floats: ClassVar[type[np.floating]] = np.float64


@dataclass(frozen=True)
class ResultsSpec:
    """What is known of the detector that wrote a results file; stands where a model's ``ModelSpec`` stands.

    Attributes:
        name: stem of the file's name.
        classes: by class index.
        file: path.
        digest: SHA-256 (hex) of the file.
        detections: how many the file holds.
        operating_point: given, or the best one on the very pictures: a file has none of its own.
        notes: how the file was read, in sentences, where that is not as COCO says.
    """

    name: str
    classes: tuple[ClassEntry, ...]
    file: Path
    digest: str
    detections: int
    operating_point: OperatingPoint = field(default_factory=OperatingPoint)
    notes: tuple[str, ...] = ()

    @property
    def architecture(self) -> str:
        """In place of an architecture."""
        return "results file"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names by index."""
        return tuple(entry.name for entry in self.classes)


def read_detections(path: Path, truth: Truth, boxes: str | None = None) -> tuple[SplitResults, ResultsSpec]:
    """Read a results file about annotated pictures.

    Args:
        path: of the file.
        truth: annotated pictures; those without a detection are measured too.
        boxes: what the numbers of a box are, a key of ``READINGS``; ``xywh`` by default, and an error if they are
            plainly something else.

    Returns:
        Detections and ground truth, and the specification with the default operating point.

    Raises:
        DataError: the file is no results file, or not one about these pictures and classes; the first wrong
            detection is named by its place in the list, from 0.
    """
    file, notes = read_results_file(path), list[str]()
    overlap = Overlap.of(truth, file.scores)
    pictures = pictures_of(file, truth, overlap, boxes or "xywh", notes)
    corners = boxes_of(file, truth, pictures, overlap, boxes)
    labels = labels_of(file, truth, pictures, corners, overlap, notes)
    notes += _about_scores(file)
    results = SplitResults(
        truth.split.name,
        tuple(entry.name for entry in truth.classes),
        truth.file_names,
        np.array([(one.width, one.height) for one in truth.split.pictures], np.int64).reshape(-1, 2),
        tuple(ground_truth_of(truth.split)),
        _by_picture(corners, file.scores, labels, pictures, len(truth.file_names)),
    )
    return results, ResultsSpec(path.stem, truth.classes, path, file.digest, len(file), notes=tuple(notes))


def _by_picture(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    pictures: NDArray[np.int64],
    count: int,
) -> tuple[Detections, ...]:
    """One per picture, in the order of the file; detections with the label -1 are left out."""
    order = np.argsort(pictures, kind="stable")
    order = order[labels[order] >= 0]
    cuts = np.searchsorted(pictures[order], np.arange(1, count))
    parts = np.split(order, cuts)[:count]
    return tuple(FoundDetections(boxes[part], scores[part], labels[part]) for part in parts)


def _about_scores(file: ResultsFile) -> list[str]:
    if not len(file):
        return ["The file holds no detections."]
    lowest = float(file.scores.min())
    if lowest < _CUT:
        return []
    cut = f"The lowest score is {lowest:.3g}. If the detections were cut there, mAP is too low"
    return [f"{cut}: it ranks fainter ones as well."]
