"""Pictures inside pages: thumbnails with boxes drawn, heat maps, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["Marked", "data_uri", "heat_map", "shrunk", "thumbnail"]

_QUIET, _LOUD = "#56B4E9", "#D55E00"  # Okabe and Ito (2008): told apart with any colour vision
_COLD = np.array([247, 251, 255], dtype=np.float64)
_HOT = np.array([8, 48, 107], dtype=np.float64)


@dataclass(frozen=True)
class Marked:
    """A box to draw.

    Attributes:
        box: xyxy, pixels of the upright picture.
        culprit: whether the finding is about this box.
    """

    box: tuple[float, float, float, float]
    culprit: bool


def data_uri(image: Image.Image, form: str = "JPEG") -> str:
    """The encoded picture as text for ``src``."""
    buffer = io.BytesIO()
    image.save(buffer, format=form, quality=80)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def shrunk(image: Image.Image, side: int) -> Image.Image:
    """A copy whose longer side has at most ``side`` pixels, in the same proportions."""
    scale = min(1.0, side / max(image.size))
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def thumbnail(image: Image.Image, boxes: Sequence[Marked], side: int = 360) -> Image.Image:
    """A copy as of ``shrunk`` with boxes drawn, the culprits last and with thicker lines."""
    scale = min(1.0, side / max(image.size))
    small = shrunk(image, side)
    pen = ImageDraw.Draw(small)
    for one in sorted(boxes, key=lambda marked: marked.culprit):
        left, top, right, bottom = (edge * scale for edge in one.box)
        reach = 5 if one.culprit else 0  # so that a box without a size can be seen
        corners = (left - reach, top - reach, max(left, right) + reach, max(top, bottom) + reach)
        edges = (small.width - 1, small.height - 1) * 2
        inside = [min(max(corner, 0), edge) for corner, edge in zip(corners, edges, strict=True)]
        pen.rectangle(inside, outline=_LOUD if one.culprit else _QUIET, width=3 if one.culprit else 1)
    return small


def heat_map(boxes: NDArray[np.float64], cells: int = 48) -> Image.Image:
    """Where boxes lie: each spreads one vote over the cells it covers.

    Args:
        boxes: float [n, 4], xyxy, in shares of the picture's sides, 0..1.
        cells: along each side.
    """
    votes = np.zeros((cells + 1, cells + 1))
    edges = np.clip(np.stack([np.floor(boxes[:, :2] * cells), np.ceil(boxes[:, 2:] * cells)], axis=1), 0, cells)
    for (left, top), (right, bottom) in edges.astype(int):
        for x, y, sign in ((left, top, 1), (right, top, -1), (left, bottom, -1), (right, bottom, 1)):
            votes[y, x] += sign  # the corners of a rectangle, for a cumulative sum along both axes
    covered = votes.cumsum(axis=0).cumsum(axis=1)[:cells, :cells]
    share = (covered / max(covered.max(), 1.0))[..., None]
    return Image.fromarray((_COLD + share * (_HOT - _COLD)).astype(np.uint8)).resize((144, 144), Image.Resampling.BOX)
