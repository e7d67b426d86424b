"""What is searched: few settings, each around the one that would be trained without a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from boxwright.config import TrainConfig
from boxwright.models import find_architecture

__all__ = ["SEARCHED", "Suggest", "default_point", "settings_of", "suggested"]

SEARCHED = ("learning_rate", "weight_decay", "augmentation", "image_size", "ema")
"""Settings that are searched unless they are given; and ``model``, if several are."""

_RATES = (0.25, 4.0)  # of the model's own learning rate
_DECAYS = (1e-4, 1e-1)
_CANVASES = (0.75, 1.0, 1.25)  # of both sides of the canvas
_AUGMENTATIONS = ("light", "standard", "strong")
_AVERAGES = (0.0, 0.998)


class Suggest(Protocol):
    """What a search proposes: the part of ``optuna.Trial`` that is used here."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of some values."""


def default_point(base: TrainConfig, models: Sequence[str]) -> dict[str, Any]:
    """The point of the space that is the base itself.

    Args:
        base: resolved settings.
        models: among which is searched; the first is the base's.
    """
    point: dict[str, Any] = {
        "rate": 1.0,
        "weight_decay": base.weight_decay,
        "augmentation": base.augmentation,
        "canvas": 1.0,
        "ema": base.ema,
        "model": models[0],
    }
    return point


def suggested(trial: Suggest, given: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
    """A point of the space, without what is given or has one value only."""
    point: dict[str, Any] = {}
    if "learning_rate" not in given:
        point["rate"] = trial.suggest_float("rate", *_RATES, log=True)
    if "weight_decay" not in given:
        point["weight_decay"] = trial.suggest_float("weight_decay", *_DECAYS, log=True)
    if "augmentation" not in given:
        point["augmentation"] = trial.suggest_categorical("augmentation", _AUGMENTATIONS)
    if "image_size" not in given:
        point["canvas"] = trial.suggest_categorical("canvas", _CANVASES)
    if "ema" not in given:
        point["ema"] = trial.suggest_categorical("ema", _AVERAGES)
    if len(models) > 1:
        point["model"] = trial.suggest_categorical("model", list(models))
    return point


def settings_of(point: Mapping[str, Any], base: TrainConfig) -> dict[str, Any]:
    """The settings of a point, as ``TrainConfig`` has them.

    Args:
        point: see ``suggested``.
        base: resolved settings, which hold where the point says nothing.
    """
    settings: dict[str, Any] = {key: point[key] for key in ("weight_decay", "augmentation", "ema") if key in point}
    row = find_architecture(point.get("model", base.model))
    settings["model"] = row.name
    assert base.learning_rate is not None, "resolved settings have a learning rate"
    own = base.learning_rate * row.learning_rate / find_architecture(base.model).learning_rate
    settings["learning_rate"] = float(f"{own * point.get('rate', 1.0):.3g}")
    assert isinstance(base.image_size, tuple), "resolved settings have a canvas"
    height, width = (
        max(round(side * point.get("canvas", 1.0) / row.stride), 1) * row.stride for side in base.image_size
    )
    settings["image_size"] = [max(height, width)] * 2 if row.square else [height, width]
    return settings
