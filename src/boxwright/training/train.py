"""From settings to a run folder."""

from __future__ import annotations

import datetime
import logging
import platform
import re
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger
from rich.console import Console

from boxwright.config import TrainConfig, load_config, save_config
from boxwright.data import DataFolder, fingerprint, read_folder
from boxwright.data.workers import start_server
from boxwright.evaluation import ground_truth_of
from boxwright.models import find_architecture
from boxwright.models.detector import TorchvisionDetector
from boxwright.models.freezing import freeze_batchnorm, freeze_stages
from boxwright.models.precision import Precision, resolve_precision
from boxwright.models.weights import LoadedWeights, fetch_hub_weights, load_weights, network_options
from boxwright.runtime import (
    ArchiveError,
    ConfigError,
    ContractError,
    DataError,
    InputSpec,
    ModelError,
    ModelSpec,
    PictureError,
)
from boxwright.runtime.bundle import RUN_SPEC
from boxwright.runtime.memory import keep_freed_memory
from boxwright.terminal import make_console, progress
from boxwright.tracking.local import LocalLogger
from boxwright.tracking.weights_and_biases import finish_wandb, resolve_wandb_mode, wandb_logger, wandb_sync_command

from .checkpoints import BEST, LAST, AtomicCheckpointIO, checkpoint_callbacks, read_checkpoint, write_best
from .console import EpochTable
from .data_module import DetectionData, open_caches
from .module import CHECKPOINT_KEY, DetectionModule
from .optimization import Optimization
from .result import RunResult

__all__ = ["CONFIG_FILE", "resume", "train"]

CONFIG_FILE = "config.yaml"
_PACKAGES = ("boxwright", "torch", "torchvision", "lightning", "numpy", "pillow", "hotcoco")
_PRETRAINED_STAGES = 3  # torchvision's choice for pretrained backbones
_ALL_STAGES = 99
_PLACES = {"data", "out", "cache_dir", "checkpoint_out", "state_dict_out"}  # of this machine: not for the archive
_MOST_WARNINGS = 10


def train(config: TrainConfig, console: Console | None = None) -> RunResult:
    """Train a detector; everything it leaves lies in ``config.out / config.name``.

    The data is checked and the weights are loaded before the run folder is made.

    Args:
        config: settings.
        console: for progress; standard output by default.

    Raises:
        ConfigError: settings that do not fit, or a run of that name exists.
        DataError: the data cannot be trained on.
        ModelError: unknown model, unusable weights, or a loss that is not finite.
    """
    console = console or make_console()
    folder = _read_data(config, console)
    config = _resolved(config, console)
    run = _new_run_folder(config)
    return _run(config, folder, run, console)


def resume(run: Path, console: Console | None = None) -> RunResult:
    """Continue an interrupted run at the epoch after its last checkpoint, with its own settings.

    Raises:
        ArchiveError: not a run folder.
        ConfigError: the run is complete.
        ContractError: the data's classes are no longer the run's.
    """
    console = console or make_console()
    if not (run / CONFIG_FILE).is_file():
        raise ArchiveError(f"{run}: holds no {CONFIG_FILE}.", "Give a folder that boxwright train made.")
    config = load_config(run / CONFIG_FILE)
    config = config.model_copy(update={"gpus": _gpus(config.gpus, console)})
    folder = _read_data(config, console)
    last = run / LAST
    if not last.is_file():
        console.print("No epoch was finished; starting from the first.")
        return _run(config, folder, run, console)
    checkpoint = read_checkpoint(last)
    recorded = ModelSpec.from_json(checkpoint[CHECKPOINT_KEY]["spec"], str(last))
    _require_same_data(recorded, folder, console)
    first_epoch = int(checkpoint["epoch"]) + 1
    if first_epoch >= config.epochs:
        if not (run / RUN_SPEC).is_file():  # killed between its last epoch and its end
            return RunResult(run, write_best(run, config.checkpoint_out, config.state_dict_out), interrupted=False)
        raise ConfigError(
            f"{run}: all {config.epochs} epochs are done.",
            f"To train on from its weights, start a new run with --weights {run / 'model_state_dict.pth'}.",
        )
    return _run(config, folder, run, console, recorded, first_epoch)


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
    if recorded.classes != folder.classes:
        raise ContractError(
            f"{folder.root}: its classes are {[one.name for one in folder.classes]}, "
            f"the run was started with {list(recorded.class_names)}.",
            "Start a new run.",
        )
    if recorded.provenance.get("data_fingerprint") != fingerprint(folder):
        console.print(f"Warning: {folder.root} has changed since the run was started.")


