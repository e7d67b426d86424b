"""One training: from settings to a run folder."""

from __future__ import annotations

import logging
import shlex
import signal
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import lightning as L
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from boxwright.config import CONFIG_FILE, TrainConfig, save_config
from boxwright.data import DataFolder, fingerprint, read_folder
from boxwright.data.findings import by_kind
from boxwright.evaluation import ground_truth_of
from boxwright.host.console import make_console, progress
from boxwright.host.processes import start_server
from boxwright.metrics.objective import Objective
from boxwright.reporting.run_report import report_run
from boxwright.runtime import BoxwrightError, ConfigError, ContractError, DataError, ModelSpec, PictureError
from boxwright.runtime.bundle import RUN_SPEC
from boxwright.tracking.loggers import GuardedLogger
from boxwright.tracking.trackers import require_trackers, tracking

from .best import best_model, copy_best, require_detections, write_best
from .callbacks import EpochTable, TrackPictures
from .checkpoints import BEST, LAST, AtomicCheckpointIO, checkpoint_callbacks, read_checkpoint
from .data_module import DetectionData, Loading, open_caches
from .module import CHECKPOINT_KEY, DetectionModule
from .optimization import Optimization
from .preparation import prepare
from .settings import make_folders, new_run_folder, resolve_settings, usable_gpus
from .verbs import MakeTrainer, RunResult

__all__ = ["TrainingRun"]


