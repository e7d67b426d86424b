"""Resolves settings: replaces each default that depends on the machine or the architecture by its value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from boxwright.config import TrainConfig
from boxwright.host.places import whole
from boxwright.models import Architecture, find_architecture
from boxwright.models.detector import resolve_precision
from boxwright.runtime import ConfigError
from boxwright.tracking.mlflow import resolve_mlflow_uri
from boxwright.tracking.wandb import resolve_wandb_mode

from .folders import free_name
from .world import ALONE, World

__all__ = [
    "canvas_size",
    "from_anywhere",
    "require_shared",
    "resolve_devices",
    "resolve_settings",
    "usable_gpus",
    "wanted_processes",
]


def resolve_settings(config: TrainConfig, console: Console, world: World = ALONE) -> TrainConfig:
    """Replace each default that depends on the machine or the architecture by its value.

    Raises:
        ConfigError: more devices than there are.
        ModelError: the model is unknown.
    """
    architecture = find_architecture(config.model)
    devices = resolve_devices(config, console, world)
    return config.model_copy(
        update={
            **from_anywhere(config),
            "name": config.name or free_name(config),
            "image_size": canvas_size(config, architecture),
            "resize": config.resize or architecture.resize,
            "learning_rate": config.learning_rate or _learning_rate(config, architecture.learning_rate),
            "precision": resolve_precision(config.precision, "cuda" if devices["gpus"] else "cpu"),
            **devices,
            "wandb": _wandb_mode(config.wandb, console),
        }
    )


def from_anywhere(config: TrainConfig) -> dict[str, Any]:
    """Whole paths in place of those that were given, so that they are the same from any folder."""
    places = {name: getattr(config, name) for name in ("data", "cache_dir", "checkpoint_out", "state_dict_out")}
    found: dict[str, Any] = {name: place and whole(place) for name, place in places.items()}
    weights = Path(config.weights)
    found["mlflow"] = config.mlflow and resolve_mlflow_uri(config.mlflow)
    return {**found, "weights": str(weights.resolve()) if weights.exists() else config.weights}


def canvas_size(config: TrainConfig, architecture: Architecture) -> tuple[int, int]:
    """Height and width in pixels: as given, else about those of the windows, else the architecture's own."""
    size = config.image_size or architecture.image_size
    if config.image_size is None and config.tile is not None:
        size = max(round(config.tile / architecture.stride), 1) * architecture.stride
    return (size, size) if isinstance(size, int) else size


def _learning_rate(config: TrainConfig, adamw: float) -> float:
    """The catalogue's for AdamW; for SGD .02 per 16 pictures of a step, as torchvision trained its detectors."""
    return adamw if config.optimizer == "adamw" else 0.02 / 16 * config.step_pictures


def resolve_devices(config: TrainConfig, console: Console, world: World) -> dict[str, int]:
    """How many devices training uses, and how many of them are GPUs: all or none."""
    gpus = usable_gpus(config.gpus, console)
    if isinstance(config.devices, int) and config.devices != world.size:
        console.print(f"Note: {world.size} processes were started; devices = {config.devices} is not followed.")
    return {"devices": world.size, "gpus": world.size if gpus else 0}


def wanted_processes(config: TrainConfig) -> int:
    """How many processes the settings ask for on this machine.

    Raises:
        ConfigError: more than there are GPUs, or than a batch has pictures.
    """
    import torch

    there = 0 if config.gpus == 0 else torch.cuda.device_count()
    if config.devices is None:
        return max(min(config.gpus, there), 1) if isinstance(config.gpus, int) else 1
    if config.devices == "auto":
        return max(there, 1)
    if there and config.devices > there:
        raise ConfigError(
            f"devices = {config.devices}: there {'is one GPU' if there == 1 else f'are {there} GPUs'} here.",
            f"Use --devices {there}, or train on the processor with --set gpus=0.",
        )
    if config.batch_size != "auto":
        require_shared(config.batch_size, config.devices)
    return config.devices


def require_shared(batch: int, processes: int) -> None:
    """Raise unless each process gets a picture of a batch.

    Raises:
        ConfigError: there are fewer.
    """
    if batch < processes:
        raise ConfigError(
            f"batch_size = {batch}: fewer pictures than the {processes} devices that share them.",
            f"Use batch_size={processes} or more, or fewer --devices.",
        )


def usable_gpus(wanted: str | int, console: Console) -> int:
    """How many GPUs can be used here; prints a warning if fewer than are wanted."""
    import torch

    usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return usable
    if int(wanted) > usable:
        place = f"{usable} GPU{'s' * (usable > 1)}" if usable else "the CPU, there is no GPU here"
        asked = "A GPU was" if int(wanted) == 1 else f"{wanted} GPUs were"
        console.print(f"Warning: {asked} asked for; training on {place}.")
    return min(int(wanted), usable)


def _wandb_mode(wanted: str, console: Console) -> str:
    mode = resolve_wandb_mode(wanted)
    if mode != wanted and wanted == "online":
        console.print("Warning: W&B has no API key here (wandb login); tracking offline.")
    return mode