def _resolved(config: TrainConfig, console: Console) -> TrainConfig:
    """Every default that depends on the machine or the architecture, written out."""
    architecture = find_architecture(config.model)
    gpus = _gpus(config.gpus, console)
    size = architecture.image_size if config.image_size is None else config.image_size
    return config.model_copy(
        update={
            "data": config.data.resolve(),  # a run can be resumed from any folder
            "cache_dir": config.cache_dir and config.cache_dir.resolve(),
            "name": config.name or _free_name(config),
            "image_size": (size, size) if isinstance(size, int) else size,
            "learning_rate": config.learning_rate or _learning_rate(config, architecture.learning_rate),
            "precision": resolve_precision(config.precision, "cuda" if gpus else "cpu"),
            "gpus": gpus,
            "wandb": _wandb_mode(config.wandb, console),
        }
    )


def _learning_rate(config: TrainConfig, adamw: float) -> float:
    """The catalogue's for AdamW; for SGD .02 a batch of 16, as torchvision trained its detectors."""
    return adamw if config.optimizer == "adamw" else 0.02 / 16 * config.batch_size


def _gpus(wanted: str | int, console: Console) -> int:
    import torch

    usable = 1 if torch.cuda.is_available() else 0
    if wanted == "auto":
        return usable
    if int(wanted) > usable:
        place = "one GPU" if usable else "the CPU, there is no GPU here"
        console.print(f"Warning: {wanted} GPUs were asked for; training on {place}.")
    return min(int(wanted), usable)


def _wandb_mode(wanted: str, console: Console) -> str:
    mode = resolve_wandb_mode(wanted)
    if mode != wanted and wanted == "online":
        console.print("Warning: W&B has no API key here (wandb login); tracking offline.")
    return mode


