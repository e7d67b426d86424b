"""A COCO annotation file becomes typed entries; everything unusable in it becomes findings."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .file_names import stays_inside
from .findings import Finding

__all__ = [
    "ANNOTATIONS",
    "LISTS",
    "SPLITS",
    "AnnotationEntry",
    "Box",
    "CategoryEntry",
    "Document",
    "Entry",
    "ImageEntry",
    "clip",
    "is_list_of_objects",
    "is_number",
    "read_document",
    "whole",
]

ANNOTATIONS = "_annotations.coco.json"
SPLITS = ("train", "valid", "test")
LISTS = ("images", "annotations", "categories")
_LARGEST_NUMBER = 1e12
_RESERVED = "score"  # a key of the endpoint's answer, beside the class names

Entry = dict[str, Any]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One entry of ``images``.

    Attributes:
        id: picture id.
        file_name: relative to the split's folder, normalised.
        width: as in the JSON, pixels; None if it is not given.
        height: as in the JSON, pixels; None if it is not given.
        position: in the JSON's list.
    """

    id: int
    file_name: str
    width: int | None
    height: int | None
    position: int

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height), if the JSON gives both."""
        return None if self.width is None or self.height is None else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class AnnotationEntry:
    """One entry of ``annotations``.

    Attributes:
        id: as in the JSON, of any type.
        image_id: of its picture, which may be missing.
        category_id: of its category, which may be missing.
        box: x, y, width, height in pixels, finite.
        crowd: ``iscrowd``.
        area: square pixels as in the JSON; None if it is not given or not a positive number.
        position: in the JSON's list.
    """

    id: Any
    image_id: int
    category_id: int
    box: Box
    crowd: bool
    area: float | None
    position: int


@dataclass(frozen=True, slots=True)
class CategoryEntry:
    """One entry of ``categories``; ``parent`` is its supercategory."""

    id: int
    name: str
    parent: str | None


@dataclass(frozen=True, eq=False)
class Document:
    """One split's annotation file: the usable entries, and the JSON as it was read.

    Attributes:
        split: name of the split.
        images: entries with an id and a file name inside the split.
        annotations: entries with whole-number ids and a finite box.
        categories: entries with a whole-number id and a printable name.
        raw: the JSON document.
    """

    split: str
    images: tuple[ImageEntry, ...]
    annotations: tuple[AnnotationEntry, ...]
    categories: tuple[CategoryEntry, ...]
    raw: Mapping[str, Any] = field(repr=False)


def clip(box: Box, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """A box (x, y, width, height) clipped to a picture (width, height), as xyxy; None if no area is left."""
    x, y, width, height = box
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + width, float(size[0])), min(y + height, float(size[1]))
    return (left, top, right, bottom) if right > left and bottom > top else None


def read_document(path: Path, split: str, findings: list[Finding]) -> Document | None:
    """Read one annotation file.

    Args:
        path: of the file.
        split: its split's name, for findings.
        findings: gets everything that is unusable.

    Returns:
        The document; None if the file is not a COCO document.
    """
    raw = _load(path, split, findings)
    if raw is None:
        return None
    return Document(
        split,
        tuple(_images(raw["images"], split, findings)),
        tuple(_annotations(raw["annotations"], _names(raw["images"]), split, findings)),
        tuple(_categories(raw["categories"], split, findings)),
        raw,
    )


def _load(path: Path, split: str, findings: list[Finding]) -> Entry | None:
    """The JSON document, if it has the three lists."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        findings.append(Finding("json-broken", f"broken JSON: {error}", split, path.name))
        return None
    except OSError as error:
        findings.append(Finding("json-broken", f"cannot be read: {error.strerror}", split, path.name))
        return None
    if not isinstance(document, dict):
        findings.append(Finding("json-incomplete", "is not a COCO document, a JSON object", split, path.name))
        return None
    bad = [key for key in LISTS if not is_list_of_objects(document.get(key))]
    findings += [
        Finding("json-incomplete", f"{key!r} is missing or not a list of objects", split, path.name) for key in bad
    ]
    return None if bad else document


def is_list_of_objects(value: object) -> bool:
    """Whether a JSON value is a list of objects."""
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _images(entries: list[Entry], split: str, findings: list[Finding]) -> Iterator[ImageEntry]:
    for position, entry in enumerate(entries):
        number, name = whole(entry.get("id")), entry.get("file_name")
        problem = _image_problem(number, entry, split)
        if problem is not None:
            code, message = problem
            shown = name if isinstance(name, str) else None
            findings.append(Finding(code, message, split, shown, number, position=position))
            continue
        assert number is not None, "checked by _image_problem"
        name = posixpath.normpath(str(name))
        width, height = whole(entry.get("width")), whole(entry.get("height"))
        if width is None or height is None:
            findings.append(Finding("size-missing", "has no width or height", split, name, number, position=position))
        yield ImageEntry(number, name, width, height, position)


