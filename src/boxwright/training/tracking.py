"""Which trackers a run has, and what they get besides Lightning's figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from boxwright.config import TrainConfig
from boxwright.data import PictureRecord, Split
from boxwright.metrics import ClassFigures, Figures
from boxwright.metrics.precision_recall import PrecisionRecall
from boxwright.runtime import Detections, MissingDependency, ModelSpec, PictureError, decode
from boxwright.runtime.bundle import RUN_SPEC, WEIGHTS
from boxwright.tracking.best import BestModel, ClassRow, Curve
from boxwright.tracking.local import LocalLogger
from boxwright.tracking.metrics_file import next_step
from boxwright.tracking.mlflow import MlflowTracker
from boxwright.tracking.pictures import Gallery, TrackedPicture, choose_pictures, shown_after, shrink
from boxwright.tracking.tensorboard import TensorBoardTracker
from boxwright.tracking.tracker import GuardedLogger, Tracker, finish_loggers
from boxwright.tracking.weights_and_biases import WandbTracker, wandb_sync_command

__all__ = ["TrackPictures", "finish_tracking", "make_loggers", "require_trackers", "track_results"]

Say = Callable[[str], object]


def require_trackers(config: TrainConfig) -> None:
    """Say what to install before anything starts.

    Raises:
        MissingDependency: a tracker that the settings ask for is not installed.
    """
    wanted = {"tensorboard": config.tensorboard, "mlflow": config.mlflow is not None}
    for package, asked in wanted.items():
        if asked and find_spec(package) is None:
            raise MissingDependency(
                f"The setting {package!r} needs the package {package}.", f"pip install 'boxwright[{package}]'"
            )


def make_loggers(config: TrainConfig, run: Path, first_epoch: int, say: Say) -> list[Logger]:
    """The local file, always and first, then the trackers that the settings ask for.

    Args:
        config: resolved settings.
        run: its folder.
        first_epoch: where this training begins.
        say: gets a sentence about each tracker that fails; none of them stops training.

    Raises:
        MissingDependency: see ``require_trackers``.
    """
    require_trackers(config)
    local = LocalLogger(run, first_epoch)
    if config.fast_dev_run:
        return [local]
    starts = _starts(config, run, next_step(run), say)
    return [local, *(GuardedLogger(title, start, say) for title, start in starts.items())]


def _starts(config: TrainConfig, run: Path, step: int, say: Say) -> dict[str, Callable[[], Tracker]]:
    assert config.name is not None, "resolved settings have a name"
    name, project, mode, uri = config.name, config.wandb_project, config.wandb, config.mlflow
    settings = config.model_dump(mode="json", exclude={"mlflow"})  # its address may hold a password
    starts: dict[str, Callable[[], Tracker]] = {}
    if mode == "online" or mode == "offline":
        starts["W&B"] = lambda: WandbTracker(run, name, project, mode, settings, say)
    if config.tensorboard:
        starts["TensorBoard"] = lambda: TensorBoardTracker(run, step)
    if uri is not None:
        starts["MLflow"] = lambda: MlflowTracker(run, name, project, uri, settings)
    return starts


class _Measured(Protocol):
    """What a ``DetectionModule`` knows after validation."""

    figures: Figures | None
    found: Mapping[int, Detections]


class TrackPictures(Callback):
    """Shows fixed validation pictures after epochs 1, 2, 4, 8, 16 … and the last.

    What trackers store of them grows with the logarithm of the epochs.

    Args:
        split: that is validated on.
        class_names: by class index.
        most: how many pictures; 0 shows none.
        say: gets a sentence where a picture cannot be read any more.
    """

    def __init__(self, split: Split, class_names: Sequence[str], most: int, say: Say) -> None:
        self._records = split.pictures
        self._class_names = tuple(class_names)
        self._chosen = choose_pictures([len(record.labels) for record in split.pictures], most)
        self._say = say
        self._last_shown = -1

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show them after an epoch that has its turn; the module has measured by now."""
        if not trainer.sanity_checking and shown_after(trainer.current_epoch):
            self._show(trainer, cast(_Measured, pl_module), trainer.current_epoch)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show them as the last epoch saw them."""
        self._show(trainer, cast(_Measured, pl_module), trainer.current_epoch - 1)

    def _show(self, trainer: L.Trainer, measured: _Measured, epoch: int) -> None:
        loggers = [one for one in trainer.loggers if isinstance(one, GuardedLogger) and one.tracking]
        if not loggers or not trainer.is_global_zero or measured.figures is None or epoch == self._last_shown:
            return
        pictures = self._pictures(measured.found)
        if not pictures:
            return
        threshold = measured.figures.threshold
        gallery = Gallery(pictures, self._class_names, threshold, epoch, trainer.global_step)
        for logger in loggers:
            logger.show_pictures(gallery)
        self._last_shown = epoch

    def _pictures(self, found: Mapping[int, Detections]) -> tuple[TrackedPicture, ...]:
        chosen = [index for index in self._chosen if index in found]
        try:
            return tuple(_tracked(index, self._records[index], found[index]) for index in chosen)
        except PictureError as error:  # a cache may go on where the folder has gone
            self._say(f"Warning: no pictures are tracked any more. {error}")
            self._chosen = ()
            return ()


def _tracked(index: int, record: PictureRecord, found: Detections) -> TrackedPicture:
    return shrink(index, record.path.name, decode(record.path), record.boxes, record.labels, found)


def track_results(
    loggers: Sequence[Logger],
    run: Path,
    spec: ModelSpec,
    figures: Figures,
    curves: Sequence[PrecisionRecall],
    *,
    model: bool,
    files: Sequence[Path] = (),
) -> None:
    """Show the best model in the trackers: figures, table by class, curves, files.

    Args:
        loggers: from ``make_loggers``.
        run: its folder, with specification and weights.
        spec: of the best epoch.
        figures: on the validation split, at the operating point.
        curves: precision and recall by class index.
        model: whether W&B gets the weights.
        files: small ones that MLflow keeps beside the specification: the report.
    """
    best = BestModel(
        spec=spec,
        figures=_best_figures(figures, spec),
        classes=tuple(map(_row, spec.class_names, figures.per_class)),
        curves=tuple(curve for curve in map(_curve, spec.class_names, curves) if curve.boxes and len(curve.thresholds)),
        files=(run / RUN_SPEC, *files),
        weights=(run / WEIGHTS, run / RUN_SPEC) if model else (),
    )
    for logger in loggers:
        if isinstance(logger, GuardedLogger):
            logger.show_best(best)


def _best_figures(figures: Figures, spec: ModelSpec) -> dict[str, float]:
    names = ("map", "map_50", "map_75", "f2", "f2_macro", "precision", "recall", "threshold")
    figures_by_key = {f"best/{name}": float(getattr(figures, name)) for name in names}
    epoch: Any = spec.provenance.get("best_epoch")
    return figures_by_key if epoch is None else {**figures_by_key, "best/epoch": float(epoch)}


def _row(name: str, one: ClassFigures) -> ClassRow:
    return ClassRow(name, one.boxes, one.map, one.map_50, one.f2, one.precision, one.recall)


def _curve(name: str, curve: PrecisionRecall) -> Curve:
    drawn = ~np.isnan(curve.precision)
    return Curve(name, curve.thresholds[drawn], curve.precision[drawn], curve.recall[drawn], curve.boxes)


def finish_tracking(config: TrainConfig, run: Path, loggers: Sequence[Logger], say: Say) -> None:
    """Close the trackers' runs, and say how an offline W&B run is uploaded.

    Args:
        config: resolved settings.
        run: its folder.
        loggers: from ``make_loggers``.
        say: gets the sentence.
    """
    finish_loggers(loggers)
    command = wandb_sync_command(run) if config.wandb == "offline" and not config.fast_dev_run else None
    if command:
        say(f"W&B ran offline; to upload: {command}")
