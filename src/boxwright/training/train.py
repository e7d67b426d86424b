"""From settings to a run folder."""

from __future__ import annotations

import logging
import shlex
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import Logger
from rich.console import Console

from boxwright.config import TrainConfig, load_config, save_config
from boxwright.data import DataFolder, fingerprint, read_folder
from boxwright.data.workers import start_server
from boxwright.evaluation import ground_truth_of
from boxwright.host.console import make_console, progress
from boxwright.metrics.figures import figures_of
from boxwright.metrics.objective import Objective
from boxwright.metrics.precision_recall import precision_recall
from boxwright.runtime import (
    ArchiveError,
    BoxwrightError,
    ConfigError,
    ContractError,
    DataError,
    ModelSpec,
    PictureError,
)
from boxwright.runtime.bundle import RUN_SPEC

from .best import copy_best, require_detections, write_best
from .checkpoints import BEST, LAST, AtomicCheckpointIO, checkpoint_callbacks, read_checkpoint
from .console import EpochTable
from .data_module import DetectionData, open_caches
from .module import CHECKPOINT_KEY, DetectionModule
from .optimization import Optimization
from .preparation import prepare
from .result import RunResult
from .settings import make_folders, new_run_folder, resolve_settings, usable_gpus
from .tracking import TrackPictures, finish_tracking, make_loggers, require_trackers, track_results

__all__ = ["CONFIG_FILE", "resume", "train"]

CONFIG_FILE = "config.yaml"
_MOST_WARNINGS = 10

WriteReport = Callable[[Path], Path]


def train(config: TrainConfig, console: Console | None = None, write_report: WriteReport | None = None) -> RunResult:
    """Train a detector; everything it leaves lies in ``config.out / config.name``.

    The data is checked and the weights are loaded before the run folder is made.

    Args:
        config: settings.
        console: for progress; standard output by default.
        write_report: makes a page of the finished run folder and returns its path; trackers get it too.

    Raises:
        ConfigError: settings that do not fit, or a run of that name exists.
        DataError: the data cannot be trained on.
        MissingDependency: a tracker that was asked for is not installed.
        ModelError: unknown model, unusable weights, or a loss that is not finite.
    """
    console = console or make_console()
    Objective.parse(config.objective)
    require_trackers(config)
    folder = _read_data(config, console)
    config = resolve_settings(config, console)
    run = new_run_folder(config)
    return _run(config, folder, run, console, write_report)


def resume(run: Path, console: Console | None = None, write_report: WriteReport | None = None) -> RunResult:
    """Continue an interrupted run at the epoch after its last checkpoint, with its own settings.

    Args:
        run: its folder.
        console: see ``train``.
        write_report: see ``train``.

    Raises:
        ArchiveError: not a run folder.
        ConfigError: the run is complete.
        ContractError: the data's classes are no longer the run's.
    """
    console = console or make_console()
    if not (run / CONFIG_FILE).is_file():
        raise ArchiveError(f"{run}: holds no {CONFIG_FILE}.", "Give a folder that boxwright train made.")
    config = load_config(run / CONFIG_FILE)
    require_trackers(config)
    config = config.model_copy(update={"gpus": usable_gpus(config.gpus, console)})
    folder = _read_data(config, console)
    last = run / LAST
    if not last.is_file():
        console.print("No epoch was finished; starting from the first.")
        return _run(config, folder, run, console, write_report)
    checkpoint = read_checkpoint(last)
    require_detections(checkpoint, last)
    recorded = ModelSpec.from_json(checkpoint[CHECKPOINT_KEY]["spec"], str(last))
    _require_same_data(recorded, folder, console)
    first_epoch = int(checkpoint["epoch"]) + 1
    if first_epoch >= config.epochs:
        if not _finished(run):  # killed between its last epoch and its end
            with _trackers(config, run, first_epoch, console) as loggers:
                best = _keep_best(config, folder, run, console, loggers, write_report)
            return RunResult(run, best, interrupted=False)
        raise ConfigError(
            f"{run}: all {config.epochs} epochs are done.",
            f"To train on from its weights, start a new run with --weights {run / 'model_state_dict.pth'}.",
        )
    return _run(config, folder, run, console, write_report, recorded, first_epoch)


def _read_data(config: TrainConfig, console: Console) -> DataFolder:
    """The checked data, its warnings said."""
    if config.workers:
        start_server()  # its imports go on while the data is read
    with progress(console, "check") as advance:
        folder = read_folder(config.data, pixels=config.check == "full", advance=advance)
    warnings_found = folder.inspection.of("warning")
    for finding in warnings_found[:_MOST_WARNINGS]:
        console.print(f"Warning: {finding}. {finding.remedy}")
    if len(warnings_found) > _MOST_WARNINGS:
        console.print(f"… and {len(warnings_found) - _MOST_WARNINGS} more warnings: boxwright check {config.data}")
    return folder


def _require_same_data(recorded: ModelSpec, folder: DataFolder, console: Console) -> None:
    """Raise where the best epoch so far could not be compared with later ones; say other changes."""
    if recorded.classes != folder.classes:
        raise ContractError(
            f"{folder.root}: its classes are {[one.name for one in folder.classes]}, "
            f"the run was started with {list(recorded.class_names)}.",
            "Start a new run.",
        )
    if recorded.provenance.get("validation_fingerprint") != fingerprint(folder, ("valid",)):
        raise ContractError(
            f"{folder.root / 'valid'} has changed since the run was started: its epochs would not be comparable.",
            "Put it back, or start a new run from the weights with --weights RUN/model_state_dict.pth.",
        )
    if recorded.provenance.get("data_fingerprint") != fingerprint(folder):
        console.print(f"Warning: {folder.root} has changed since the run was started.")


