"""One training: from settings to a run folder."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import lightning as L
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.seed import isolate_rng
from rich.console import Console

from boxwright.config import AUTO, CONFIG_FILE, TrainConfig, save_config
from boxwright.data import DataFolder, fingerprint, local_data, read_folder
from boxwright.data.findings import by_kind
from boxwright.evaluation import ground_truth_of
from boxwright.host.console import make_console, progress, spoken
from boxwright.host.files import remove_parts
from boxwright.host.places import in_command, is_url, shown_place, whole
from boxwright.host.processes import start_server
from boxwright.metrics.objective import Objective
from boxwright.models.detector import Detector
from boxwright.models.synced_batchnorm import synchronise_batchnorm
from boxwright.models.weights_files import CHECKPOINT_KEY
from boxwright.reporting.run_report import report_run
from boxwright.runtime import BoxwrightError, ConfigError, ContractError, DataError, ModelError, ModelSpec, PictureError
from boxwright.runtime.bundle import RUN_SPEC
from boxwright.tracking.loggers import GuardedLogger
from boxwright.tracking.needs import require_trackers
from boxwright.tracking.trackers import tracking

from .averaging import MovingAverage
from .best import best_model, copy_best, require_detections, write_best
from .callbacks import EpochTable, Patience, TrackPictures
from .changes import as_started, require_followed
from .checkpoints import (
    BEST,
    LAST,
    SO_FAR,
    AtomicCheckpointIO,
    TimedCheckpoint,
    checkpoint_callbacks,
    read_checkpoint,
)
from .choice import choose
from .data_module import DetectionData, Loading, batches_of, open_caches
from .divergence import LossGuard
from .fitting import Need, measure_need, memory_warning, naming_what_fits
from .folders import RunTaken, claimed, free_name, make_folders, run_folder, stored_run
from .module import DetectionModule
from .optimization import Optimization
from .pace import MOST_EPOCHS, Budget, Deadline, Pace, measure_pace, plan_for
from .preparation import prepare, require_company, require_network, require_weights, with_settings
from .settings import resolve_devices, resolve_settings, usable_gpus
from .storing import InStep
from .verbs import MakeTrainer, RunResult
from .world import World

__all__ = ["TrainingRun"]


_LONGER = {"epochs", "minutes", "patience"}
"""Settings that give a run which has ended more to do."""

_LOADER_GONE = re.compile("DataLoader worker .*(exited unexpectedly|is killed by signal)")
_CALM_SHARE = 6  # of the epochs, one in so many mixes no pictures; YOLOX leaves out mosaic in 15 of 300


class TrainingRun:
    """A training that can begin or go on. If there are several processes, the first one prints and writes all files.

    Attributes:
        config: resolved settings.
        data: the checked data.
        folder: the run folder.
        console: for progress; silent in all processes but the first.
        recorded: the specification in the checkpoint of a resumed run.
        first_epoch: where this training begins.
        store: URL of the run, if it is kept in remote storage, too.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: DataFolder,
        folder: Path,
        console: Console,
        make_trainer: MakeTrainer | None,
        world: World,
        began: float,
    ) -> None:
        self.config = config
        self.data = data
        self.folder = folder
        self.console = console
        self.recorded: ModelSpec | None = None
        self.first_epoch = 0
        self._seen_batches = 0
        self._least = 1
        self._is_new = self._is_named = False
        self.store: str | None = None
        self._in_step: InStep | None = None
        self._world = world
        self._make_trainer = make_trainer or L.Trainer
        self._began = began
        self._need: Need | None = None
        self._most_epochs = config.epochs if "epochs" in config.model_fields_set else MOST_EPOCHS
        self._replanned: int | None = None

    @classmethod
    def new(
        cls, config: TrainConfig, console: Console | None, make_trainer: MakeTrainer | None, world: World
    ) -> TrainingRun:
        """A run that does not exist yet; see ``boxwright.training.train``."""
        began = time.monotonic()  # the data is read in the minutes that are given
        console = _console(console)
        Objective.parse(config.objective)
        require_trackers(config)
        if config.model != AUTO:
            require_network(config)
            require_weights(config)
        data = _read_data(config, console)
        chosen = _chosen(config, data, console)
        if config.model == AUTO:
            require_network(chosen)
        resolved = world.same(resolve_settings(chosen, console, world))
        run = cls(resolved, data, run_folder(resolved), console, make_trainer, world, began)
        run._is_new, run._is_named = True, config.name is not None
        return run

    @classmethod
    def resumed(
        cls,
        folder: Path,
        config: TrainConfig,
        console: Console | None,
        make_trainer: MakeTrainer | None,
        world: World,
        store: str | None = None,
    ) -> TrainingRun:
        """An interrupted run, with its own settings; see ``boxwright.training.resume``."""
        began = time.monotonic()
        console = _console(console)
        Objective.parse(config.objective)
        require_trackers(config)
        config = config.model_copy(update=resolve_devices(config, console, world))
        # before the data is read, which takes minutes; under the claim it is looked at again
        world.first(lambda: _require_more_to_do(folder, config))
        run = cls(config, _read_data(config, console), folder, console, make_trainer, world, began)
        run.store = store
        return run

    def _go_on(self) -> None:
        """Find where an interrupted run was."""
        begun = _Begun.of(self.folder, self.config)
        if begun is None:
            self.console.print("Nothing was saved yet; starting from the beginning.")
            self.config = self._world.same(resolve_settings(self.config, self.console, self._world))
            return
        self.recorded, self.config = begun.recorded, begun.config
        _require_same_data(self.recorded, self.data, self.console)
        if begun.changed:
            self.console.print(f"Changed since the run was started: {', '.join(begun.changed)}.")
        self.first_epoch, self._seen_batches = begun.epoch, begun.batches
        self._replanned, self._most_epochs = begun.epochs, begun.most
        within = f", after {begun.batches} batches of it" if begun.batches else ""
        self.console.print(f"Going on with epoch {begun.epoch + 1} of {begun.epochs}{within}.")

    def train(self, on_folder: Callable[[Path | str], None] | None = None) -> RunResult:
        """Train, and keep the best epoch's model; see ``boxwright.training.train`` for the errors.

        Args:
            on_folder: is told the run folder, or its URL, in the first process, as soon as it is settled.
        """
        with ExitStack() as claim:
            self._world.first(lambda: self._begin(claim, on_folder))
            self.config = self._world.same(self.config)
            if self._is_new:
                self.folder = self._world.same(self.folder)
            else:  # a run of remote storage lies elsewhere on each machine
                self._go_on()
            if self.config.fast_dev_run and _is_first_process():
                claim.callback(_remove_new, self.folder, set(self.folder.iterdir()))
            if self.store is None or not _is_first_process():
                return self._train()
            return self._train_in_step(InStep(self.folder, self.store, not self._is_new, self.console.print))

    def _begin(self, claim: ExitStack, on_folder: Callable[[Path | str], None] | None) -> None:
        self._claim(claim)
        if self._is_new:
            self.store = stored_run(self.config)
        if on_folder:
            on_folder(self.store or self.folder)

    def _train_in_step(self, in_step: InStep) -> RunResult:
        """Train, and keep the remote storage in step; what a failed training leaves is there, too."""
        self._in_step = in_step
        try:
            result = self._train()
        except BaseException:
            with suppress(BoxwrightError):  # the first error is the one to report
                in_step.finish()
            raise
        in_step.finish()
        return replace(result, store=self.store)

    def _claim(self, claim: ExitStack) -> None:
        """Make the run folder this process's; a name of ours that another training has taken meanwhile is given up."""
        while True:
            try:
                claim.enter_context(claimed(self.folder))
                if self._is_new:
                    run_folder(self.config)
                remove_parts(self.folder)
                remove_parts((self.folder / LAST).parent)
                return
            except RunTaken:
                if self._is_named or not self._is_new:
                    raise
                claim.close()
                self.config = self.config.model_copy(update={"name": free_name(self.config)})
                self.folder = run_folder(self.config)

    def _train(self) -> RunResult:
        if self.first_epoch >= self._epochs:
            return self._finish()
        with ExitStack() as at_the_end:
            at_the_end.enter_context(_own_randomness())
            module, data = self._prepare(at_the_end)
            loggers = at_the_end.enter_context(self._tracking())
            try:
                with naming_what_fits(self._need, self.config):
                    interrupted = self._fit(module, data, loggers)
            except BaseException:  # a loss that is not finite, a full disk: keep what was reached before
                with suppress(BoxwrightError, OSError):  # the first error is the one to report
                    self._keep_best(loggers, finished=False)
                raise
            return RunResult(self.folder, self._keep_best(loggers, finished=not interrupted), interrupted)

    @property
    def _epochs(self) -> int:
        """Planned, in all; of a run that ends in time the settings hold what was planned when it was started."""
        return self.config.epochs if self._replanned is None else self._replanned

    def _calm(self, epochs: int) -> int:
        """How many of so many epochs are the last ones, which mix no pictures: as many as asked for, or a share."""
        config = self.config
        is_share = config.close_mosaic in (None, config.epochs // _CALM_SHARE)
        return epochs // _CALM_SHARE if is_share else config.close_mosaic or 0

    def _finish(self) -> RunResult:
        """End a run that was killed between its last epoch and its end."""
        _require_unfinished(self.folder, self.config)
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
        data = DetectionData(self.data, spec.input, self._loading(), caches)
        if self.recorded is None:
            config = self.config = self._world.same(self._fitted(detector, data))
        self._least = require_company(detector.network, config.batch, data.epoch_pictures, self._world.size)
        if self.recorded is None:
            data = DetectionData(self.data, spec.input, self._loading(), caches)
        if self.recorded is None and not config.fast_dev_run:
            with naming_what_fits(self._need, config):
                config = self.config = self._world.same(self._timed(detector, data))
            spec = with_settings(spec, config)
        if _is_first_process():
            make_folders(self.folder, config)
            save_config(config.model_copy(update={"out": whole(config.out)}), self.folder / CONFIG_FILE)
        assert config.learning_rate is not None, "resolved settings have a learning rate"
        optimization = Optimization(
            config.optimizer,
            config.learning_rate,
            config.weight_decay,
            config.warmup,
            config.backbone_rate,
            config.layer_decay,
        )
        truth = ground_truth_of(self.data.splits["valid"])
        names = [record.path.name for record in self.data.splits["train"].pictures]
        guard = LossGuard(names, self.folder, self.console.print, self._world.rank)
        if self._world.size > 1:
            synchronise_batchnorm(detector.network)
        return (
            DetectionModule(detector, spec, truth, optimization, guard, config.multi_scale, config.seed, self._world),
            DetectionData(self.data, spec.input, self._loading(), caches, self._world),
        )

    def _loading(self) -> Loading:
        config = self.config
        return Loading(
            config.augmentation,
            self._world.size if config.batch_size == "auto" else config.batch_size,
            -(-config.workers // self._world.here),
            config.seed,
            config.repeat_threshold,
            calm_from=self._epochs - self._calm(self._epochs),
            pictures=config.epoch_pictures,
            first_epoch=self.first_epoch,
            seen_batches=self._seen_batches,
            least=self._least,
        )

    def _fitted(self, detector: Detector, data: DetectionData) -> TrainConfig:
        """The settings, with a batch that fits if it is ``auto``; a warning is printed if the given one does not."""
        config = self.config
        need = measure_need(detector, next(data.trial_batches("train", 2)), _device(config))
        self._need = need = need.shared(self._world.size, self._world.here if not config.gpus else 1)
        if config.batch_size == "auto":
            total = config.step_pictures
            fewest = next((one for one in range(self._world.size, total) if total % one == 0), total)
            batch = need.largest(total) or fewest
            config = config.model_copy(update={"batch_size": batch, "total_batch": total})
            self.console.print(f"Batch: {batch} of {total} pictures at once, about {need.of(batch) / 2**30:.1f} GiB")
        held = min(config.batch, data.epoch_pictures)
        if held < config.batch:
            self.console.print(f"Note: batch_size = {config.batch}: an epoch has {held} pictures, all in one step.")
        if warning := memory_warning(need, config.model_copy(update={"batch_size": held})):
            self.console.print(warning)
        return config

    def _timed(self, detector: Detector, data: DetectionData) -> TrainConfig:
        """The settings, with as many epochs as ``minutes`` has time for; how long it will take is printed."""
        config, train, valid = self.config, data.epoch_pictures, data.validation_canvases
        own = max(self._world.sizes(min(config.batch, train)))
        timed = max(own, min(self._least, 2))  # not among the others yet, a BatchNorm needs two
        batches, pictures = data.trial_batches("train", timed), data.trial_batches("valid", 1)
        with progress(self.console, "time a few steps"):
            pace = measure_pace(detector, batches, next(pictures), _device(config))
        step = self._world.largest(pace.step) * own / timed
        pace = Pace(step, self._world.largest(pace.picture) / self._world.size)
        if config.minutes is not None:
            begun = time.monotonic() - self._began
            plan = plan_for(config.minutes, pace, train, valid, config.batch, self._most_epochs, begun)
            planned = {"epochs": plan.epochs, "epoch_pictures": plan.pictures or config.epoch_pictures}
            config = config.model_copy(update=planned)
        steps = batches_of(config.epoch_pictures or train, config.batch, self._least)
        seconds = pace.epoch(steps, valid)
        epochs = f"{config.epochs} epoch{'s' * (config.epochs > 1)} of {steps} steps"
        total = f"{spoken(config.epochs * seconds)} in all"
        earlier = f", or less: it ends after {config.patience} epochs without a better {config.monitor} (patience)"
        anew = "; planned anew after each epoch" if config.minutes is not None else ""
        self.console.print(
            f"Time: {epochs}, about {spoken(seconds)} each, {total}{anew}{earlier if config.patience else ''}"
        )
        return _with_calm(config)

    def _tracking(self) -> AbstractContextManager[list[Logger]]:
        return tracking(self.config, self.folder, self.first_epoch, self.console.print, self._is_new)

    def _fit(self, module: DetectionModule, data: DetectionData, loggers: list[Logger]) -> bool:
        """Fit; returns whether Ctrl-C ended it."""
        handler = signal.getsignal(signal.SIGINT)
        with _quiet_lightning():
            trainer = self._make_trainer(**self._options(loggers))
            _require_same_world(trainer, self._world)
            checkpoint = self.folder / LAST if self.recorded else None
            try:
                trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
            except SystemExit:  # how Lightning ends a fit after Ctrl-C, which it ignores from then on
                signal.signal(signal.SIGINT, handler)
                return True
            except PictureError as error:  # from a loader's process, its traceback in the message
                raise DataError(str(error).strip().splitlines()[-1].split("Error: ", 1)[-1], "Replace it.") from None
            except RuntimeError as error:
                if not _LOADER_GONE.search(str(error)):
                    raise
                raise ModelError(
                    "A process that loads pictures was ended from outside, for want of memory as a rule.",
                    f"Lower workers in {self.folder / CONFIG_FILE}, and go on: boxwright train --resume "
                    f"{in_command(self.store or self.folder)}",
                ) from None
        done, planned = trainer.current_epoch, self._epochs
        if self.config.minutes is not None and trainer.max_epochs == done < planned:
            self.console.print(f"The time was enough for {done} of {planned} epochs: they took longer than measured.")
        return False

    def _options(self, loggers: list[Logger]) -> dict[str, Any]:
        """Of the Trainer."""
        config, valid = self.config, self.data.splits["valid"]
        names = [one.name for one in self.data.classes]
        return {
            "accelerator": "gpu" if config.gpus else "cpu",
            "devices": self._world.here,
            "num_nodes": self._world.machines,
            "strategy": _strategy() if self._world.size > 1 else "auto",
            "precision": "32-true",  # bf16 is applied part by part: see Detector
            "max_epochs": self._epochs,
            "accumulate_grad_batches": config.step_pictures // config.batch,
            "gradient_clip_val": config.gradient_clip or None,
            "logger": loggers,
            "callbacks": [
                *([MovingAverage(config.ema)] if config.ema else []),  # first: the others see the average's figures
                EpochTable(config.monitor, self.console),
                *checkpoint_callbacks(self.folder, config.monitor),
                *self._within_epochs(),
                TrackPictures(valid, names, config.wandb_pictures, self.console.print),
                *self._deadline(),
                *([self._in_step] if self._in_step else []),
                *([Patience(config.monitor, config.patience, self.console)] if config.patience else []),
            ],
            "plugins": [AtomicCheckpointIO()],
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,  # the data module shares the pictures out
            "log_every_n_steps": 1,
            "fast_dev_run": config.fast_dev_run,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": self.folder,
        }

    def _within_epochs(self) -> list[TimedCheckpoint]:
        minutes = self.config.checkpoint_minutes
        return [TimedCheckpoint(self.folder / LAST, minutes)] if minutes and not self.config.fast_dev_run else []

    def _deadline(self) -> list[Deadline]:
        config = self.config
        if config.minutes is None:
            return []
        return [Deadline(config.minutes, self._began, self._calm, self._most_epochs)]

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
            stored = is_url(self.config.data)  # not asked for again: it was read here
            return [report_run(self.folder, self.data.root if stored else None, self.store)]
        except (BoxwrightError, OSError) as error:  # the model is trained; its page can be written again
            command = f"boxwright report {in_command(self.folder)}"
            self.console.print(f"Warning: there is no report: {error}. To write it: {command}")
            return []


@dataclass(frozen=True)
class _Begun:
    """Where an interrupted run was.

    Attributes:
        recorded: the specification in its last checkpoint.
        config: the settings that it goes on with.
        changed: what of them was changed since it was started, one phrase per setting.
        epoch: to go on with.
        batches: of that epoch, which it was trained on.
        epochs: planned, in all.
        most: epochs that may be planned, if it ends in time.
    """

    recorded: ModelSpec
    config: TrainConfig
    changed: Sequence[str]
    epoch: int
    batches: int
    epochs: int
    most: int

    @classmethod
    def of(cls, run: Path, config: TrainConfig) -> _Begun | None:
        """Look at the last checkpoint; None if nothing was saved yet.

        Args:
            run: its folder.
            config: its settings as they are now.

        Raises:
            ArchiveError: the checkpoint cannot be read.
            ConfigError: a setting was changed that the run cannot follow.
        """
        path = run / LAST
        if not path.is_file():
            return None
        checkpoint = read_checkpoint(path)
        require_detections(checkpoint, path)
        recorded = ModelSpec.from_json(checkpoint[CHECKPOINT_KEY]["spec"], str(path))
        so_far = checkpoint[CHECKPOINT_KEY].get(SO_FAR)
        started: Any = recorded.provenance.get("settings", {})
        config = _with_calm(as_started(started, config))
        changed = require_followed(started, config, run, within=so_far is not None)
        epoch = int(checkpoint["epoch"]) + (so_far is None)
        epochs, most = _planned(started, config, Budget.of(checkpoint), epoch)
        return cls(recorded, config, changed, epoch, int(so_far["batches"]) if so_far else 0, epochs, most)


def _planned(started: Mapping[str, Any], config: TrainConfig, budget: Budget | None, done: int) -> tuple[int, int]:
    """How many epochs a run goes on with, in all, and how many its time may be used for.

    Args:
        started: the settings that it was started with.
        config: those of now.
        budget: what its last checkpoint says.
        done: whole epochs so far.
    """
    if config.minutes is None or budget is None or started.get("epochs") != config.epochs:
        return config.epochs, config.epochs
    same_time = started.get("minutes") == config.minutes
    return budget.epochs if same_time else budget.within(config.minutes, done), budget.most


def _require_more_to_do(run: Path, config: TrainConfig) -> None:
    """Raise if all epochs of a run are done, and its files are written.

    Raises:
        ConfigError: they are; or see ``_Begun.of``.
    """
    with claimed(run):
        begun = _Begun.of(run, config)
    if begun is None:
        return
    changed = {one.split(" ", 1)[0] for one in begun.changed}
    if begun.epoch >= begun.epochs or not changed & _LONGER:
        _require_unfinished(run, config)


def _require_unfinished(run: Path, config: TrainConfig) -> None:
    """Raise if a run has come to its end.

    Raises:
        ConfigError: it has.
    """
    spec = run / RUN_SPEC  # an interruption writes one, too
    if spec.is_file() and ModelSpec.load(spec).provenance.get("finished"):
        ends = ["epochs", *(key for key in ("minutes", "patience") if getattr(config, key))]
        raise ConfigError(
            f"{run}: its training is done.",
            f"Raise {' or '.join(ends)} in {run / CONFIG_FILE}, or start a new run with --weights "
            f"{run / 'model_state_dict.pth'}.",
        )


def _remove_new(folder: Path, before: set[Path]) -> None:
    """Remove what is in a folder now and was not there before."""
    for one in set(folder.iterdir()) - before:
        if one.is_dir():
            shutil.rmtree(one)
        else:
            one.unlink()


def _with_calm(config: TrainConfig) -> TrainConfig:
    """The settings, with the number of last epochs that mix no pictures."""
    calm = config.epochs // _CALM_SHARE if config.close_mosaic is None else config.close_mosaic
    return config.model_copy(update={"close_mosaic": calm})


def _strategy() -> DDPStrategy:
    """Averages gradients; buffers are the same everywhere without being sent, see ``synchronise_batchnorm``."""
    return DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)


def _require_same_world(trainer: L.Trainer, world: World) -> None:
    """Raise if a Trainer wants to start processes itself, which then would not share the pictures.

    Raises:
        ConfigError: it wants to.
    """
    if trainer.world_size != world.size:
        raise ConfigError(
            f"The Trainer is made for {trainer.world_size} processes, and {world.size} runs here.",
            "Start them with devices=N, torchrun or SLURM, and leave devices and strategy of the Trainer as they are.",
        )


def _device(config: TrainConfig) -> str:
    return "cuda" if config.gpus else "cpu"


def _chosen(config: TrainConfig, data: DataFolder, console: Console) -> TrainConfig:
    """The settings, with what is chosen if no model is named; the choices are printed."""
    device = "cuda" if usable_gpus(config.gpus, console) else "cpu"
    choices = choose(config, data.splits["train"], device)
    if choices:
        console.print("Chosen for this data and machine; to decide yourself, name a --model, or --set any of them:")
    width = max((len(str(one.value)) for one in choices), default=0) + 2
    for one in choices:
        console.print(f"  {one.key:<14}{one.value!s:<{width}}{one.reason}")
    return config.model_copy(update={one.key: one.value for one in choices})


def _is_first_process() -> bool:
    return int(cast(Any, rank_zero_only).rank) == 0  # Lightning reads it from the variables that the launcher sets


def _console(console: Console | None) -> Console:
    return (
        console or make_console(to_the_end=True) if _is_first_process() else Console(quiet=True, force_terminal=False)
    )


def _read_data(config: TrainConfig, console: Console) -> DataFolder:
    """The checked data; its warnings are printed."""
    if config.workers:
        start_server()  # its imports go on while the data is read
    root = local_data(config.data, console)
    with progress(console, "check") as advance:
        pixels = config.check == "full"
        folder = read_folder(root, pixels=pixels, max_pixels=config.max_pixels, advance=advance)
    warnings = folder.inspection.of("warning")
    for sentence in by_kind(warnings):
        console.print(f"Warning: {sentence}.")
    guesses = [one for one in folder.inspection.of("note") if one.code == "file-name-guessed"]
    for sentence in by_kind(guesses):
        console.print(f"Note: {sentence}.")
    if warnings or guesses:
        console.print(f"What to do about them: boxwright check {in_command(shown_place(config.data))}")
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
def _own_randomness() -> Iterator[None]:
    """Give the caller's random numbers back, and the variables in which Lightning keeps their seed."""
    before = {variable: os.environ.get(variable) for variable in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")}
    with isolate_rng():
        try:
            yield
        finally:
            for variable, value in before.items():
                os.environ.pop(variable, None)
                if value is not None:
                    os.environ[variable] = value


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
