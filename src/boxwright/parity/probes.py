"""One picture in many files that all mean the same pixels; an endpoint must answer them alike."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

__all__ = ["Probe", "probes_of"]

_ORIENTATION = 0x0112
_WEBP_SIDE = 16383  # largest of the format
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
_QUICK: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 1},
    "WEBP": {"lossless": True, "method": 0, "quality": 0},
}


@dataclass(frozen=True)
class Probe:
    """An encoding of a picture.

    Attributes:
        name: what it is called.
        encode: makes the file.
        like: the probe whose answer is expected; the detections of the picture by default.
        protocol: ``predictions``, or ``v2`` for the Open Inference Protocol.
    """

    name: str
    encode: Callable[[], bytes]
    like: Probe | None = None
    protocol: str = "predictions"


def probes_of(path: Path) -> Iterator[Probe]:
    """Files without loss, each of which shows a picture.

    The runtime's own decoder is not used, so that its faults are not on both sides of the comparison. There is only the
    file itself where a palette, transparency or CMYK leaves open what its pixels are in RGB.
    """
    yield Probe(f"{path.name} in protocol v2", path.read_bytes, protocol="v2")
    with Image.open(path) as image:
        if image.mode not in ("RGB", "L") or "transparency" in image.info:
            return
        upright = ImageOps.exif_transpose(image).convert("RGB")
    yield _probe(path, "as PNG", upright)
    for turn, how in _STORED.items():
        yield _probe(path, f"as PNG with EXIF orientation {turn}", upright.transpose(how), exif=_exif(turn))
    opaque = upright.copy()
    opaque.putalpha(255)
    yield _probe(path, "as opaque RGBA", opaque)
    yield _probe(path, "as BMP", upright, "BMP")
    if max(upright.size) <= _WEBP_SIDE:
        yield _probe(path, "as lossless WebP", upright, "WEBP")
    grey = upright.convert("L")
    deep = Image.fromarray(np.asarray(grey, np.uint16) * 257)  # the same brightness everywhere
    shallow = _probe(path, "in grey of 8 bits", grey)
    yield Probe(f"{path.name} in grey of 16 bits", partial(_encoded, deep, "PNG"), like=shallow)


def _probe(path: Path, name: str, image: Image.Image, file_format: str = "PNG", **options: Any) -> Probe:
    return Probe(f"{path.name} {name}", partial(_encoded, image, file_format, **options))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return exif


def _encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The file, quickly written rather than small."""
    file = io.BytesIO()
    image.save(file, file_format, **_QUICK.get(file_format, {}), **options)
    return file.getvalue()
