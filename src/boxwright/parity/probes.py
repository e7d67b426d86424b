"""One picture in many files that all mean the same pixels, for an endpoint to answer alike."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

__all__ = ["Probe", "grey_pair", "plain_pixels", "probes_of"]

_ORIENTATION = 0x0112
_WEBP_SIDE = 16383  # of the format
# How an upright picture is stored under each orientation of EXIF 2.32: the inverse of what a viewer does.
_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class Probe:
    """An encoding of a picture: what it is called, and the file."""

    name: str
    encoded: bytes


def plain_pixels(path: Path) -> Image.Image | None:
    """The picture upright and in RGB, by Pillow alone; None where that is not all there is to say.

    The runtime's own decoder stays out of this, so that its faults are not in both sides of the comparison.
    """
    with Image.open(path) as image:
        if image.mode not in ("RGB", "L") or "transparency" in image.info:
            return None
        return ImageOps.exif_transpose(image).convert("RGB")


def probes_of(upright: Image.Image) -> list[Probe]:
    """Files without loss, each of which shows ``upright``, an RGB picture."""
    opaque = upright.copy()
    opaque.putalpha(255)
    return [
        Probe("as PNG", _encoded(upright, "PNG")),
        *(
            Probe(f"as PNG with EXIF orientation {turn}", _encoded(upright.transpose(how), "PNG", exif=_exif(turn)))
            for turn, how in _STORED.items()
        ),
        Probe("as opaque RGBA", _encoded(opaque, "PNG")),
        Probe("as BMP", _encoded(upright, "BMP")),
        *([Probe("as lossless WebP", _encoded(upright, "WEBP", lossless=True))] if _fits_webp(upright) else []),
    ]


def _fits_webp(image: Image.Image) -> bool:
    return max(image.size) <= _WEBP_SIDE


def grey_pair(upright: Image.Image) -> tuple[Probe, Probe]:
    """The picture in grey with 8 bits, and with 16: files of the same brightness everywhere."""
    grey = upright.convert("L")
    deep = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    return Probe("in grey of 8 bits", _encoded(grey, "PNG")), Probe("in grey of 16 bits", _encoded(deep, "PNG"))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return exif


def _encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()