def _run(
    config: TrainConfig,
    folder: DataFolder,
    run: Path,
    console: Console,
    write_report: WriteReport | None,
    recorded: ModelSpec | None = None,
    first_epoch: int = 0,
) -> RunResult:
    """Train from ``first_epoch``; ``recorded`` is the specification in the checkpoint of a resumed run."""
    L.seed_everything(config.seed, workers=True, verbose=False)
    spec, detector, config = prepare(config, folder, console, recorded)
    caches = open_caches(config.cache, config.cache_dir, folder, spec.input, console.print)
    make_folders(run, config)
    save_config(config, run / CONFIG_FILE)
    assert config.learning_rate is not None, "resolved settings have a learning rate"
    optimization = Optimization(config.optimizer, config.learning_rate, config.weight_decay, config.warmup)
    module = DetectionModule(detector, spec, ground_truth_of(folder.splits["valid"]), optimization, config.seed)
    data = DetectionData(
        folder, spec.input, config.augmentation, config.batch_size, config.workers, config.seed, caches
    )
    pictures = TrackPictures(folder.splits["valid"], spec.class_names, config.wandb_pictures, console.print)
    keep = partial(_keep_best, config, folder, run, console)
    with _trackers(config, run, first_epoch, console) as loggers, ExitStack() as at_the_end:
        for cache in caches.values():
            at_the_end.callback(cache.close)
        try:
            interrupted = _fit(config, run, module, data, console, first_epoch, loggers, pictures)
        except BaseException:  # a loss that is not finite, a full disk: what was reached before is kept
            with suppress(BoxwrightError, OSError):  # the first error is the one to tell
                keep(loggers, write_report, finished=False)
            raise
        return RunResult(run, keep(loggers, write_report, finished=not interrupted), interrupted)


@contextmanager
def _trackers(config: TrainConfig, run: Path, first_epoch: int, console: Console) -> Iterator[list[Logger]]:
    loggers = make_loggers(config, run, first_epoch, console.print)
    try:
        yield loggers
    finally:
        finish_tracking(config, run, loggers, console.print)


def _keep_best(
    config: TrainConfig,
    folder: DataFolder,
    run: Path,
    console: Console,
    loggers: Sequence[Logger],
    write_report: WriteReport | None,
    finished: bool = True,
) -> ModelSpec | None:
    """Write what the best epoch leaves, if there is one, and show it in the trackers."""
    if config.fast_dev_run or not (run / BEST).is_file():
        return None
    spec, results = write_best(run, folder, config.objective, config.thresholds_by_class, finished, console)
    copy_best(run, spec.name, config.checkpoint_out, config.state_dict_out)
    files = _report(run, write_report, console)
    matches = results.matches()
    figures = figures_of(matches, spec.operating_point.thresholds(spec.class_names))
    curves = [precision_recall(matches, label) for label in range(matches.num_classes)]
    track_results(loggers, run, spec, figures, curves, model=config.wandb_model, files=files)
    return spec


def _report(run: Path, write_report: WriteReport | None, console: Console) -> list[Path]:
    try:
        return [write_report(run)] if write_report else []
    except (BoxwrightError, OSError) as error:  # the model is trained; its page can be written again
        console.print(f"Warning: there is no report: {error}. To write it: boxwright report {shlex.quote(str(run))}")
        return []


def _finished(run: Path) -> bool:
    """Whether the best of all epochs was written; an interruption leaves a specification as well."""
    return (run / RUN_SPEC).is_file() and bool(ModelSpec.load(run / RUN_SPEC).provenance.get("finished"))


def _fit(
    config: TrainConfig,
    run: Path,
    module: DetectionModule,
    data: DetectionData,
    console: Console,
    first_epoch: int,
    loggers: list[Logger],
    pictures: TrackPictures,
) -> bool:
    """Fit; returns whether Ctrl-C ended it."""
    with _quiet_lightning():
        trainer = L.Trainer(
            accelerator="gpu" if config.gpus else "cpu",
            devices=config.gpus or 1,
            precision="32-true",  # bf16 is applied part by part: see Detector
            max_epochs=config.epochs,
            gradient_clip_val=config.gradient_clip or None,
            logger=loggers,
            callbacks=[EpochTable(config.monitor, console), *checkpoint_callbacks(run, config.monitor), pictures],
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            fast_dev_run=config.fast_dev_run,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=run,
        )
        return _fit_or_stop(trainer, module, data, run / LAST if first_epoch else None)


def _fit_or_stop(trainer: L.Trainer, module: DetectionModule, data: DetectionData, checkpoint: Path | None) -> bool:
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # how Lightning ends a fit after Ctrl-C, which it ignores from then on
        signal.signal(signal.SIGINT, handler)
        return True
    except PictureError as error:  # from a loader's process, its traceback in the message
        raise DataError(str(error).strip().splitlines()[-1].split("Error: ", 1)[-1], "Replace it.") from None
    return False


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's hints are for people who write Lightning code."""
    names = ("lightning.pytorch", "lightning.fabric")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
