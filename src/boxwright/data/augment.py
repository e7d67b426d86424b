"""Augmentation recipes for training, on torchvision.transforms.v2.

They work on the canvas; decoding and resizing are runtime's, as everywhere. Boxes and labels go
through together, and boxes that leave the canvas leave with their labels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from boxwright.runtime import InputSpec

__all__ = ["RECIPES", "Augmentation"]

_SMALLEST_SIDE = 2.0  # canvas pixels; what cropping leaves below that is noise


def _light(spec: InputSpec) -> list[v2.Transform]:
    return [v2.RandomHorizontalFlip(0.5), v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)]


def _standard(spec: InputSpec) -> list[v2.Transform]:
    size = (spec.height, spec.width)
    return [
        *_light(spec),
        v2.RandomZoomOut(fill=list(spec.pad), side_range=(1.0, 1.6), p=0.3),
        v2.RandomIoUCrop(min_scale=0.5, sampler_options=[0.3, 0.5, 0.7, 1.0]),
        v2.Resize(size, antialias=True),
    ]


RECIPES: dict[str, Callable[[InputSpec], list[v2.Transform]]] = {
    "none": lambda spec: [],
    "light": _light,
    "standard": _standard,
}
"""Recipes by name: none; light: flip and colour; standard: those, zoom out and crop."""


def _labels(sample: dict[str, Any]) -> Tensor:
    labels: Tensor = sample["labels"]
    return labels


class Augmentation:
    """A recipe that gives the same picture for the same seed, whatever the number of workers.

    Args:
        recipe: key of ``RECIPES``.
        spec: the canvas.
    """

    def __init__(self, recipe: str, spec: InputSpec) -> None:
        steps = RECIPES[recipe](spec)
        sanitize = v2.SanitizeBoundingBoxes(min_size=_SMALLEST_SIDE, labels_getter=_labels)
        self._transform = v2.Compose([*steps, sanitize]) if steps else None

    def __call__(self, canvas: Tensor, boxes: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Augment one picture.

        Args:
            canvas: uint8 [3, H, W].
            boxes: float32 [n, 4], xyxy, canvas pixels.
            labels: int64 [n].
            seed: decides everything random.

        Returns:
            The same three, with m <= n boxes.
        """
        if self._transform is None:
            return canvas, boxes, labels
        size = (canvas.shape[1], canvas.shape[2])
        sample: dict[str, Any] = {
            "canvas": tv_tensors.Image(canvas),
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
            "labels": labels,
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sample = self._transform(sample)
        return (
            sample["canvas"].as_subclass(Tensor),
            sample["boxes"].as_subclass(Tensor),
            sample["labels"],
        )
