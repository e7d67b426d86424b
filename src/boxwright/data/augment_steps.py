"""The steps of augmentation recipes that move pixels and boxes together, as transforms of torchvision.transforms.v2.

A sample is a dictionary with ``canvas`` (Image, uint8 [3, H, W]), ``boxes`` (BoundingBoxes, float32
[n, 4], xyxy, canvas pixels) and ``labels`` (int64 [n]). As in torchvision's own crops, a box that leaves
the canvas becomes four zeros, so that boxes and labels stay aligned until they are removed together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import box_iou
from torchvision.transforms import v2

__all__ = [
    "LEAST_VISIBLE",
    "SMALLEST_SIDE",
    "Flips",
    "IoUCrop",
    "Mosaic",
    "Picture",
    "Rectangle",
    "ScaleJitter",
    "Step",
    "View",
    "ZoomOut",
    "assemble",
    "flip_boxes",
    "part_of",
]

SMALLEST_SIDE = 2.0
"""Canvas pixels; a smaller rest of a cut box is noise."""

LEAST_VISIBLE = 0.15
"""Fraction of its area that a cut box must keep to stay an object."""

Picture = tuple[Tensor, Tensor, Tensor]
"""A canvas uint8 [3, H, W]; its boxes float32 [n, 4], xyxy, canvas pixels; their labels int64 [n]."""

_TRIES = 40  # windows tried for a crop, as many as in torchvision's RandomIoUCrop


class Step(v2.Transform):  # type: ignore[misc]  # torchvision is not typed
    """A step of a recipe; its public attributes are its settings, as its ``repr`` shows them."""

    cuts = False
    """Whether it can cut boxes."""

    mixes = False
    """Whether it needs other pictures."""


class Flips(Step):
    """Mirror from left to right and from top to bottom, in one copy of the pixels.

    Args:
        horizontal: probability of left to right.
        vertical: probability of top to bottom.
    """

    def __init__(self, horizontal: float = 0.0, vertical: float = 0.0) -> None:
        super().__init__()
        self.horizontal = horizontal
        self.vertical = vertical

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw both directions."""
        across, down = torch.rand(2).tolist()
        return {"horizontal": across < self.horizontal, "vertical": down < self.vertical}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Mirror the canvas or its boxes."""
        part = inpt.as_subclass(Tensor)
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            return tv_tensors.wrap(flip_boxes(part, *inpt.canvas_size, **params), like=inpt)
        axes = [axis for axis, name in ((1, "vertical"), (2, "horizontal")) if params[name]]
        return tv_tensors.wrap(part.flip(axes), like=inpt) if axes else inpt


def flip_boxes(boxes: Tensor, height: int, width: int, horizontal: bool, vertical: bool) -> Tensor:
    """Boxes float32 [n, 4] xyxy, mirrored in a canvas of that size; a new tensor."""
    flipped = boxes.clone()
    if horizontal:
        flipped[:, 0::2] = width - boxes[:, [2, 0]]
    if vertical:
        flipped[:, 1::2] = height - boxes[:, [3, 1]]
    return flipped


class Rectangle(NamedTuple):
    """A part of a canvas, in whole pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """As xyxy."""
        return self.left, self.top, self.left + self.width, self.top + self.height


class View(NamedTuple):
    """A part of one canvas shown in a part of another; scaled on each axis, not mirrored.

    Attributes:
        source: what is shown.
        target: where.
    """

    source: Rectangle
    target: Rectangle

    def paint(self, canvas: Tensor, onto: Tensor) -> None:
        """Write the pixels, resized by a bilinear filter with antialiasing.

        Args:
            canvas: uint8 [3, H, W], read.
            onto: uint8 [3, H', W'], written.
        """
        left, top, right, bottom = self.source.corners
        x1, y1, x2, y2 = self.target.corners
        size = [self.target.height, self.target.width]
        onto[:, y1:y2, x1:x2] = v2.functional.resize(canvas[:, top:bottom, left:right], size, antialias=True)

    def move(self, boxes: Tensor) -> Tensor:
        """Boxes where the view shows them, cut at its edges.

        Args:
            boxes: float32 [n, 4], xyxy, pixels of the first canvas.

        Returns:
            float32 [n, 4], xyxy, pixels of the second; zeros for a box with a side shorter than
            ``SMALLEST_SIDE`` or less than ``LEAST_VISIBLE`` of its area left.
        """
        scale = (self.target.width / self.source.width, self.target.height / self.source.height)
        moved = (boxes - _twice(self.source[:2])) * _twice(scale) + _twice(self.target[:2])
        left, top, right, bottom = self.target.corners
        cut = torch.minimum(torch.maximum(moved, _twice((left, top))), _twice((right, bottom)))
        whole, visible = moved[:, 2:] - moved[:, :2], cut[:, 2:] - cut[:, :2]
        stays = (visible >= SMALLEST_SIDE).all(dim=1) & (visible.prod(dim=1) >= LEAST_VISIBLE * whole.prod(dim=1))
        return torch.where(stays[:, None], cut, 0.0)


def _twice(pair: tuple[float, float]) -> Tensor:
    return torch.tensor([*pair, *pair], dtype=torch.float32)


def part_of(width: int, height: int, share_x: float, share_y: float) -> Rectangle:
    """A rectangle with these shares of a canvas's sides, anywhere in it.

    Args:
        width: of the canvas, in pixels.
        height: of the canvas, in pixels.
        share_x: of the width, 0..1.
        share_y: of the height, 0..1.
    """
    inner_width = min(max(1, round(width * share_x)), width)
    inner_height = min(max(1, round(height * share_y)), height)
    x, y = torch.rand(2).tolist()
    left, top = round(x * (width - inner_width)), round(y * (height - inner_height))
    return Rectangle(left, top, inner_width, inner_height)


