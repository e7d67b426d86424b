"""The one way from a picture to a model's canvas, and its inverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np
from PIL import Image

from .detections import Detections
from .picture import MAX_PIXELS, PictureSource, decode
from .spec import InputSpec

__all__ = ["PIXELS", "Placement", "Window", "lay", "placement", "postprocess", "preprocess"]

PIXELS = 1
"""Raised whenever ``preprocess`` gives other pixels than before, so that stored canvases are made again."""


@dataclass(frozen=True)
class Window:
    """A part of a picture, in pixels of the upright original."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Placement:
    """Where a picture, or a window of it, lies on the canvas: ``canvas = (picture - origin) * scale`` on each axis.

    Attributes:
        width: of the upright original picture or of the window, in pixels.
        height: of the same, in pixels.
        scale_x: canvas pixels per picture pixel, horizontally.
        scale_y: canvas pixels per picture pixel, vertically.
        left: where the window begins in the picture, in pixels.
        top: where the window begins in the picture, in pixels.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    left: int = 0
    top: int = 0

    def to_canvas(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes float [n, 4] xyxy in picture pixels to float32 [n, 4] xyxy in canvas pixels."""
        placed: np.ndarray = (np.asarray(boxes, dtype=np.float64) - self._origin()) * self._scales()
        return placed.astype(np.float32)

    def to_picture(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes float [n, 4] xyxy in canvas pixels to float32 [n, 4] xyxy in picture pixels, clipped to the window."""
        restored = np.asarray(boxes, dtype=np.float64) / self._scales()
        edges = np.array([self.width, self.height, self.width, self.height], dtype=np.float64)
        clipped: np.ndarray = (np.clip(restored, 0.0, edges) + self._origin()).astype(np.float32)
        return clipped

    def edges(self) -> Tuple[float, float, float, float]:
        """What of the picture is on the canvas, xyxy, picture pixels."""
        return (self.left, self.top, self.left + self.width, self.top + self.height)

    def _origin(self) -> np.ndarray:
        return np.array([self.left, self.top, self.left, self.top], dtype=np.float64)

    def _scales(self) -> np.ndarray:
        return np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y], dtype=np.float64)


def preprocess(
    source: PictureSource, spec: InputSpec, max_pixels: int = MAX_PIXELS, out: Optional[np.ndarray] = None
) -> Tuple[np.ndarray, Placement]:
    """Decode a picture and lay it on the canvas.

    ``letterbox`` keeps the proportions and pads to the right and below; ``stretch`` does not. The
    resize is Pillow's bilinear filter, which averages over all source pixels when it shrinks
    (antialiasing). Scaling to floats and normalising belong to the network, not here.

    Args:
        source: see ``decode``.
        spec: the canvas.
        max_pixels: see ``decode``.
        out: uint8 [3, height, width] to write into; a new array by default.

    Returns:
        canvas: uint8 [3, height, width], RGB; ``out`` if given.
        placement: the inverse.

    Raises:
        PictureError: see ``decode``.
    """
    image = decode(source, max_pixels)
    canvas = np.empty((3, spec.height, spec.width), dtype=np.uint8) if out is None else out
    return canvas, lay(image, spec, canvas)


def lay(image: Image.Image, spec: InputSpec, canvas: np.ndarray, window: Optional[Window] = None) -> Placement:
    """Lay a decoded picture, or a window of it, on a canvas; see ``preprocess``.

    Args:
        image: upright, mode ``RGB``.
        spec: the canvas.
        canvas: uint8 [3, height, width], written to.
        window: None for the whole picture.
    """
    part = image if window is None else image.crop(_corners(window))
    size = _size_on_canvas(part.width, part.height, spec)
    if part.size != size:
        part = part.resize(size, Image.Resampling.BILINEAR)
    _lay(part, canvas, spec.pad)
    return placement(image.width, image.height, spec, window)


def placement(width: int, height: int, spec: InputSpec, window: Optional[Window] = None) -> Placement:
    """Where ``lay`` puts an upright picture of ``width`` x ``height`` pixels, or a window of it."""
    left, top = (0, 0) if window is None else (window.left, window.top)
    wide, high = (width, height) if window is None else (window.width, window.height)
    across, down = _size_on_canvas(wide, high, spec)
    return Placement(wide, high, across / wide, down / high, left, top)


def _corners(window: Window) -> Tuple[int, int, int, int]:
    return (window.left, window.top, window.left + window.width, window.top + window.height)


def _lay(image: Image.Image, canvas: np.ndarray, pad: Tuple[int, int, int]) -> None:
    """The picture at the top left of the canvas, padding elsewhere; band by band, each byte is written once."""
    width, height = image.size
    for plane, band, value in zip(canvas, "RGB", pad):
        plane[:height, :width] = np.frombuffer(image.tobytes("raw", band), np.uint8).reshape(height, width)
        plane[height:] = value
        plane[:height, width:] = value


def _size_on_canvas(width: int, height: int, spec: InputSpec) -> Tuple[int, int]:
    if spec.resize == "stretch":
        return spec.width, spec.height
    scale = min(spec.width / width, spec.height / height)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    return min(fitted[0], spec.width), min(fitted[1], spec.height)


def postprocess(detections: Detections, placement: Placement) -> Detections:
    """Detections on the canvas to detections in the original picture; those wholly in the padding are removed.

    Args:
        detections: boxes in canvas pixels.
        placement: what ``preprocess`` returned for the picture.

    Returns:
        Detections with boxes in pixels of the upright original picture, clipped to it.
    """
    boxes = placement.to_picture(detections.boxes)
    has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Detections(boxes, detections.scores, detections.labels).select(has_area)
