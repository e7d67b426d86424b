"""Reads YOLO label files: one object a line, in shares of the upright picture's sides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from boxwright.runtime import DataError

from .files import read_text
from .source import SourceObject

__all__ = ["LabelFormat", "read_labels"]

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TOLERANCE = 0.01  # what Ultralytics lets pass as rounding
_BOX = 4
_SMALLEST_POLYGON = 6


@dataclass(frozen=True)
class LabelFormat:
    """How a data set's label lines are to be read.

    Attributes:
        classes: number of classes.
        keypoints: numbers of keypoints behind the box of each line; 0 in a set without them.
    """

    classes: int
    keypoints: int = 0


def read_labels(path: Path, form: LabelFormat, width: int, height: int) -> tuple[SourceObject, ...]:
    """Objects of one picture; the category id is the class index plus 1.

    ``class cx cy w h`` is a box, ``class x y x y x y ...`` a polygon with its bounding box.

    Args:
        path: of the label file.
        form: what its lines hold.
        width: pixels of the upright picture.
        height: pixels of the upright picture.

    Raises:
        DataError: a wrong count, something that is no number, an unknown class, a coordinate more
            than 0.01 outside 0..1, a negative side; file and line are named.
    """
    lines = enumerate(read_text(path).splitlines(), start=1)
    return tuple(
        _object(line.split(), form, width, height, f"{path}, line {number}") for number, line in lines if line.strip()
    )


def _object(fields: list[str], form: LabelFormat, width: int, height: int, where: str) -> SourceObject:
    category = _class(fields[0], form.classes, where) + 1
    numbers = [_number(field, where) for field in fields[1:]]
    if form.keypoints and len(numbers) == _BOX + form.keypoints:
        numbers = numbers[:_BOX]
    if len(numbers) == _BOX:
        return SourceObject(category, _box(numbers, width, height, where))
    if form.keypoints or len(numbers) < _SMALLEST_POLYGON or len(numbers) % 2:
        raise DataError(f"{where}: {len(numbers)} numbers after the class.", _expected(form))
    return _polygon(category, numbers, width, height, where)


def _expected(form: LabelFormat) -> str:
    if form.keypoints:
        return f"With kpt_shape a line has {_BOX} or {_BOX + form.keypoints}."
    return "Write 'class cx cy w h', or 'class' and at least three points 'x y'."


def _number(field: str, where: str) -> float:
    if not _NUMBER.fullmatch(field):
        raise DataError(f"{where}: {field!r} is not a number.", "Correct the line.")
    return float(field)


def _class(field: str, classes: int, where: str) -> int:
    number = _number(field, where)
    if not 0 <= number < classes or number != int(number):
        raise DataError(f"{where}: class {field} is not one of 0..{classes - 1}.", "Correct it, or add it to names.")
    return int(number)


def _require_shares(numbers: list[float], where: str) -> None:
    for number in numbers:
        if not -_TOLERANCE <= number <= 1 + _TOLERANCE:
            raise DataError(f"{where}: {number:g} is outside 0..1.", "Write shares of the picture's sides, not pixels.")


def _box(numbers: list[float], width: int, height: int, where: str) -> tuple[float, float, float, float]:
    _require_shares(numbers, where)
    x, y, w, h = numbers
    if w < 0 or h < 0:
        raise DataError(f"{where}: the box is {w:g} x {h:g}.", "Write sides of at least 0.")
    return (x - w / 2) * width, (y - h / 2) * height, w * width, h * height


def _polygon(category: int, numbers: list[float], width: int, height: int, where: str) -> SourceObject:
    _require_shares(numbers, where)
    xs, ys = [x * width for x in numbers[::2]], [y * height for y in numbers[1::2]]
    flat = [side for point in zip(xs, ys, strict=True) for side in point]
    box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    return SourceObject(category, box, [flat], area=_area(xs, ys))


def _area(xs: list[float], ys: list[float]) -> float:
    """Of a polygon, by the shoelace formula."""
    corners = range(len(xs))
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in corners)) / 2
