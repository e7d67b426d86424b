"""Resolves settings: replaces each default that depends on the machine or the architecture by its value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from boxwright.config import TrainConfig
from boxwright.models import find_architecture
from boxwright.models.detector import resolve_precision
from boxwright.tracking.mlflow import resolve_mlflow_uri
from boxwright.tracking.wandb import resolve_wandb_mode

from .folders import free_name

__all__ = ["resolve_settings", "usable_gpus"]


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
            **_from_anywhere(config),
            "name": config.name or free_name(config),
            "image_size": (size, size) if isinstance(size, int) else size,
            "resize": config.resize or architecture.resize,
            "learning_rate": config.learning_rate or _learning_rate(config, architecture.learning_rate),
            "precision": resolve_precision(config.precision, "cuda" if gpus else "cpu"),
            "gpus": gpus,
            "wandb": _wandb_mode(config.wandb, console),
            "mlflow": config.mlflow and resolve_mlflow_uri(config.mlflow),
        }
    )


def _from_anywhere(config: TrainConfig) -> dict[str, Any]:
    """Whole paths, so that a run can be resumed from any folder."""
    places = {name: getattr(config, name) for name in ("data", "cache_dir", "checkpoint_out", "state_dict_out")}
    whole = {name: place and place.resolve() for name, place in places.items()}
    weights = Path(config.weights)
    return {**whole, "weights": str(weights.resolve()) if weights.exists() else config.weights}


def _learning_rate(config: TrainConfig, adamw: float) -> float:
    """The catalogue's for AdamW; for SGD .02 per 16 pictures of a step, as torchvision trained its detectors."""
    return adamw if config.optimizer == "adamw" else 0.02 / 16 * config.step_pictures


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
