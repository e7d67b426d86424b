"""Checks of the annotations: whom they belong to, and where their boxes lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from boxwright.data.documents import AnnotationEntry, Box, Document, ImageEntry
from boxwright.data.findings import Finding

from .pictures import some
from .scan import PictureFacts

__all__ = ["box_problem", "check_annotations", "clip", "picture_sizes"]

_TOLERANCE = 1.0  # pixels over the edge that are taken for rounding
_SMALLEST_SIDE = 2.0  # pixels
_MOST_IDS = 20  # in one sentence
_PROBLEMS = {
    "box-empty": "has no area",
    "box-off-picture": "lies outside the picture, {width} x {height}",
    "box-larger": "is larger than the picture, {width} x {height}",
    "box-outside": "reaches over the edge of the picture, {width} x {height}",
    "box-tiny": "is {w:.4g} x {h:.4g} pixels",
}

Size = tuple[int, int]


def clip(box: Box, size: Size) -> tuple[float, float, float, float] | None:
    """A box (x, y, width, height) clipped to a picture (width, height), as xyxy; None without area left."""
    x, y, width, height = box
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + width, float(size[0])), min(y + height, float(size[1]))
    return (left, top, right, bottom) if right > left and bottom > top else None


def picture_sizes(document: Document, facts: Mapping[str, PictureFacts]) -> dict[int, Size]:
    """(width, height) by picture id: the JSON's, else the file's own (by name); those without either left out."""
    sizes: dict[int, Size] = {}
    for entry in document.images:
        seen = facts.get(entry.file_name)
        own = seen.size if seen is not None and seen.error is None else None
        size = entry.size or own
        if size is not None:
            sizes[entry.id] = size
    return sizes


def check_annotations(document: Document, sizes: Mapping[int, Size]) -> Iterator[Finding]:
    """Ids, owners, classes, boxes, copies; and counts of what is not trained on."""
    pictures = {entry.id: entry for entry in document.images}
    listed, categories = _ids_of(document.raw["images"]), _ids_of(document.raw["categories"])
    known = ", ".join(map(str, sorted(categories)[:_MOST_IDS])) + (", …" if len(categories) > _MOST_IDS else "")
    yield from _ids(document, pictures)
    for entry in document.annotations:
        if entry.image_id not in listed:
            yield _finding("unknown-picture", f"picture id {entry.image_id} does not exist", document, None, entry)
        if entry.category_id not in categories:
            message = f"category id {entry.category_id} is not a class; known are {known}"
            yield _finding("unknown-category", message, document, pictures.get(entry.image_id), entry)
        if entry.image_id in sizes:
            yield from _box(entry, sizes[entry.image_id], document, pictures[entry.image_id])
    yield from _copies(document, pictures)
    yield from _counts(document)


def _ids_of(entries: list[dict[str, Any]]) -> set[float]:
    """Ids as listed, those of entries that are unusable for another reason included."""
    return {entry["id"] for entry in entries if isinstance(entry.get("id"), int | float)}


def _finding(
    code: str, message: str, document: Document, picture: ImageEntry | None, entry: AnnotationEntry
) -> Finding:
    number = entry.id if isinstance(entry.id, str | int | float) or entry.id is None else repr(entry.id)
    name = picture.file_name if picture else None
    return Finding(code, message, document.split, name, entry.image_id, number, entry.position)


def _ids(document: Document, pictures: Mapping[int, ImageEntry]) -> Iterator[Finding]:
    seen: set[Any] = set()
    for entry in document.annotations:
        picture = pictures.get(entry.image_id)
        key = entry.id if isinstance(entry.id, int | float | str) else repr(entry.id)  # 1 and 1.0 are the same
        if entry.id is None:
            yield _finding("annotation-id-missing", "has no id", document, picture, entry)
        elif key in seen:
            yield _finding("annotation-id-twice", f"id {entry.id!r} is used before", document, picture, entry)
        elif key == 0:
            yield _finding("annotation-id-zero", "has the id 0", document, picture, entry)
        seen.add(key)


def _box(entry: AnnotationEntry, size: Size, document: Document, picture: ImageEntry) -> Iterator[Finding]:
    code = box_problem(entry.box, size)
    if code is not None:
        what = _PROBLEMS[code].format(width=size[0], height=size[1], w=entry.box[2], h=entry.box[3])
        yield _finding(code, f"box {_plain(entry.box)} {what}", document, picture, entry)


def box_problem(box: Box, size: Size) -> str | None:
    """Code of the gravest thing wrong with a box (x, y, width, height) on a picture (width, height)."""
    (x, y, width, height), (across, down) = box, size
    if width > 0 < height and (x >= across or y >= down or x + width <= 0 or y + height <= 0):
        return "box-off-picture"
    if clip(box, size) is None:
        return "box-empty"
    if width > across + _TOLERANCE or height > down + _TOLERANCE:
        return "box-larger"
    if min(x, y) < -_TOLERANCE or x + width > across + _TOLERANCE or y + height > down + _TOLERANCE:
        return "box-outside"
    return "box-tiny" if min(width, height) < _SMALLEST_SIDE else None


def _plain(box: Box) -> str:
    return "[" + ", ".join(f"{side:.6g}" for side in box) + "]"


def _copies(document: Document, pictures: Mapping[int, ImageEntry]) -> Iterator[Finding]:
    same: dict[tuple[int, Box, bool, int], AnnotationEntry] = {}
    first: dict[tuple[int, Box, bool], AnnotationEntry] = {}
    for entry in document.annotations:
        place = (entry.image_id, entry.box, entry.crowd)
        original = same.setdefault((*place, entry.category_id), entry)
        earlier = first.setdefault(place, entry)
        picture = pictures.get(entry.image_id)
        if original is not entry:
            message = f"is the same as annotation id {original.id!r}" if original.id != entry.id else "is there twice"
            yield _finding("annotation-twice", message, document, picture, entry)
        elif earlier is not entry:
            message = f"has the box of annotation id {earlier.id!r}, but another class"
            yield _finding("annotation-contradiction", message, document, picture, entry)


def _counts(document: Document) -> Iterator[Finding]:
    owners = {entry.image_id for entry in document.annotations}
    empty = [entry.file_name for entry in document.images if entry.id not in owners]
    if empty:
        yield Finding("no-objects", f"{some(empty)} without objects", document.split)
    by_kind: dict[str, int] = defaultdict(int)
    for entry in document.annotations:
        by_kind["crowd"] += entry.crowd
        by_kind["mask-rle"] += isinstance(document.raw["annotations"][entry.position].get("segmentation"), dict)
    if by_kind["crowd"]:
        yield Finding("crowd", f"crowd annotations: {by_kind['crowd']}", document.split)
    if by_kind["mask-rle"]:
        yield Finding("mask-rle", f"run-length masks: {by_kind['mask-rle']}", document.split)
