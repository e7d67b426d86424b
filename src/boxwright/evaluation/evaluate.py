"""Measure a trained model on a split, with the code that serves it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.data import SPLITS, read_split
from boxwright.metrics import Figures
from boxwright.metrics.bootstrap import Intervals, intervals
from boxwright.metrics.figures import figures_of
from boxwright.runtime import (
    DataError,
    Detections,
    Execution,
    ModelSpec,
    OperatingPoint,
    PicturePredictor,
    open_bundle,
)
from boxwright.runtime.picture import LARGEST_PIXELS

from .operating import interval_document
from .results import SplitResults

__all__ = ["Evaluation", "detect_split", "evaluate"]

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of measuring a model.

    Attributes:
        figures: at the model's operating point, or at the given threshold.
        intervals: of these figures, 95 %.
        spec: of the model, with the operating point that was used.
        results: detections and ground truth.
        seconds: for loading the model, decoding and detecting.
    """

    figures: Figures
    intervals: Intervals
    spec: ModelSpec
    results: SplitResults
    seconds: float

    @property
    def split(self) -> str:
        """The split that was measured on."""
        return self.results.split

    def to_document(self) -> dict[str, Any]:
        """What ``boxwright evaluate --json`` writes."""
        return {
            **self.figures.to_document(self.spec.class_names),
            "objective": self.spec.operating_point.objective,
            "by_class": self.spec.operating_point.by_class,
            "intervals": interval_document(self.intervals, self.spec.class_names),
            "seconds": round(self.seconds, 3),
        }


def evaluate(
    source: str | Path,
    data: str | Path,
    split: str = "valid",
    *,
    threshold: float | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a run or an archive on a split.

    Every picture goes through the preprocessing and the network as in the validation of a training and in the
    server, one at a time, so the figures are the same.

    Args:
        source: run folder or ``.mar``.
        data: folder with the split.
        split: ``train``, ``valid`` or ``test``.
        threshold: for F2; the operating point by default.
        device: a torch device.
        progress: called with (pictures done, pictures in all).

    Returns:
        Figures with their intervals, detections and ground truth.

    Raises:
        ArchiveError: the model cannot be read.
        ConfigError: the threshold is outside [0, 1].
        ContractError: the classes of the data are not those of the model.
        DataError: the data cannot be read.
        MissingDependency: nothing that is installed can run the model.
    """
    given = None if threshold is None else OperatingPoint(threshold, objective="given")
    started = time.perf_counter()
    results, spec = detect_split(source, data, split, device=device, progress=progress)
    seconds = time.perf_counter() - started
    spec = replace(spec, operating_point=given or spec.operating_point)
    matches = results.matches()
    thresholds = np.array(spec.operating_point.thresholds(spec.class_names))
    return Evaluation(figures_of(matches, thresholds), intervals(matches, thresholds), spec, results, seconds)


def detect_split(
    source: str | Path, data: str | Path, split: str, *, device: str = "cpu", progress: Progress | None = None
) -> tuple[SplitResults, ModelSpec]:
    """All detections of a model on a split; see ``evaluate``."""
    predictor = PicturePredictor(open_bundle(source), Execution(device=device))
    if split not in SPLITS:
        raise DataError(f"There is no split {split!r}.", f"Use {', '.join(SPLITS)}.")
    records = read_split(Path(data), split, predictor.spec.classes)
    detections: list[Detections] = []
    for number, record in enumerate(records.pictures, start=1):
        detections.extend(predictor.detect([predictor.prepare(record.path, LARGEST_PIXELS)]))
        if progress:
            progress(number, len(records.pictures))
    return SplitResults.of(records, Path(data) / split, predictor.spec.class_names, detections), predictor.spec