class _Reframe(Step):
    """Shows another part of the canvas on the canvas; pixels beyond the picture get the pad colour."""

    cuts = True

    def __init__(self, pad: tuple[float, float, float]) -> None:
        super().__init__()
        self._pad = pad

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the view; None if the canvas stays as it is."""
        canvas, boxes = flat_inputs  # torchvision leaves out plain tensors: no labels
        return {"view": self._draw(canvas.shape[1], canvas.shape[2], boxes.as_subclass(Tensor))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Show the canvas or its boxes in the view."""
        view: View | None = params["view"]
        if view is None:
            return inpt
        part = inpt.as_subclass(Tensor)
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            return tv_tensors.wrap(view.move(part), like=inpt)
        framed = torch.tensor(self._pad).to(torch.uint8).view(3, 1, 1).repeat(1, *part.shape[1:])
        view.paint(part, framed)
        return tv_tensors.wrap(framed, like=inpt)

    def _draw(self, height: int, width: int, boxes: Tensor) -> View | None:
        raise NotImplementedError


class ZoomOut(_Reframe):
    """The picture made smaller, anywhere on the canvas.

    Args:
        p: probability of the step.
        largest: the canvas spans 1 .. this many times the picture's sides, drawn evenly.
        pad: RGB, 0..255.
    """

    def __init__(self, p: float, largest: float, pad: tuple[float, float, float]) -> None:
        super().__init__(pad)
        self.p = p
        self.largest = largest

    def _draw(self, height: int, width: int, boxes: Tensor) -> View | None:
        chance, draw = torch.rand(2).tolist()
        return _scaled(height, width, 1.0 / (1.0 + draw * (self.largest - 1.0))) if chance < self.p else None


class ScaleJitter(_Reframe):
    """Large scale jitter (Ghiasi et al. 2021): the picture scaled, then cut or padded to the canvas, anywhere.

    Args:
        smallest: scale; its logarithm is drawn evenly, so that 1/2 is as likely as 2.
        largest: scale.
        pad: RGB, 0..255.
    """

    def __init__(self, smallest: float, largest: float, pad: tuple[float, float, float]) -> None:
        super().__init__(pad)
        self.smallest = smallest
        self.largest = largest

    def _draw(self, height: int, width: int, boxes: Tensor) -> View | None:
        draw = torch.rand(1).item()
        return _scaled(height, width, self.smallest * math.exp(draw * math.log(self.largest / self.smallest)))


def _scaled(height: int, width: int, scale: float) -> View:
    """A smaller picture lies anywhere on the canvas; of a larger one, any part is shown."""
    whole = Rectangle(0, 0, width, height)
    if scale < 1.0:
        return View(whole, part_of(width, height, scale, scale))
    return View(part_of(width, height, 1.0 / scale, 1.0 / scale), whole)


class IoUCrop(_Reframe):
    """A part of the canvas that overlaps enough with an object (SSD, Liu et al. 2016), stretched to the canvas.

    A picture without objects, or without such a part in 40 tries, stays as it is.

    Args:
        smallest: least share of each side that the part has. The two shares differ by a factor of 2 at most;
            the sides themselves may differ by more, on a canvas that is far from square.
        overlaps: least IoU of the part and the box of an object whose centre it shows, one of these; 1 changes nothing.
        pad: RGB, 0..255; never visible, as a part needs no padding.
    """

    def __init__(self, smallest: float, overlaps: tuple[float, ...], pad: tuple[float, float, float]) -> None:
        super().__init__(pad)
        self.smallest = smallest
        self.overlaps = overlaps

    def _draw(self, height: int, width: int, boxes: Tensor) -> View | None:
        least = self.overlaps[int(torch.randint(len(self.overlaps), ()))]
        if least >= 1.0 or not len(boxes):
            return None
        windows = self._windows(height, width)
        corners = torch.cat([windows[:, :2], windows[:, :2] + windows[:, 2:]], dim=1)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = ((centres > corners[:, None, :2]) & (centres < corners[:, None, 2:])).all(dim=2)
        fits = ((box_iou(corners, boxes) >= least) & inside).any(dim=1).nonzero()
        whole = Rectangle(0, 0, width, height)
        return View(Rectangle(*windows[fits[0, 0]].int().tolist()), whole) if len(fits) else None

    def _windows(self, height: int, width: int) -> Tensor:
        """Whole numbers as float32 [m, 4], left, top, width, height."""
        canvas = torch.tensor([width, height], dtype=torch.float32)
        sides = (canvas * (self.smallest + (1.0 - self.smallest) * torch.rand(_TRIES, 2))).floor()
        corners = ((canvas - sides) * torch.rand(_TRIES, 2)).round()
        shares = sides / canvas
        wide = shares[:, 0] / shares[:, 1]
        return torch.cat([corners, sides], dim=1)[(wide >= 0.5) & (wide <= 2.0)]


class Mosaic(Step):
    """Four pictures around a centre (Bochkovskiy et al. 2020): this one top left, then three others.

    Each is scaled until it fills its quarter, keeping its proportions; the rest is cut off on
    both sides of a random window, so no padding is added.

    The sample also holds ``another``: a function from a seed to a ``Picture`` on a canvas of the same size.

    Args:
        p: probability of the step.
        centre: least and largest share of each side at which the centre lies, drawn evenly.
    """

    cuts = True
    mixes = True

    def __init__(self, p: float, centre: tuple[float, float]) -> None:
        super().__init__()
        self.p = p
        self.centre = centre

    def forward(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The sample with four pictures in one; unlike the other steps it needs the whole sample at once."""
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
        The picture; boxes that left it are four zeros, see ``View.move``.
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
