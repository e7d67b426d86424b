"""The one way from a picture to a model's canvas, and its inverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np
from PIL import Image

from .detections import Detections
from .picture import MAX_PIXELS, PictureSource, decode
from .spec import InputSpec

__all__ = ["PIXELS", "Placement", "placement", "postprocess", "preprocess"]

PIXELS = 1
"""Raised whenever ``preprocess`` gives other pixels than before, so that stored canvases are made again."""


@dataclass(frozen=True)
class Placement:
    """Where a picture lies on the canvas: ``canvas = picture * scale`` on each axis, from the top left.

    Attributes:
        width: of the upright original picture, in pixels.
        height: of the same picture, in pixels.
        scale_x: canvas pixels per picture pixel, horizontally.
        scale_y: canvas pixels per picture pixel, vertically.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float

    def to_canvas(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes float [n, 4] xyxy in picture pixels to float32 [n, 4] xyxy in canvas pixels."""
        placed: np.ndarray = np.asarray(boxes, dtype=np.float64) * self._scales()
        return placed.astype(np.float32)

    def to_picture(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes float [n, 4] xyxy in canvas pixels to float32 [n, 4] xyxy in picture pixels, clipped."""
        restored = np.asarray(boxes, dtype=np.float64) / self._scales()
        edges = np.array([self.width, self.height, self.width, self.height], dtype=np.float64)
        clipped: np.ndarray = np.clip(restored, 0.0, edges).astype(np.float32)
        return clipped

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
    place = placement(image.width, image.height, spec)
    size = _size_on_canvas(image.width, image.height, spec)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    canvas = np.empty((3, spec.height, spec.width), dtype=np.uint8) if out is None else out
    _lay(image, canvas, spec.pad)
    return canvas, place


def placement(width: int, height: int, spec: InputSpec) -> Placement:
    """Where ``preprocess`` lays an upright picture of ``width`` x ``height`` pixels."""
    across, down = _size_on_canvas(width, height, spec)
    return Placement(width, height, across / width, down / height)


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
