"""What every reader returns: pictures with their objects, in COCO's terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boxwright.data.documents import name_fault
from boxwright.runtime import DataError

__all__ = ["Source", "SourceObject", "SourcePicture", "outlined", "plain_categories"]


@dataclass(frozen=True)
class SourceObject:
    """One annotated object.

    Attributes:
        category: category id.
        bbox: x, y, width, height in pixels of the upright picture; int where the source has int.
        segmentation: polygons in pixels or RLE, as COCO writes it; empty without a mask.
        iscrowd: 0 or 1.
        area: square pixels; None if the source gives no area: then it is the box's.
        extra: other keys of the annotation.
    """

    category: int
    bbox: tuple[float, float, float, float]
    segmentation: Any = field(default_factory=list)
    iscrowd: int = 0
    area: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SourcePicture:
    """One picture.

    Attributes:
        path: of the file.
        name: path relative to the source's picture folder, with ``/``.
        width: pixels, upright.
        height: pixels, upright.
        objects: in the order of the source; may be empty.
        split: ``train``, ``valid`` or ``test``.
        id: the source's own id; None if it has no ids.
        extra: other keys of the image entry.
    """

    path: Path
    name: str
    width: int
    height: int
    objects: tuple[SourceObject, ...]
    split: str
    id: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A whole data set as read.

    Attributes:
        pictures: in a fixed order.
        categories: COCO entries (``id``, ``name``, ``supercategory`` and any other keys), in order.
        documents: by split, the other top-level keys of its document (``info``, ``licenses``).
        notes: sentences for the user.
    """

    pictures: tuple[SourcePicture, ...]
    categories: tuple[Mapping[str, Any], ...]
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def outlined(
    category: int,
    polygons: Sequence[Sequence[float]],
    box: tuple[float, float, float, float] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> SourceObject:
    """An object known by its outline.

    Args:
        category: category id.
        polygons: each x1, y1, x2, y2, ... in pixels, at least three points.
        box: x, y, width, height in pixels where the source has one; else the bounds of the polygons.
        extra: other keys of the annotation.
    """
    xs = [x for one in polygons for x in one[::2]]
    ys = [y for one in polygons for y in one[1::2]]
    bounds = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    area = sum(_area(one) for one in polygons)
    return SourceObject(category, box or bounds, [list(one) for one in polygons], area=area, extra=extra or {})


def _area(polygon: Sequence[float]) -> float:
    """Square pixels inside, by the shoelace formula."""
    xs, ys = polygon[::2], polygon[1::2]
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2


def plain_categories(names: Sequence[str], where: object) -> tuple[Mapping[str, Any], ...]:
    """Categories numbered from 1 in the order given, without a parent.

    Args:
        names: of the classes.
        where: the file or folder that has them, for errors.

    Raises:
        DataError: a name that the data check would refuse.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{where}: the class name {repeated[0]!r} is used twice.", "Rename one.")
    for name in names:
        if fault := name_fault(name):
            raise DataError(f"{where}: the class name {name!r} {fault}.", "Rename the class.")
    return tuple({"id": number, "name": name, "supercategory": ""} for number, name in enumerate(names, start=1))