class TrainingRun:
    """A training that can begin or go on. If there are several processes, the first one prints and writes all files.

    Attributes:
        config: resolved settings.
        data: the checked data.
        folder: the run folder.
        console: for progress; silent in all processes but the first.
        recorded: the specification in the checkpoint of a resumed run.
        first_epoch: where this training begins.
    """

    def __init__(
        self, config: TrainConfig, data: DataFolder, folder: Path, console: Console, make_trainer: MakeTrainer | None
    ) -> None:
        self.config = config
        self.data = data
        self.folder = folder
        self.console = console
        self.recorded: ModelSpec | None = None
        self.first_epoch = 0
        self._make_trainer = make_trainer or L.Trainer

    @classmethod
    def new(cls, config: TrainConfig, console: Console | None, make_trainer: MakeTrainer | None) -> TrainingRun:
        """A run that does not exist yet; see ``boxwright.training.train``."""
        console = _console(console)
        Objective.parse(config.objective)
        require_trackers(config)
        data = _read_data(config, console)
        config = resolve_settings(config, console)
        return cls(config, data, new_run_folder(config), console, make_trainer)

    @classmethod
    def resumed(
        cls, folder: Path, config: TrainConfig, console: Console | None, make_trainer: MakeTrainer | None
    ) -> TrainingRun:
        """An interrupted run, with its own settings; see ``boxwright.training.resume``."""
        console = _console(console)
        require_trackers(config)
        config = config.model_copy(update={"gpus": usable_gpus(config.gpus, console)})
        run = cls(config, _read_data(config, console), folder, console, make_trainer)
        if (folder / LAST).is_file():
            run._go_on_from(folder / LAST)
        else:
            console.print("No epoch was finished; starting from the first.")
        return run

    def _go_on_from(self, path: Path) -> None:
        checkpoint = read_checkpoint(path)
        require_detections(checkpoint, path)
        self.recorded = ModelSpec.from_json(checkpoint[CHECKPOINT_KEY]["spec"], str(path))
        _require_same_data(self.recorded, self.data, self.console)
        self.first_epoch = int(checkpoint["epoch"]) + 1

    def train(self) -> RunResult:
        """Train, and keep the best epoch's model; see ``boxwright.training.train`` for the errors."""
        if self.first_epoch >= self.config.epochs:
            return self._finish()
        with ExitStack() as at_the_end:
            module, data = self._prepare(at_the_end)
            loggers = at_the_end.enter_context(self._tracking())
            try:
                interrupted = self._fit(module, data, loggers)
            except BaseException:  # a loss that is not finite, a full disk: keep what was reached before
                with suppress(BoxwrightError, OSError):  # the first error is the one to report
                    self._keep_best(loggers, finished=False)
                raise
            return RunResult(self.folder, self._keep_best(loggers, finished=not interrupted), interrupted)

    def _finish(self) -> RunResult:
        """End a run that was killed between its last epoch and its end."""
        spec = self.folder / RUN_SPEC  # an interruption writes one, too
        if spec.is_file() and ModelSpec.load(spec).provenance.get("finished"):
            raise ConfigError(
                f"{self.folder}: all {self.config.epochs} epochs are done.",
                f"To train on from its weights, start a new run with --weights {self.folder / 'model_state_dict.pth'}.",
            )
        with self._tracking() as loggers:
            return RunResult(self.folder, self._keep_best(loggers, finished=True), interrupted=False)

    def _prepare(self, at_the_end: ExitStack) -> tuple[DetectionModule, DetectionData]:
        """Model and loaders; then the run folder is made and the settings are saved."""
        L.seed_everything(self.config.seed, workers=True, verbose=False)
        spec, detector, self.config = prepare(self.config, self.data, self.console, self.recorded)
        config = self.config
        caches = open_caches(config.cache, config.cache_dir, self.data, spec.input, self.console.print)
        for cache in caches.values():
            at_the_end.callback(cache.close)
        if _is_first_process():
            make_folders(self.folder, config)
            save_config(config, self.folder / CONFIG_FILE)
        assert config.learning_rate is not None, "resolved settings have a learning rate"
        optimization = Optimization(config.optimizer, config.learning_rate, config.weight_decay, config.warmup)
        truth = ground_truth_of(self.data.splits["valid"])
        loading = Loading(config.augmentation, config.batch_size, config.workers, config.seed)
        return (
            DetectionModule(detector, spec, truth, optimization, config.seed),
            DetectionData(self.data, spec.input, loading, caches),
        )

    def _tracking(self) -> AbstractContextManager[list[Logger]]:
        return tracking(self.config, self.folder, self.first_epoch, self.console.print)

    def _fit(self, module: DetectionModule, data: DetectionData, loggers: list[Logger]) -> bool:
        """Fit; returns whether Ctrl-C ended it."""
        handler = signal.getsignal(signal.SIGINT)
        with _quiet_lightning():
            trainer = self._make_trainer(**self._options(loggers))
            checkpoint = self.folder / LAST if self.first_epoch else None
            try:
                trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
            except SystemExit:  # how Lightning ends a fit after Ctrl-C, which it ignores from then on
                signal.signal(signal.SIGINT, handler)
                return True
            except PictureError as error:  # from a loader's process, its traceback in the message
                raise DataError(str(error).strip().splitlines()[-1].split("Error: ", 1)[-1], "Replace it.") from None
            self.folder = Path(trainer.strategy.broadcast(str(self.folder)))  # a free name that the first process chose
        return False

    def _options(self, loggers: list[Logger]) -> dict[str, Any]:
        """Of the Trainer."""
        config, valid = self.config, self.data.splits["valid"]
        names = [one.name for one in self.data.classes]
        return {
            "accelerator": "gpu" if config.gpus else "cpu",
            "devices": config.gpus or 1,
            "strategy": "auto",
            "precision": "32-true",  # bf16 is applied part by part: see Detector
            "max_epochs": config.epochs,
            "gradient_clip_val": config.gradient_clip or None,
            "logger": loggers,
            "callbacks": [
                EpochTable(config.monitor, self.console),
                *checkpoint_callbacks(self.folder, config.monitor),
                TrackPictures(valid, names, config.wandb_pictures, self.console.print),
            ],
            "plugins": [AtomicCheckpointIO()],
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "fast_dev_run": config.fast_dev_run,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": self.folder,
        }

    def _keep_best(self, loggers: list[Logger], finished: bool) -> ModelSpec | None:
        """Write the files of the best epoch, if there is one, and show it in the trackers."""
        config = self.config
        if config.fast_dev_run or not _is_first_process() or not (self.folder / BEST).is_file():
            return None
        by_class = config.thresholds_by_class
        spec, results = write_best(self.folder, self.data, config.objective, by_class, finished, self.console)
        copy_best(self.folder, spec.name, config.checkpoint_out, config.state_dict_out)
        best = best_model(self.folder, spec, results, self._report(), config.wandb_model)
        for logger in loggers:
            if isinstance(logger, GuardedLogger):
                logger.show_best(best)
        return spec

    def _report(self) -> list[Path]:
        try:
            return [report_run(self.folder)]
        except (BoxwrightError, OSError) as error:  # the model is trained; its page can be written again
            command = f"boxwright report {shlex.quote(str(self.folder))}"
            self.console.print(f"Warning: there is no report: {error}. To write it: {command}")
            return []


def _is_first_process() -> bool:
    return int(cast(Any, rank_zero_only).rank) == 0  # Lightning reads it from the variables that the launcher sets


def _console(console: Console | None) -> Console:
    return console or make_console() if _is_first_process() else Console(quiet=True, force_terminal=False)


def _read_data(config: TrainConfig, console: Console) -> DataFolder:
    """The checked data; its warnings are printed."""
    if config.workers:
        start_server()  # its imports go on while the data is read
    with progress(console, "check") as advance:
        pixels = config.check == "full"
        folder = read_folder(config.data, pixels=pixels, max_pixels=config.max_pixels, advance=advance)
    warnings = folder.inspection.of("warning")
    for sentence in by_kind(warnings):
        console.print(f"Warning: {sentence}.")
    guesses = [one for one in folder.inspection.of("note") if one.code == "file-name-guessed"]
    for sentence in by_kind(guesses):
        console.print(f"Note: {sentence}.")
    if warnings or guesses:
        console.print(f"What to do about them: boxwright check {shlex.quote(str(config.data))}")
    return folder


def _require_same_data(recorded: ModelSpec, folder: DataFolder, console: Console) -> None:
    """Raise if the best epoch so far cannot be compared with later ones; print a warning for other changes."""
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


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Hide Lightning's hints, which are for people who write Lightning code."""
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
