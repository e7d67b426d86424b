"""The fixed set of validation pictures that trackers show as training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxwright.runtime import Detections

__all__ = ["LONGEST_SIDE", "Gallery", "TrackedPicture", "choose_pictures", "shown_after", "shrink"]

LONGEST_SIDE = 640
"""Pixels; a picture that is larger is made smaller before a tracker gets it."""


@dataclass(frozen=True, eq=False)
class TrackedPicture:
    """A picture, what there is to find in it and what was found.

    Attributes:
        index: of the picture in its split.
        name: of its file.
        image: upright, RGB, at most ``LONGEST_SIDE`` pixels a side.
        boxes: float64 [n, 4], xyxy, the annotated boxes in pixels of ``image``.
        labels: int64 [n], their class indices.
        found: in pixels of ``image``.
    """

    index: int
    name: str
    image: Image.Image
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    found: Detections


@dataclass(frozen=True, eq=False)
class Gallery:
    """The fixed pictures as the model of one epoch sees them.

    Attributes:
        pictures: in the split's order.
        class_names: by class index.
        threshold: score, 0..1, at which the epoch's model has its best F2.
        epoch: counted from 0.
        step: training step.
    """

    pictures: tuple[TrackedPicture, ...]
    class_names: tuple[str, ...]
    threshold: float
    epoch: int
    step: int


def choose_pictures(objects: Sequence[int], most: int) -> tuple[int, ...]:
    """Indices of pictures spread evenly over a split, those with objects before those without.

    Args:
        objects: number of objects of each picture of the split.
        most: how many to choose; all if there are fewer.
    """
    filled = [index for index, count in enumerate(objects) if count]
    empty = [index for index, count in enumerate(objects) if not count]
    chosen = _spread(filled, most)
    return tuple(sorted(chosen + _spread(empty, most - len(chosen))))


def _spread(indices: list[int], most: int) -> list[int]:
    count = min(most, len(indices))
    return [indices[(2 * place + 1) * len(indices) // (2 * count)] for place in range(count)]


def shown_after(epoch: int) -> bool:
    """Whether pictures are shown after an epoch, counted from 0: the 1st, 2nd, 4th, 8th and so on."""
    number = epoch + 1
    return number & (number - 1) == 0


def shrink(
    index: int,
    name: str,
    image: Image.Image,
    boxes: NDArray[np.float64],
    labels: NDArray[np.int64],
    found: Detections,
) -> TrackedPicture:
    """A picture with its boxes, made smaller together where it is larger than ``LONGEST_SIDE``.

    Args:
        index: of the picture in its split.
        name: of its file.
        image: upright, RGB, of any size.
        boxes: float64 [n, 4], xyxy, in its pixels.
        labels: int64 [n], class indices.
        found: in its pixels.
    """
    scale = min(1.0, LONGEST_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    scales = np.array([size[0] / image.width, size[1] / image.height] * 2)
    small = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    placed = Detections(found.boxes * scales, found.scores, found.labels)
    return TrackedPicture(index, name, small, boxes * scales, labels, placed)
