"""What every reader yields: pictures with their objects, in COCO's own terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Source", "SourceObject", "SourcePicture", "plain_categories", "split_of"]

_SPLIT_OF = {"train": "train", "val": "valid", "valid": "valid", "validation": "valid", "test": "test"}


@dataclass(frozen=True)
class SourceObject:
    """One annotated object.

    Attributes:
        category: category id.
        bbox: x, y, width, height in pixels of the upright picture; int where the source has int.
        segmentation: polygons in pixels or RLE, as COCO writes it; empty if there is none.
        iscrowd: 0 or 1.
        area: square pixels; None if the source has none, then it is the box's.
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
        name: path relative to the folder that the source keeps its pictures in, with ``/``.
        width: pixels, upright.
        height: pixels, upright.
        objects: in the order of the source; none is a picture without objects.
        split: ``train``, ``valid`` or ``test``.
        id: the source's own id; None if it has none.
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
        categories: COCO entries (``id``, ``name``, ``supercategory`` and what else there was), in order.
        documents: by split, what else stood at the top of its document (``info``, ``licenses``).
        notes: sentences a person should read.
    """

    pictures: tuple[SourcePicture, ...]
    categories: tuple[Mapping[str, Any], ...]
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def plain_categories(names: list[str]) -> tuple[Mapping[str, Any], ...]:
    """Categories numbered from 1 in the order given, without a parent."""
    return tuple({"id": number, "name": name, "supercategory": ""} for number, name in enumerate(names, start=1))


def split_of(name: str) -> str | None:
    """Our name of a split that others call ``val`` or ``Train``; None if it is none of them."""
    return _SPLIT_OF.get(name.casefold())
