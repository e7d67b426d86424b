"""TensorBoard: figures, pictures with boxes, precision-recall curves, in files beside the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger

from boxwright.runtime.drawing import draw_detections

from .loggers import Tracker
from .media import BestModel, Curve, Gallery

__all__ = ["FOLDER", "TensorBoardTracker"]

FOLDER = "tensorboard"
"""In the run folder: ``tensorboard --logdir runs`` shows all runs."""

_THRESHOLDS = 101  # TensorBoard's curves have evenly spaced thresholds from 0 to 1


class TensorBoardTracker(Tracker):
    """Event files in ``run/tensorboard``.

    Args:
        run: the run folder.
        first_step: of this training; TensorBoard hides what an interrupted run logged from this step on.
    """

    logger: TensorBoardLogger

    def __init__(self, run: Path, first_step: int) -> None:
        self._folder = run / FOLDER
        purge = first_step if self._folder.is_dir() else None
        self.logger = TensorBoardLogger(run, name=FOLDER, version="", default_hp_metric=False, purge_step=purge)
        self.logger.save()  # makes the folder

    def log_figures(self, figures: Any, step: int | None) -> None:
        """See ``Tracker``."""
        self._require_folder()
        super().log_figures(figures, step)

    def show_pictures(self, gallery: Gallery) -> None:
        """Draw the detections from the epoch's threshold on."""
        self._require_folder()
        writer: Any = self.logger.experiment
        for one in gallery.pictures:
            drawn = draw_detections(one.image, one.detections.filter_by_score(gallery.threshold), gallery.class_names)
            tag = f"val/pictures/{one.index}_{one.name}"
            writer.add_image(tag, np.asarray(drawn), gallery.step, dataformats="HWC")
        self.logger.save()

    def show_best(self, best: BestModel, step: int) -> None:
        """A precision-recall curve per class."""
        self._require_folder()
        for curve in best.curves:
            self._show_curve(curve, step)
        self.logger.save()

    def _show_curve(self, curve: Curve, step: int) -> None:
        precision, recall = curve.at(np.linspace(0, 1, _THRESHOLDS))
        hits = recall * curve.boxes
        writer: Any = self.logger.experiment
        writer.add_pr_curve_raw(
            f"best/precision_recall/{curve.name}",
            true_positive_counts=hits,
            false_positive_counts=np.where(precision > 0, hits * (1 - precision) / np.maximum(precision, 1e-9), 0),
            true_negative_counts=np.zeros_like(hits),  # detection has none
            false_negative_counts=curve.boxes - hits,
            precision=precision,
            recall=recall,
            global_step=step,
            num_thresholds=_THRESHOLDS,
        )

    def finish(self, status: str) -> None:
        """Close the event files."""
        self._require_folder()
        self.logger.finalize(status)

    def abandon(self) -> None:
        """Nothing is left open but a thread that ends with the program."""

    def _require_folder(self) -> None:
        """The writer is a thread; if it fails, its traceback is printed before its error can be caught."""
        if not self._folder.is_dir():
            raise NotADirectoryError(f"{self._folder} is gone")
