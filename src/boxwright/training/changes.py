"""Settings that were changed since a run was started: a resumed run follows them, or they are refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boxwright.config import CONFIG_FILE, TrainConfig
from boxwright.runtime import ConfigError

from .preparation import recorded_settings

__all__ = ["as_started", "require_followed"]

# Read anew by a resumed run: the schedule is planned anew, the optimizer gets its rates again.
_FOLLOWED = {
    "augmentation",
    "cache",
    "check",
    "checkpoint_minutes",
    "close_mosaic",
    "devices",
    "epochs",
    "gpus",
    "gradient_clip",
    "learning_rate",
    "max_pixels",
    "minutes",
    "multi_scale",
    "objective",
    "patience",
    "tensorboard",
    "thresholds_by_class",
    "wandb",
    "wandb_model",
    "wandb_pictures",
    "wandb_project",
    "weight_decay",
    "workers",
}
# They decide which pictures a step has, so they cannot change within an epoch.
_BETWEEN_EPOCHS = {"batch_size", "epoch_pictures", "repeat_threshold", "total_batch"}


# Left to the machine or the architecture: a resumed run keeps what was found for it when it was started.
_FOUND = ("batch_size", "freeze_batchnorm", "learning_rate", "name", "precision", "resize", "trainable_stages")


def as_started(started: Mapping[str, Any], config: TrainConfig) -> TrainConfig:
    """The settings of now, where ``auto`` and nothing mean what the run was started with.

    Args:
        started: the settings that the run was started with, as its specification holds them.
        config: those of now.
    """
    left = [key for key in _FOUND if key in started and getattr(config, key) in (None, "auto")]
    side = config.image_size
    size = tuple(started.get("image_size") or ()) if side is None else (side, side) if isinstance(side, int) else side
    return config.model_copy(update={**{key: started[key] for key in left}, "image_size": size or None})


def require_followed(started: Mapping[str, Any], config: TrainConfig, run: Path, within: bool) -> list[str]:
    """What has changed, one phrase per setting; raise unless a resumed run can follow all of it.

    Args:
        started: the settings that the run was started with, as its specification holds them.
        config: those of now.
        run: its folder.
        within: whether it goes on within an epoch.

    Raises:
        ConfigError: a setting was changed that the run cannot follow.
    """
    now = recorded_settings(config)
    started = {**started, "weights": Path(str(started.get("weights"))).name}  # older versions recorded the whole path
    changed = [key for key, value in started.items() if key in now and now[key] != value]
    for key in changed:
        if key in _FOLLOWED or (key in _BETWEEN_EPOCHS and not within):
            continue
        why = "which cannot change within an epoch" if key in _BETWEEN_EPOCHS else "which a resumed run cannot change"
        raise ConfigError(
            f"{run / CONFIG_FILE}: {key} is {now[key]!r}, the run was started with {started[key]!r}, {why}.",
            "Put it back, or start a new run from its weights: --weights RUN/model_state_dict.pth.",
        )
    return [f"{key} from {started[key]} to {now[key]}" for key in changed]
