"""Measure a trained model on a split, with the code that serves it; or the results file of any other tool."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.data import read_split, read_truth, split_named
from boxwright.host.listing import Listed, Listing, shown, shown_range
from boxwright.inputs.stores import local_place
from boxwright.metrics import Figures
from boxwright.metrics.bootstrap import Intervals, intervals
from boxwright.metrics.figures import HEADLINE, figures_of
from boxwright.runtime import (
    ConfigError,
    Detections,
    Execution,
    ModelSpec,
    OperatingPoint,
    PicturePredictor,
    open_bundle,
)
from boxwright.runtime.picture import LARGEST_PIXELS
from boxwright.runtime.spec import DEFAULT_THRESHOLD

from .operating import best_point, between_scores, interval_document
from .results import SplitResults
from .results_files import ResultsSpec, is_results_file, read_detections, require_reading
from .run import data_for

__all__ = ["Evaluation", "detect_split", "evaluate", "evaluate_file", "pictures_of_data"]

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Listed):
    """The result of measuring a model; ``print`` and notebooks show its figures.

    Attributes:
        figures: at the model's operating point, or at the given threshold.
        intervals: of these figures, 95 %.
        spec: of the model or the results file, with the operating point that was used.
        results: detections and ground truth.
        seconds: for loading the model, decoding and detecting; for reading, of a results file.
    """

    figures: Figures
    intervals: Intervals
    spec: ModelSpec | ResultsSpec
    results: SplitResults
    seconds: float

    @property
    def split(self) -> str:
        """The split that was measured on."""
        return self.results.split

    def listing(self) -> Listing:
        """The headline figures with their intervals."""
        document = self.to_document()
        rows = [(title, shown(document[key]), shown_range(document, key)) for key, title in HEADLINE.items()]
        scores = sorted(set(self.spec.operating_point.thresholds(self.spec.class_names)))
        used = " to ".join(f"{score:.3f}" for score in dict.fromkeys([*scores[:1], *scores[-1:]]))
        by_class = ", by class" if len(scores) > 1 else ""
        return Listing(
            f"{self.spec.name}, measured on {len(self.results.file_names)} pictures of {self.split}",
            ("figure", "value", "95 % interval"),
            rows,
            (f"F2, precision and recall: detections with a score of {used or '-'} or more{by_class}.",),
        )

    def to_document(self) -> dict[str, Any]:
        """What ``boxwright evaluate --json`` writes."""
        written = {} if isinstance(self.spec, ModelSpec) else _about_file(self.spec)
        return {
            **written,
            **self.figures.to_document(self.spec.class_names),
            "best_threshold": self._best_threshold(),
            "objective": self.spec.operating_point.objective,
            "by_class": self.spec.operating_point.by_class,
            "intervals": interval_document(self.intervals, self.spec.class_names),
            "seconds": round(self.seconds, 3),
        }

    def _best_threshold(self) -> float:
        """Where F2 is highest, set between scores as an operating point is: one number for one threshold."""
        if not any(one.boxes for one in self.figures.per_class):
            return DEFAULT_THRESHOLD
        found = np.concatenate([np.zeros(0), *(one.scores for one in self.results.detections)])
        return between_scores(self.figures.best_threshold, found.astype(np.float64))


def evaluate(
    source: str | Path,
    data: str | Path | None = None,
    split: str = "valid",
    *,
    threshold: float | None = None,
    boxes: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a run, an archive, or the COCO results file of any other tool on a split.

    Every picture goes through the preprocessing and the network as in the validation of a training and in the
    server, one at a time, so the figures are the same. Of a results file the numbers are taken in float64.

    Args:
        source: run folder, ``.mar``, or a results file (``.json``); or its URL.
        data: folder with the split, its URL or ``.zip``, by default what a run was trained on; for a results file also
            a COCO annotation file, without its pictures.
        split: ``train``, ``valid`` or ``test`` of the folder.
        threshold: for F2; by default the operating point, and for a results file, which has none, the score
            with the highest F2 on these pictures.
        boxes: of a results file: what the four numbers are, ``xywh`` (the default), ``xyxy``, ``cxcywh``, …; a
            key of ``READINGS``.
        device: a torch device.
        progress: called with (pictures done, pictures in all); not for a results file.

    Returns:
        Figures with their intervals, detections and ground truth.

    Raises:
        ArchiveError: the model cannot be read.
        ConfigError: the threshold is outside [0, 1], or something is asked for that does not go with the source.
        ContractError: the classes of the data are not those of the model.
        DataError: the data or the results file cannot be read, or they do not belong together.
        MissingDependency: nothing that is installed can run the model.
    """
    source = local_place(source)
    data = data_for(source, data)
    if is_results_file(source):
        if device != "cpu":
            raise ConfigError(f"Device {device} does not go with {source}: no model is run.", "Leave it out.")
        return evaluate_file(Path(source), data, split, threshold=threshold, boxes=boxes)
    if boxes is not None:
        raise ConfigError(f"Boxes {boxes!r} are asked for, but {source} is no results file.", "Leave it out.")
    given = None if threshold is None else OperatingPoint(threshold, objective="given")
    started = time.perf_counter()
    results, spec = detect_split(source, data, split, device=device, progress=progress)
    seconds = time.perf_counter() - started
    spec = replace(spec, operating_point=given or spec.operating_point)
    matches = results.matches()
    thresholds = np.array(spec.operating_point.thresholds(spec.class_names))
    return Evaluation(figures_of(matches, thresholds), intervals(matches, thresholds), spec, results, seconds)


def evaluate_file(
    path: Path, data: Path, split: str = "valid", *, threshold: float | None = None, boxes: str | None = None
) -> Evaluation:
    """Measure a results file; see ``evaluate``."""
    require_reading(boxes)
    given = None if threshold is None else OperatingPoint(threshold, objective="given")
    started = time.perf_counter()
    results, spec = read_detections(path, read_truth(data, split), boxes)
    seconds = time.perf_counter() - started
    spec = replace(spec, operating_point=given or best_point(results))
    matches = results.matches()
    thresholds = np.array(spec.operating_point.thresholds(spec.class_names))
    return Evaluation(figures_of(matches, thresholds), intervals(matches, thresholds), spec, results, seconds)


def _about_file(spec: ResultsSpec) -> dict[str, Any]:
    point, chosen = spec.operating_point, "highest F2 on these same pictures"
    if point.value is None:
        chosen = "the default: nothing could be chosen"
    return {
        "results_file": str(spec.file),
        "detections": spec.detections,
        "notes": list(spec.notes),
        "threshold_from": "given" if point.objective == "given" else chosen,
    }


def pictures_of_data(data: Path, split: str) -> Path:
    """The folder in which the names of the pictures start: of a split, or of an annotation file."""
    return data / split if data.is_dir() else data.parent


def detect_split(
    source: str | Path, data: str | Path, split: str, *, device: str = "cpu", progress: Progress | None = None
) -> tuple[SplitResults, ModelSpec]:
    """All detections of a model on a split; see ``evaluate``."""
    split = split_named(split)
    predictor = PicturePredictor(open_bundle(source), Execution(device=device))
    records = read_split(Path(data), split, predictor.spec.classes)
    detections: list[Detections] = []
    for number, record in enumerate(records.pictures, start=1):
        detections.extend(predictor.detect([predictor.prepare(record.path, LARGEST_PIXELS)]))
        if progress:
            progress(number, len(records.pictures))
    return SplitResults.of(records, Path(data) / split, predictor.spec.class_names, detections), predictor.spec
