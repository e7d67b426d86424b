"""What is trained when only the data is named: chosen for these boxes and this device, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.config import AUTO, TrainConfig
from boxwright.data import PictureRecord, Split
from boxwright.models import find_architecture
from boxwright.models.weights_named import WORDS
from boxwright.runtime import InputSpec, ModelSpec
from boxwright.runtime.preprocess import placement
from boxwright.runtime.spec import MIN_TILE
from boxwright.runtime.tiling import windows

__all__ = ["Choice", "choose", "require_canvas"]

_MODELS = {"cpu": "fasterrcnn_mobilenet_v2_fpn_v2", "cuda": "fasterrcnn_resnet50_fpn_v2"}
_WHY_MODEL = {
    "cpu": "there is no GPU here; it learns on a processor, small objects too",
    "cuda": "there is a GPU; it is the most accurate of those with ImageNet's weights",
}
_WITH_COCO = {"cpu": "fasterrcnn_mobilenet_v3_large_fpn", "cuda": "fasterrcnn_resnet50_fpn_v2"}
_WHY_WITH_COCO = {
    "cpu": "there is no GPU here; of those with COCO's weights it learns fastest on a processor",
    "cuda": "there is a GPU; it is the most accurate of torchvision's with COCO's weights",
}
_CANVASES = (320, 416, 512, 640, 800)  # longer side, pixels
_LARGEST = {"cpu": 512, "cuda": 800}
_SEEN = 24.0  # pixels: six steps of the finest features (4 pixels) see such a box, or three (8 pixels)
_SMALL = 0.2  # this share of the boxes may be smaller than that
_ALIKE = 0.8  # of the pictures must fit a canvas that is not square
_BATCHES = {"cpu": 4, "cuda": 8}
_STEPS = 6000  # of the optimizer: fine-tuning needs thousands, whatever the number of pictures
_EPOCHS = (12, 60)
_MINUTES = 30.0  # on a processor, at most


@dataclass(frozen=True)
class Choice:
    """One setting.

    Attributes:
        key: of ``TrainConfig``.
        value: for it.
        reason: half a sentence.
    """

    key: str
    value: Any
    reason: str


def choose(config: TrainConfig, train: Split, device: str) -> list[Choice]:
    """Model, canvas, batch, learning rate, epochs and time, as far as they are not given; none if a model is named.

    Args:
        config: settings; the keys that were given stay.
        train: the training split.
        device: ``cpu`` or ``cuda``.
    """
    if config.model != AUTO:
        return []
    return [one for one in _choices(config, train, device) if one.key not in config.model_fields_set - {"model"}]


def require_canvas(config: TrainConfig) -> None:
    """Raise unless the model, or all that may be chosen, take the canvas that is given; the data is not read.

    Raises:
        ConfigError: one does not.
    """
    if config.image_size is None:
        return
    size = (config.image_size,) * 2 if isinstance(config.image_size, int) else config.image_size
    for name in [config.model] if config.model != AUTO else _candidates(config.weights):
        model = find_architecture(name)
        model.canvas(*size, config.resize or model.resize)


def _candidates(weights: str) -> list[str]:
    spec = _of_weights(weights)
    return [spec.architecture] if spec else list((_WITH_COCO if weights == "coco" else _MODELS).values())


def _choices(config: TrainConfig, train: Split, device: str) -> Iterator[Choice]:
    spec = _of_weights(config.weights)
    models, why = (_WITH_COCO, _WHY_WITH_COCO) if config.weights == "coco" else (_MODELS, _WHY_MODEL)
    model = spec.architecture if spec else models[device]
    yield Choice("model", model, "the starting weights'" if spec else why[device])
    if spec and config.tile in (None, spec.input.tile):
        yield Choice("image_size", (spec.input.height, spec.input.width), "height, width of the starting weights")
    elif config.tile is None:
        yield _canvas(train.pictures, find_architecture(model).stride, device)
    given = bool({"batch_size", "total_batch"} & config.model_fields_set)
    batch = config.step_pictures if given else _BATCHES[device]
    if not given:
        yield Choice("batch_size", batch, "as the learning rate was tried with")
    if config.optimizer == "adamw":
        rate = find_architecture(model).learning_rate * math.sqrt(batch / 4)
        yield Choice("learning_rate", float(f"{rate:.2g}"), f"{model}'s, for steps of {batch}")
    if config.minutes is None:
        canvas = InputSpec(MIN_TILE, MIN_TILE, tile=config.tile, overlap=config.overlap)
        seen = sum(len(windows(one.width, one.height, canvas)) for one in train.pictures)
        yield from _length(config, -(-seen // batch), device)


def _of_weights(weights: str) -> ModelSpec | None:
    """What a file of weights or a run was trained as; None if it does not say, or if it is no file."""
    path = Path(weights)
    if weights in WORDS or not path.exists():
        return None
    from boxwright.models.weights_files import spec_of  # which needs PyTorch

    return spec_of(path)


def _length(config: TrainConfig, steps: int, device: str) -> Iterator[Choice]:
    epochs = min(max(-(-_STEPS // steps), _EPOCHS[0]), _EPOCHS[1])
    yield Choice("epochs", epochs, f"{epochs * steps} steps; {_EPOCHS[0]} to {_EPOCHS[1]} epochs, about {_STEPS} steps")
    if device == "cpu" and "epochs" not in config.model_fields_set:
        yield Choice("minutes", _MINUTES, "on a processor at most so long; fewer epochs if they take longer")


def _canvas(pictures: Sequence[PictureRecord], stride: int, device: str) -> Choice:
    """The smallest canvas on which nearly all boxes can be seen, of the pictures' shape if they have one."""
    longest = int(np.median([max(one.width, one.height) for one in pictures]))
    fits = [side for side in _CANVASES if side <= _LARGEST[device]]
    fits = [side for side in fits if side < longest + stride] or fits[:1]
    sizes = {side: _shape(pictures, side, stride) for side in fits}
    small = {side: _small_side(pictures, size) for side, size in sizes.items()}
    side = next((side for side in fits if small[side] >= _SEEN), fits[-1])
    reason = f"height, width; a fifth of the boxes are under {small[side]:.0f} pixels there"
    if small[side] < _SEEN:
        limit = "the largest that a processor trains in time" if side == _LARGEST["cpu"] else "the largest of use"
        reason = f"{reason}; {limit}" if device == "cpu" else f"{reason}; larger ones cost more than they bring"
    return Choice("image_size", sizes[side], reason)


def _shape(pictures: Sequence[PictureRecord], side: int, stride: int) -> tuple[int, int]:
    """Height and width of a canvas for these pictures: as most of them are, else a square."""
    ratios = np.array([one.height / one.width for one in pictures])
    ratio = float(np.median(ratios))
    alike = np.mean(np.abs(np.log(ratios / ratio)) < math.log(1.1))
    if alike < _ALIKE:
        return side, side
    shorter = max(round(side * min(ratio, 1 / ratio) / stride), 1) * stride
    return (side, shorter) if ratio > 1 else (shorter, side)


def _small_side(pictures: Sequence[PictureRecord], size: tuple[int, int]) -> float:
    """The side (square root of the area, canvas pixels) that a fifth of the boxes are under; infinite without boxes."""
    sides = [_sides(one, size) for one in pictures if len(one.boxes)]
    return float(np.quantile(np.concatenate(sides), _SMALL)) if sides else math.inf


def _sides(record: PictureRecord, size: tuple[int, int]) -> NDArray[np.float64]:
    boxes = placement(record.width, record.height, InputSpec(*size)).to_canvas(record.boxes).astype(np.float64)
    return np.asarray(np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
