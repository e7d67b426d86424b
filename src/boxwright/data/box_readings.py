"""What the four numbers of a box may mean, and which meaning fits a whole annotation file.

COCO says x, y, width, height in pixels. Tools write other things under the same key, and one box alone does not tell:
the areas, the outlines and the pictures' sizes of all of them do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .documents import ROUNDING, Box, fits, is_number

__all__ = [
    "READINGS",
    "BoxEvidence",
    "disagreeing",
    "fitting_reading",
    "fitting_readings",
    "outline_bounds",
    "some_of",
    "turn_of",
]

Size = tuple[int, int]
_T = TypeVar("_T")

_SHARE = 0.02  # of the outline's longer side, likewise
_AREA = 0.01  # of an area, likewise
_NEARLY_ALL = 0.95
_FEW = 0.2
_LEAST_ANGLE = 0.5  # degrees
_MIXED = 0.03  # share of boxes from which a second meaning is no accident
_ENOUGH = 4000  # boxes of a file that are judged
_LEAST = 4  # boxes, before a file is judged without areas and outlines
_HUNDRED = 100  # of the sides, in percent
_LARGE = 200  # pixels of a side, from which boxes that all end at 100 are odd


def _from_corners(box: Box) -> Box:
    left, top, right, bottom = box
    return left, top, right - left, bottom - top


def _from_centre(box: Box) -> Box:
    x, y, width, height = box
    return x - width / 2, y - height / 2, width, height


def _swapped(box: Box) -> Box:
    return box[1], box[0], box[3], box[2]


_ORDERS: dict[str, tuple[str, Callable[[Box], Box]]] = {
    "xywh": ("left, top, width, height", lambda box: box),
    "xyxy": ("left, top, right, bottom", _from_corners),
    "cxcywh": ("centre x, centre y, width, height", _from_centre),
    "yxhw": ("top, left, height, width", _swapped),
    "yxyx": ("top, left, bottom, right", lambda box: _from_corners(_swapped(box))),
    "xxyy": ("left, right, top, bottom", lambda box: _from_corners((box[0], box[2], box[1], box[3]))),
}


@dataclass(frozen=True)
class Reading:
    """One meaning of four numbers.

    Attributes:
        words: for sentences.
        order: gives x, y, width, height, in the unit of the numbers.
        relative: whether they are shares of the picture's sides.
    """

    words: str
    order: Callable[[Box], Box]
    relative: bool

    def box(self, numbers: Box, size: Size) -> Box:
        """x, y, width, height in pixels on a picture of this (width, height)."""
        x, y, width, height = self.order(numbers)
        across, down = size if self.relative else (1, 1)
        return x * across, y * down, width * across, height * down


READINGS: dict[str, Reading] = {
    **{name: Reading(words, order, False) for name, (words, order) in _ORDERS.items()},
    **{
        f"{name}n": Reading(f"{words}, as shares of the sides", order, True) for name, (words, order) in _ORDERS.items()
    },
}
"""By the name that ``convert --boxes`` takes; ``n`` is for normalised."""


@dataclass(frozen=True, slots=True)
class BoxEvidence:
    """One box, and what else is known of its object.

    Attributes:
        numbers: the four, as written.
        size: (width, height) of the picture in pixels.
        area: as written, square pixels; None if it is not given.
        outline: bounds of its polygons as x, y, width, height in pixels; None without any.
    """

    numbers: Box
    size: Size
    area: float | None = None
    outline: Box | None = None


def some_of(rows: Sequence[_T]) -> Sequence[_T]:
    """At most a few thousand of many, spread evenly: enough to tell what all of them mean, and soon read."""
    return rows[:: 1 + len(rows) // _ENOUGH]


def fitting_reading(evidence: Sequence[BoxEvidence]) -> str:
    """The first of ``fitting_readings``."""
    return fitting_readings(evidence)[0]


def fitting_readings(evidence: Sequence[BoxEvidence]) -> tuple[str, ...]:
    """The readings that fit a whole file equally well; ``xywh``, unless others explain the file and it does not.

    Args:
        evidence: of the boxes of one file that belong to a picture of known size; of very many, ``some_of`` them.

    Returns:
        Keys of ``READINGS``; one at least.
    """
    rows = [one for one in evidence if any(one.numbers)]
    if not rows:
        return ("xywh",)
    relative = all(max(one.numbers) <= 1.0 + _AREA for one in rows) and any(
        number % 1 for one in rows for number in one.numbers
    )
    telling = [one for one in rows if one.outline is not None or one.area is not None]
    usual = _Fit.of("xywh", rows, telling)
    if not relative and usual.inside > 1 - _FEW and (usual.agreeing > _FEW or not telling):
        return ("xywh",)  # it explains too much for any other to be taken; large files are not judged five times
    names = [name for name, reading in READINGS.items() if reading.relative == relative]
    fits = [_Fit.of(name, rows, telling) for name in names]
    best = max(fits, key=lambda one: (one.agreeing, one.inside))  # of equals, the first in READINGS
    equal = tuple(one.name for one in fits if (one.agreeing, one.inside) == (best.agreeing, best.inside))
    if relative:
        return equal if best.inside >= _NEARLY_ALL else ("xywh",)
    if best.inside < _NEARLY_ALL or best.name == "xywh":
        return ("xywh",)
    if telling and best.agreeing >= _NEARLY_ALL and usual.agreeing <= _FEW:
        return equal
    off = len(rows) >= _LEAST and usual.inside <= 1 - _FEW
    return equal if off and best.inside == 1.0 and best.agreeing >= usual.agreeing else ("xywh",)


def disagreeing(evidence: Sequence[BoxEvidence]) -> tuple[Sequence[int], str]:
    """Boxes that are not those of their objects, in a file whose reading is ``xywh``.

    Returns:
        Their positions, and what is wrong with them, in words; no positions if nothing is.
    """
    shares = [position for position, one in enumerate(evidence) if 0 < max(one.numbers) <= 1.0 + _AREA]
    off = [position for position, one in enumerate(evidence) if _is_off(one)]
    mixed = _read_otherwise(evidence)
    elsewhere = [position for position, one in enumerate(evidence) if one.outline and not _agrees(one.numbers, one)]
    percent = _as_percent(evidence)
    outlined = sum(one.outline is not None for one in evidence)
    many = len(evidence) >= 2 * _LEAST
    kinds = (
        (shares, many and len(shares) > len(evidence) / 2, "have no number above 1, as shares of the sides would"),
        (elsewhere, outlined >= _LEAST and 2 * len(elsewhere) > outlined, "are not those of their outlines"),
        (mixed, len(mixed) >= max(_LEAST - 1, _MIXED * len(evidence)), "fit as corners or shares, the others do not"),
        (percent, bool(percent), "lie in the first 100 pixels and all over them, as percent of the sides would"),
        (off, many and len(off) >= _FEW * len(evidence), "lie wholly outside their pictures"),
    )
    return next(((positions, words) for positions, holds, words in kinds if holds), ((), ""))


def _as_percent(evidence: Sequence[BoxEvidence]) -> list[int]:
    """Positions of the boxes on large pictures, if all of them fill the square of 100 pixels in the corner."""
    large = [position for position, one in enumerate(evidence) if min(one.size) >= _LARGE]
    boxes = [evidence[position].numbers for position in large]
    if len(boxes) < max(2 * _LEAST, len(evidence) / 2) or not all(fits(box, (_HUNDRED, _HUNDRED)) for box in boxes):
        return []
    starts = [min(box[side] for box in boxes) for side in (0, 1)]
    ends = [max(box[side] + box[side + 2] for box in boxes) for side in (0, 1)]
    return large if max(starts) < _HUNDRED / 4 and min(ends) > _HUNDRED * 3 / 4 else []


def _read_otherwise(evidence: Sequence[BoxEvidence]) -> list[int]:
    """Positions of boxes whose outline or area another reading gives, and this one does not."""
    others = [READINGS[name] for name in ("xyxy", "yxhw", "xyxyn", "xywhn")]
    return [
        position
        for position, one in enumerate(evidence)
        if (one.outline is not None or one.area is not None)
        and not _agrees(one.numbers, one)
        and any(_agrees(box, one) and _is_inside(box, one.size) for box in _boxes(one, others))
    ]


def _boxes(one: BoxEvidence, readings: Sequence[Reading]) -> list[Box]:
    return [reading.box(one.numbers, one.size) for reading in readings]


def _is_off(one: BoxEvidence) -> bool:
    x, y, width, height = one.numbers
    return width > 0 < height and (x >= one.size[0] or y >= one.size[1] or x + width <= 0 or y + height <= 0)


@dataclass(frozen=True)
class _Fit:
    """How well a reading explains a file: shares of its boxes, 0..1."""

    name: str
    inside: float
    agreeing: float

    @classmethod
    def of(cls, name: str, rows: Sequence[BoxEvidence], telling: Sequence[BoxEvidence]) -> _Fit:
        reading = READINGS[name]
        inside = sum(_is_inside(reading.box(one.numbers, one.size), one.size) for one in rows)
        agreeing = sum(_agrees(reading.box(one.numbers, one.size), one) for one in telling)
        return cls(name, inside / len(rows), agreeing / len(telling) if telling else 0.0)


def _is_inside(box: Box, size: Size) -> bool:
    return fits(box, size) and box[2] > 0 < box[3]


def _agrees(box: Box, one: BoxEvidence) -> bool:
    """Whether a box is that of the outline; without an outline, whether it has the area."""
    if one.outline is not None:
        slack = max(ROUNDING, _SHARE * max(one.outline[2:]))
        return all(abs(side - own) <= slack for side, own in zip(box, one.outline, strict=True))
    assert one.area is not None, "only such boxes are asked"
    return min(box[2:]) > 0 and abs(box[2] * box[3] - one.area) <= _AREA * one.area + ROUNDING


def turn_of(annotation: Mapping[str, Any]) -> float:
    """Degrees by which an annotation's box is turned beside its bbox, as CVAT exports it; 0 for an upright one.

    A box that already encloses its outline is not turned, whatever CVAT kept beside it.
    """
    attributes, box = annotation.get("attributes"), annotation.get("bbox")
    angle = attributes.get("rotation") if isinstance(attributes, dict) else None
    if not is_number(angle) or min(angle % 180, -angle % 180) < _LEAST_ANGLE:
        return 0.0
    outline = outline_bounds(annotation.get("segmentation"))
    if outline is not None and isinstance(box, list) and len(box) == 4:
        upright = _agrees((box[0], box[1], box[2], box[3]), BoxEvidence(outline, (0, 0), outline=outline))
        return 0.0 if upright else float(angle)
    return float(angle)


def outline_bounds(segmentation: object) -> Box | None:
    """x, y, width, height around COCO polygons, [[x1, y1, …], …] or one flat list; None if it is anything else."""
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if all(isinstance(one, list) for one in segmentation) else [segmentation]
    if not all(_is_polygon(one) for one in polygons):
        return None
    return _bounds([x for one in polygons for x in one[::2]], [y for one in polygons for y in one[1::2]])


def _is_polygon(value: object) -> bool:
    numbers = isinstance(value, list) and all(is_number(one) for one in value)
    return numbers and isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0


def _bounds(xs: Iterable[float], ys: Iterable[float]) -> Box:
    xs, ys = list(xs), list(ys)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
