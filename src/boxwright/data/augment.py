"""Augmentation recipes for training, on torchvision.transforms.v2.

They work on the canvas; decoding and resizing are always the runtime's. Boxes and labels are transformed
together: a box that leaves the canvas is removed with its label.

To add a recipe: one row of ``RECIPES`` and its rows in ``docs/augmentation.md`` (a test compares them). To add a
step: one class in ``augment_steps.py``, or a module of its own like ``colour.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from boxwright.runtime import ConfigError, InputSpec

from .augment_steps import SMALLEST_SIDE, Flips, IoUCrop, Mosaic, Picture, ScaleJitter, Step, ZoomOut
from .colour import Colour

__all__ = ["RECIPES", "Augmentation", "Picture", "another_index", "sample_seed"]

# Padding comes after the colours of each recipe: it keeps the canvas's pad colour.
RECIPES: dict[str, Callable[[InputSpec], list[Step]]] = {
    "none": lambda spec: [],
    "light": lambda spec: [
        Flips(horizontal=0.5),
        Colour(p=0.2, brightness=0.2, contrast=0.2, saturation=0.2),
    ],
    "standard": lambda spec: [
        Flips(horizontal=0.5),
        Colour(p=0.5, brightness=0.2, contrast=0.2, saturation=0.2),
        ZoomOut(p=0.3, largest=1.6, pad=spec.pad),
        IoUCrop(smallest=0.5, overlaps=(0.3, 0.5, 0.7, 1.0), pad=spec.pad),
    ],
    "strong": lambda spec: [
        Mosaic(p=0.5, centre=(0.25, 0.75)),
        Flips(horizontal=0.5),
        Colour(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4),
        ScaleJitter(smallest=0.5, largest=2.0, pad=spec.pad),
    ],
}
"""The steps of each recipe, in order, for a canvas."""


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """Seed of everything random about one picture in one epoch, 0..2**63 - 1.

    Args:
        seed: of the run, not negative.
        epoch: from 0.
        index: position of the picture in its split.
    """
    return _spread(seed, epoch, index)


def another_index(seed: int, count: int) -> int:
    """Which of ``count`` pictures, 0..count - 1, a mixing recipe gets for ``seed`` (not negative)."""
    return _spread(seed) % count


def _spread(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class Augmentation:
    """A recipe that gives the same picture for the same seed, whatever the number of workers.

    Args:
        recipe: key of ``RECIPES``.
        spec: the canvas.
        mixing: whether the steps that put other pictures into one are kept.

    Raises:
        ConfigError: an unknown recipe.
    """

    def __init__(self, recipe: str, spec: InputSpec, mixing: bool = True) -> None:
        if recipe not in RECIPES:
            raise ConfigError(f"augmentation = {recipe!r} is unknown.", f"Use one of {', '.join(RECIPES)}.")
        steps = [step for step in RECIPES[recipe](spec) if mixing or not step.mixes]
        self._mixes = any(step.mixes for step in steps)
        self._cuts = any(step.cuts for step in steps)
        self._transform = v2.Compose(steps) if steps else None

    @property
    def mixes(self) -> bool:
        """Whether the recipe puts other pictures of the split into one."""
        return self._mixes

    def __call__(
        self,
        canvas: Tensor,
        boxes: Tensor,
        labels: Tensor,
        seed: int,
        another: Callable[[int], Picture] | None = None,
    ) -> Picture:
        """Augment one picture; the given tensors are not written to, but may be returned.

        Args:
            canvas: uint8 [3, H, W].
            boxes: float32 [n, 4], xyxy, canvas pixels.
            labels: int64 [n].
            seed: decides everything random, 0..2**63 - 1; torch's global random state is left alone.
            another: gives a picture of the same split on the same canvas, not augmented, chosen by the
                seed it is called with; called only by a recipe that ``mixes``. Without it the
                picture itself is used.

        Returns:
            Canvas, boxes and labels of the augmented picture. A recipe that cuts removes boxes with a
            side under ``SMALLEST_SIDE``, and those cut to less than ``LEAST_VISIBLE`` of their area.
        """
        if self._transform is None:
            return canvas, boxes, labels
        own = (canvas, boxes, labels)
        image = tv_tensors.Image(canvas)
        sample: dict[str, Any] = {
            "canvas": image,
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=tuple(canvas.shape[1:])),
            "labels": labels,
            "another": another or (lambda seed: own),
        }
        with _seeded(seed):
            sample = self._transform(sample)
        boxes, labels = sample["boxes"].as_subclass(Tensor), sample["labels"]
        kept = _has_size(boxes) if self._cuts else slice(None)
        pixels = canvas if sample["canvas"] is image else sample["canvas"].as_subclass(Tensor)
        return pixels, boxes[kept], labels[kept]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator for a while; ``torch.manual_seed`` would also seed the GPUs' generators."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _has_size(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2] >= SMALLEST_SIDE).all(dim=1)
