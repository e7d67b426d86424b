"""Reads one Pascal VOC annotation file."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from boxwright.runtime import DataError

from .files import read_bytes
from .safe_xml import parse_xml

__all__ = ["VocFile", "VocObject", "read_voc_file"]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_KEPT = ("pose", "truncated", "occluded", "difficult")
_KNOWN = {"name", "bndbox", *_KEPT}
_WHOLE = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_FRACTION = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d{1,2})?", re.ASCII)


@dataclass(frozen=True)
class VocObject:
    """One object as it stands in the file.

    Attributes:
        name: of its class.
        corners: xmin, ymin, xmax, ymax as written, pixels; int where no decimal point was written.
        extra: pose, truncated, occluded, difficult, those that are there.
        ignored: tags of the object that are not read.
    """

    name: str
    corners: tuple[float, float, float, float]
    extra: dict[str, Any]
    ignored: frozenset[str]


@dataclass(frozen=True)
class VocFile:
    """One annotation file.

    Attributes:
        path: of the file.
        filename: of the picture, as written; None if there is none.
        size: width and height as written, pixels; None if not there or 0.
        objects: in their order.
    """

    path: Path
    filename: str | None
    size: tuple[float, float] | None
    objects: tuple[VocObject, ...]


def read_voc_file(path: Path) -> VocFile:
    """Read one annotation file.

    Raises:
        DataError: malformed; file and object are named.
    """
    root = parse_xml(read_bytes(path), str(path))
    if root.tag != "annotation":
        raise DataError(f"{path}: holds <{root.tag}>, not <annotation>.", "Export the data set as Pascal VOC.")
    objects = [_object(one, f"{path}, object {number}") for number, one in enumerate(root.findall("object"), start=1)]
    return VocFile(path, _text(root, "filename"), _size(root, str(path)), tuple(objects))


def _text(element: Element, tag: str) -> str | None:
    """Text of a child; None if it is missing or blank."""
    return (element.findtext(tag) or "").strip() or None


def _size(root: Element, where: str) -> tuple[float, float] | None:
    size = root.find("size")
    if size is None:
        return None
    width, height = (_number(_text(size, side), f"{where}: size: {side}") for side in ("width", "height"))
    return (width, height) if width and height else None


def _object(element: Element, where: str) -> VocObject:
    name = _text(element, "name")
    if name is None:
        raise DataError(f"{where}: has no name.", "Write the name of its class.")
    where = f"{where} ({name})"
    box = element.find("bndbox")
    if box is None:
        raise DataError(f"{where}: has no bndbox.", "Write xmin, ymin, xmax and ymax.")
    left, top, right, bottom = (_number(_text(box, side), f"{where}: {side}") for side in _CORNERS)
    if right < left or bottom < top:
        raise DataError(f"{where}: the box {[left, top, right, bottom]} ends before it starts.", "Swap its corners.")
    extra = {tag: _value(text) for tag in _KEPT if (text := _text(element, tag)) is not None}
    ignored = frozenset(str(child.tag) for child in element) - _KNOWN
    return VocObject(name, (left, top, right, bottom), extra, ignored)


def _number(text: str | None, where: str) -> float:
    if text is not None and _WHOLE.fullmatch(text):
        return int(text)
    if text is None or not _FRACTION.fullmatch(text) or not math.isfinite(float(text)):
        raise DataError(f"{where} = {text!r} is not a number.", "Correct the file.")
    return float(text)


def _value(text: str) -> int | str:
    return int(text) if _WHOLE.fullmatch(text) else text
