"""What every reader returns: pictures with their objects, in COCO's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Source", "SourceObject", "SourcePicture", "plain_categories"]


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


def plain_categories(names: list[str]) -> tuple[Mapping[str, Any], ...]:
    """Categories numbered from 1 in the order given, without a parent."""
    return tuple({"id": number, "name": name, "supercategory": ""} for number, name in enumerate(names, start=1))
