"""A split of large pictures as a split of their windows, which training sees one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import InputSpec
from boxwright.runtime.preprocess import Window
from boxwright.runtime.tiling import windows

from .records import PictureRecord, Split

__all__ = ["SEEN", "tiled"]

SEEN = 0.5
"""A window shows a box if it shows so much of its area. One that it shows less of is not learned there: a neighbour
shows it whole, or the whole picture does."""


def tiled(split: Split, spec: InputSpec) -> tuple[Split, tuple[int, ...]]:
    """One record per window, and the number of the picture in ``split`` that each is of.

    Boxes stay in pixels of the whole picture, clipped to the window.
    """
    parts = [(number, part) for number, one in enumerate(split.pictures) for part in _parts(one, spec)]
    return Split(split.name, tuple(part for _, part in parts)), tuple(number for number, _ in parts)


def _parts(record: PictureRecord, spec: InputSpec) -> Sequence[PictureRecord]:
    return [_part(record, window) for window in windows(record.width, record.height, spec)]


def _part(record: PictureRecord, window: Window | None) -> PictureRecord:
    if window is None:
        return record
    low = np.array([window.left, window.top])
    edges = np.tile(np.concatenate([low, low + np.array([window.width, window.height])]), (len(record.boxes), 1))
    inner = np.hstack([np.maximum(record.boxes[:, :2], edges[:, :2]), np.minimum(record.boxes[:, 2:], edges[:, 2:])])
    seen = _areas(inner) / np.maximum(_areas(record.boxes), 1e-9)
    kept = seen >= SEEN
    return replace(
        record,
        boxes=inner[kept],
        labels=record.labels[kept],
        crowd=record.crowd[kept],
        area=record.area[kept] * seen[kept],
        window=window,
    )


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return sides[:, 0] * sides[:, 1]