def _free_name(config: TrainConfig) -> str:
    stem = re.sub("[^A-Za-z0-9]+", "-", config.data.resolve().name).strip("-") or "run"
    number = 1
    while (config.out / f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def _new_run_folder(config: TrainConfig) -> Path:
    assert config.name is not None, "resolved settings have a name"
    run = config.out / config.name
    if (run / LAST).parent.exists():
        raise ConfigError(f"{run} exists.", f"Choose another --name, or continue it with --resume {run}.")
    return run


def _make_folders(run: Path, config: TrainConfig) -> None:
    """Before hours are spent: every folder that will be written to."""
    for folder in filter(None, (run, config.checkpoint_out, config.state_dict_out)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be made: {error.strerror}.", "Choose another folder.") from error


def _run(
    config: TrainConfig,
    folder: DataFolder,
    run: Path,
    console: Console,
    recorded: ModelSpec | None = None,
    first_epoch: int = 0,
) -> RunResult:
    """Train from ``first_epoch``; ``recorded`` is the specification in the checkpoint of a resumed run."""
    keep_freed_memory()
    L.seed_everything(config.seed, workers=True, verbose=False)
    spec, detector, config = _prepare(config, folder, console, recorded)
    caches = open_caches(config.cache, config.cache_dir, folder, spec.input, console.print)
    _make_folders(run, config)
    save_config(config, run / CONFIG_FILE)
    assert config.learning_rate is not None, "resolved settings have a learning rate"
    optimization = Optimization(config.optimizer, config.learning_rate, config.weight_decay, config.warmup)
    module = DetectionModule(detector, spec, ground_truth_of(folder.splits["valid"]), optimization, config.seed)
    data = DetectionData(
        folder, spec.input, config.augmentation, config.batch_size, config.workers, config.seed, caches
    )
    best = None
    try:
        interrupted = _fit(config, run, module, data, console, first_epoch)
    finally:  # also what was reached before a loss that is not finite
        for cache in caches.values():
            cache.close()
        if (run / BEST).is_file() and not config.fast_dev_run:
            best = write_best(run, config.checkpoint_out, config.state_dict_out)
    return RunResult(run, best, interrupted)


def _prepare(
    config: TrainConfig, folder: DataFolder, console: Console, recorded: ModelSpec | None
) -> tuple[ModelSpec, TorchvisionDetector, TrainConfig]:
    """Specification and detector with its starting weights; settings with what depended on them."""
    load = recorded is None
    if load and config.weights == "auto":
        config = config.model_copy(update={"weights": _obtainable_weights(config.model, console)})
    # a resumed network is built as it was, wherever the starting weights' own options have gone
    network = recorded.network if recorded else network_options(config.weights, config.model)
    spec = _specification(config, folder, network)
    _announce(folder, spec, console)
    precision = Precision("bf16" if config.precision == "bf16" else "fp32")
    detector = TorchvisionDetector(spec, precision)
    loaded = load_weights(detector.network, config.weights, config.model) if load else None
    if loaded is not None:
        console.print(f"Weights: {loaded.summary()}.")
    config = config.model_copy(update=_freezing(config, loaded) if load else {})
    if config.freeze_batchnorm:
        freeze_batchnorm(detector.network)
    freeze_stages(detector.network, _ALL_STAGES if config.trainable_stages is None else config.trainable_stages)
    return spec, detector, config


def _obtainable_weights(model: str, console: Console) -> str:
    """ImageNet's weights where they lie or can be fetched, else none."""
    if find_architecture(model).backbone_weights is None:
        return "none"
    try:
        fetch_hub_weights("imagenet", model)
    except ModelError as error:
        warning = "Warning: training from scratch, which needs far more pictures and epochs."
        console.print(f"{warning} {error}")
        return "none"
    return "imagenet"


def _freezing(config: TrainConfig, loaded: LoadedWeights | None) -> dict[str, Any]:
    pretrained = loaded is not None
    stages = config.trainable_stages
    return {
        "freeze_batchnorm": pretrained if config.freeze_batchnorm is None else config.freeze_batchnorm,
        "trainable_stages": (_PRETRAINED_STAGES if pretrained else None) if stages is None else stages,
    }


def _specification(config: TrainConfig, folder: DataFolder, network: Mapping[str, Any]) -> ModelSpec:
    assert config.name is not None, "resolved settings have a name"
    assert isinstance(config.image_size, tuple), "resolved settings have a canvas"
    return ModelSpec(
        name=config.name,
        architecture=config.model,
        classes=folder.classes,
        input=InputSpec(config.image_size[0], config.image_size[1], config.resize),
        network=network,
        provenance={
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "data_fingerprint": fingerprint(folder),
            "weights": config.weights,
            "settings": config.model_dump(mode="json", exclude=_PLACES),
            "versions": {"python": platform.python_version(), **_versions()},
        },
    )


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in _PACKAGES}


def _announce(folder: DataFolder, spec: ModelSpec, console: Console) -> None:
    for split in folder.splits.values():
        console.print(f"{split.name:>6}: {len(split.pictures)} pictures, {split.boxes} boxes")
    pairs = ", ".join(f"{index} {one.name} (id {one.id})" for index, one in enumerate(spec.classes))
    console.print(f"Classes: {pairs}; contract {spec.contract[:12]}")
    canvas = f"{spec.input.height} x {spec.input.width}"
    console.print(f"Model: {spec.architecture} on a canvas of {canvas} ({spec.input.resize})")


def _fit(
    config: TrainConfig,
    run: Path,
    module: DetectionModule,
    data: DetectionData,
    console: Console,
    first_epoch: int,
) -> bool:
    """Fit; returns whether Ctrl-C ended it."""
    with _quiet_lightning():
        trainer = L.Trainer(
            accelerator="gpu" if config.gpus else "cpu",
            devices=config.gpus or 1,
            precision="32-true",  # bf16 is applied part by part: models/precision.py
            max_epochs=config.epochs,
            gradient_clip_val=config.gradient_clip or None,
            logger=_loggers(config, run, first_epoch, console),
            callbacks=[EpochTable(config.monitor, console), *checkpoint_callbacks(run, config.monitor)],
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            fast_dev_run=config.fast_dev_run,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=run,
        )
        try:
            interrupted = _fit_or_stop(trainer, module, data, run / LAST if first_epoch else None)
        finally:
            finish_wandb(trainer.loggers)
    command = wandb_sync_command(run) if config.wandb == "offline" else None
    if command:
        console.print(f"W&B ran offline; to upload: {command}")
    return interrupted


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


def _loggers(config: TrainConfig, run: Path, first_epoch: int, console: Console) -> list[Logger]:
    local = LocalLogger(run, first_epoch)
    if config.fast_dev_run or config.wandb not in ("online", "offline"):
        return [local]
    assert config.name is not None, "resolved settings have a name"
    settings = config.model_dump(mode="json")
    try:
        return [local, wandb_logger(run, config.name, config.wandb_project, config.wandb, settings)]
    except Exception as error:  # wandb's errors share no base; a tracker must not stop training
        console.print(f"Warning: W&B is not tracking this run: {error}")
        return [local]


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
