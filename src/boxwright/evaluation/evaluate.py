"""Measures a trained model on a split, along the path that serves it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.data import Split, read_split
from boxwright.metrics import Figures, GroundTruth, measure
from boxwright.runtime import DataError, ModelSpec, Predictor
from boxwright.runtime.memory import keep_freed_memory

__all__ = ["Evaluation", "evaluate", "ground_truth_of"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        figures: at the model's operating point, or the threshold given.
        spec: of the model.
        split: measured on.
        seconds: it took, decoding included.
    """

    figures: Figures
    spec: ModelSpec
    split: str
    seconds: float

    def to_document(self) -> dict[str, Any]:
        """What ``boxwright evaluate --json`` writes."""
        return {**self.figures.to_document(self.spec.class_names), "seconds": round(self.seconds, 3)}


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

    Pictures go one by one through ``Predictor``, as they do in training's validation and in the
    server, so that the figures are the same.

    Args:
        source: run folder or ``.mar``.
        data: folder with the split.
        split: ``train``, ``valid`` or ``test``.
        threshold: for F2; the operating point by default.
        device: a torch device.
        progress: called with (pictures done, pictures in all).

    Raises:
        ArchiveError: the model cannot be read.
        ContractError: the data has other classes.
        DataError: the data cannot be read.
    """
    keep_freed_memory()
    predictor = Predictor(source, threshold=threshold, device=device)
    if split not in ("train", "valid", "test"):
        raise DataError(f"There is no split {split!r}.", "Use train, valid or test.")
    records = read_split(Path(data), split, predictor.spec.classes)
    started = time.perf_counter()
    found = []
    for number, record in enumerate(records.pictures, start=1):
        found.extend(predictor.detect([predictor.prepare(record.path)]))
        if progress:
            progress(number, len(records.pictures))
    seconds = time.perf_counter() - started
    figures = measure(ground_truth_of(records), found, len(predictor.spec.classes), predictor.threshold)
    return Evaluation(figures, predictor.spec, split, seconds)


def ground_truth_of(split: Split) -> Sequence[GroundTruth]:
    """The ground truth of a split, in its order."""
    return [GroundTruth(one.boxes, one.labels, one.crowd, one.area) for one in split.pictures]
