"""Four pictures on one canvas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from .augment_geometry import Rectangle, Step, View, part_of

__all__ = ["Mosaic", "Picture"]

Picture = tuple[Tensor, Tensor, Tensor]
"""A canvas uint8 [3, H, W]; its boxes float32 [n, 4], xyxy, canvas pixels; their labels int64 [n]."""


class Mosaic(Step):
    """Four pictures around a centre (Bochkovskiy et al. 2020): this one top left, the others asked for.

    Each is scaled just so far that it fills its quarter, keeping its proportions; what does not fit is cut off on
    both sides of a random window, so no padding is added.

    The sample also holds ``another``: a function from a seed to a ``Picture`` on a canvas of the same size.

    Args:
        p: probability of the step.
        centre: least and largest share of each side at which the centre lies, drawn evenly.
    """

    cuts = True

    def __init__(self, p: float, centre: tuple[float, float]) -> None:
        super().__init__()
        self.p = p
        self.centre = centre

    def forward(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The sample with four pictures for one; it needs the whole sample, not one part after the other."""
        chance, *draws = torch.rand(3).tolist()
        if chance >= self.p:
            return sample
        seeds: list[int] = torch.randint(2**63 - 1, (3,)).tolist()
        another: Callable[[int], Picture] = sample["another"]
        own = (sample["canvas"].as_subclass(Tensor), sample["boxes"].as_subclass(Tensor), sample["labels"])
        low, high = self.centre
        x, y = (low + draw * (high - low) for draw in draws)
        canvas, boxes, labels = assemble([own, *(another(seed) for seed in seeds)], x, y)
        return {
            **sample,
            "canvas": tv_tensors.Image(canvas),
            "boxes": tv_tensors.wrap(boxes, like=sample["boxes"]),
            "labels": labels,
        }


def assemble(pictures: list[Picture], centre_x: float, centre_y: float) -> Picture:
    """Four pictures in one, in reading order; uses torch's random state.

    Args:
        pictures: four, on canvases of one size.
        centre_x: share of the width at which they meet, 0..1.
        centre_y: share of the height.

    Returns:
        The picture; boxes that left it are four zeros, as ``View.move`` gives them.
    """
    canvas = torch.empty_like(pictures[0][0])
    height, width = canvas.shape[1:]
    x, y = round(width * centre_x), round(height * centre_y)
    quarters = [(0, 0, x, y), (x, 0, width - x, y), (0, y, x, height - y), (x, y, width - x, height - y)]
    views = [_filling(Rectangle(*quarter), height, width) for quarter in quarters]
    for view, (pixels, _, _) in zip(views, pictures, strict=True):
        view.paint(pixels, canvas)
    moved = [view.move(boxes) for view, (_, boxes, _) in zip(views, pictures, strict=True)]
    return canvas, torch.cat(moved), torch.cat([labels for _, _, labels in pictures])


def _filling(quarter: Rectangle, height: int, width: int) -> View:
    share_x, share_y = quarter.width / width, quarter.height / height
    larger = max(share_x, share_y)
    return View(part_of(width, height, share_x / larger, share_y / larger), quarter)