def _image_problem(number: int | None, entry: Entry, split: str) -> tuple[str, str] | None:
    """Code and message if the entry is unusable."""
    name = entry.get("file_name")
    if not isinstance(name, str) or not _is_file_name(name):
        return "picture-key", f"file_name = {name!r} is not a file name"
    if not stays_inside(name):
        return "path-traversal", f"file_name {name!r} leads outside {split}"
    if number is None:
        return "picture-key", f"id = {entry.get('id')!r} is not a whole number"
    sides = [entry.get(key) for key in ("width", "height")]
    if any(side is not None and whole(side) is None for side in sides):
        return "picture-key", f"width x height = {sides[0]!r} x {sides[1]!r} are not whole numbers"
    return None


def _is_file_name(name: str) -> bool:
    try:
        return bool(os.fsencode(name)) and "\0" not in name
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _annotations(
    entries: list[Entry], names: Mapping[Any, str], split: str, findings: list[Finding]
) -> Iterator[AnnotationEntry]:
    for position, entry in enumerate(entries):
        picture, category, box = whole(entry.get("image_id")), whole(entry.get("category_id")), _box(entry.get("bbox"))
        if picture is None or category is None or box is None or entry.get("iscrowd") not in (0, 1, None):
            code, message = _annotation_problem(entry)
            finding = Finding(code, message, split, names.get(picture), picture, _plain(entry.get("id")), position)
            findings.append(finding)
            continue
        area = float(entry["area"]) if is_number(entry.get("area")) and entry["area"] > 0 else None
        yield AnnotationEntry(entry.get("id"), picture, category, box, bool(entry.get("iscrowd")), area, position)


def _annotation_problem(entry: Entry) -> tuple[str, str]:
    """Code and message for an unusable entry."""
    for key in ("image_id", "category_id"):
        if whole(entry.get(key)) is None:
            return "annotation-key", f"{key} = {entry.get(key)!r} is not a whole number"
    if _box(entry.get("bbox")) is None:
        return "box-invalid", f"bbox = {entry.get('bbox')!r} is not four finite numbers"
    return "annotation-key", f"iscrowd = {entry['iscrowd']!r} is neither 0 nor 1"


def _categories(entries: list[Entry], split: str, findings: list[Finding]) -> Iterator[CategoryEntry]:
    for entry in entries:
        number, name, parent = whole(entry.get("id")), entry.get("name"), entry.get("supercategory")
        problem = _category_problem(number, name)
        if problem is not None:
            findings.append(Finding("category-key", f"category {entry.get('id')!r}: {problem}", split))
        else:
            assert number is not None, "checked by _category_problem"
            yield CategoryEntry(number, str(name), parent if isinstance(parent, str) else None)


def _category_problem(number: int | None, name: object) -> str | None:
    if number is None:
        return "its id is not a whole number"
    if not isinstance(name, str) or not name.strip():
        return "has no name"
    if name == _RESERVED:
        return f"is named {_RESERVED!r}, a key of the endpoint's answer"
    if not name.isprintable():
        return f"its name {name!r} cannot be printed"
    return None


def _names(entries: list[Entry]) -> dict[Any, str]:
    """File names by picture id, for messages."""
    named = ((whole(entry.get("id")), entry.get("file_name")) for entry in entries)
    return {number: name for number, name in named if number is not None and isinstance(name, str)}


def whole(value: Any) -> int | None:
    """The value as an int if it is a whole number (3 or 3.0); else None."""
    return int(value) if is_number(value) and value == int(value) else None


def is_number(value: Any) -> bool:
    """Whether it is a finite number of at most 1e12, and not a bool."""
    return type(value) in (int, float) and -_LARGEST_NUMBER < value < _LARGEST_NUMBER  # False for NaN and infinity


def _box(value: Any) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    x, y, width, height = value
    if not (is_number(x) and is_number(y) and is_number(width) and is_number(height)):
        return None
    return float(x), float(y), float(width), float(height)


def _plain(value: object) -> Any:
    """A value that a finding can hold: itself if it is plain, else its repr."""
    return value if value is None or isinstance(value, str | int) else repr(value)
