"""Resolves settings: replaces each default that depends on the machine or the architecture by its value."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console

from boxwright.config import TrainConfig
from boxwright.models import find_architecture
from boxwright.models.detector import resolve_precision
from boxwright.runtime import ConfigError
from boxwright.tracking.mlflow import resolve_mlflow_uri
from boxwright.tracking.wandb import resolve_wandb_mode

from .checkpoints import LAST

__all__ = ["make_folders", "new_run_folder", "resolve_settings", "usable_gpus"]


def resolve_settings(config: TrainConfig, console: Console) -> TrainConfig:
    """Replace each default that depends on the machine or the architecture by its value.

    Raises:
        ModelError: the model is unknown.
    """
    architecture = find_architecture(config.model)
    gpus = usable_gpus(config.gpus, console)
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
            "mlflow": config.mlflow and resolve_mlflow_uri(config.mlflow),
        }
    )


def _learning_rate(config: TrainConfig, adamw: float) -> float:
    """The catalogue's for AdamW; for SGD .02 per 16 pictures of a batch, as torchvision trained its detectors."""
    return adamw if config.optimizer == "adamw" else 0.02 / 16 * config.batch_size


def usable_gpus(wanted: str | int, console: Console) -> int:
    """How many GPUs training will use, 0 or 1; prints a warning if more are wanted."""
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


def new_run_folder(config: TrainConfig) -> Path:
    """The folder of a new run; it is not made yet.

    Raises:
        ConfigError: a run of that name exists.
    """
    assert config.name is not None, "resolved settings have a name"
    run = config.out / config.name
    if (run / LAST).parent.exists():
        raise ConfigError(f"{run} exists.", f"Choose another --name, or continue it with --resume {run}.")
    return run


def make_folders(run: Path, config: TrainConfig) -> None:
    """Make every folder that will be written to, before hours are spent.

    Raises:
        ConfigError: a folder cannot be made.
    """
    for folder in filter(None, (run, config.checkpoint_out, config.state_dict_out)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be made: {error.strerror}.", "Choose another folder.") from error
