"""A COCO annotation file becomes typed entries; what does not fit becomes findings."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from .findings import Finding

__all__ = [
    "ANNOTATIONS",
    "SPLITS",
    "AnnotationEntry",
    "CategoryEntry",
    "Document",
    "Entry",
    "ImageEntry",
    "read_document",
    "stays_inside",
]

ANNOTATIONS = "_annotations.coco.json"
SPLITS = ("train", "valid", "test")
_LISTS = ("images", "annotations", "categories")
_LARGEST_NUMBER = 1e12  # false for NaN and infinity too
_RESERVED = "score"  # a key of the endpoint's answer, beside the class names

Entry = dict[str, Any]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One entry of ``images``.

    Attributes:
        id: picture id.
        file_name: below the split's folder, without needless dots and slashes.
        width: as the JSON gives it, pixels; None if it does not.
        height: likewise.
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
        id: as the JSON gives it, of whatever type.
        image_id: of its picture, which need not exist.
        category_id: which need not exist.
        box: x, y, width, height in pixels, finite.
        crowd: ``iscrowd``.
        area: square pixels as the JSON gives it; None if it does not, or none that could be.
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
    """One split's annotation file: the entries that are usable, and the whole as it was read.

    Attributes:
        split: name of the split.
        images: entries with an id and a file name inside the split.
        annotations: entries with whole ids and a finite box.
        categories: entries with a whole id and a printable name.
        raw: the JSON document.
    """

    split: str
    images: tuple[ImageEntry, ...]
    annotations: tuple[AnnotationEntry, ...]
    categories: tuple[CategoryEntry, ...]
    raw: Mapping[str, Any] = field(repr=False)


def read_document(path: Path, split: str, findings: list[Finding]) -> Document | None:
    """Read one annotation file.

    Args:
        path: of the file.
        split: its split's name, for findings.
        findings: gets everything that does not fit.

    Returns:
        The document; None if it has not the form of one.
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
    """The JSON document, if its three lists are there."""
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
    bad = [key for key in _LISTS if not _is_list_of_objects(document.get(key))]
    findings += [
        Finding("json-incomplete", f"{key!r} is missing or no list of objects", split, path.name) for key in bad
    ]
    return None if bad else document


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _images(entries: list[Entry], split: str, findings: list[Finding]) -> Iterator[ImageEntry]:
    for position, entry in enumerate(entries):
        number, name = _whole(entry.get("id")), entry.get("file_name")
        problem = _image_problem(number, entry, split)
        if problem is not None:
            code, message = problem
            shown = name if isinstance(name, str) else None
            findings.append(Finding(code, message, split, shown, number, position=position))
            continue
        assert number is not None, "looked at by _image_problem"
        name = posixpath.normpath(str(name))
        width, height = _whole(entry.get("width")), _whole(entry.get("height"))
        if width is None or height is None:
            findings.append(Finding("size-missing", "has no width or height", split, name, number, position=position))
        yield ImageEntry(number, name, width, height, position)


def _image_problem(number: int | None, entry: Entry, split: str) -> tuple[str, str] | None:
    """Code and message for an entry that is not usable."""
    name = entry.get("file_name")
    if not isinstance(name, str) or not _is_file_name(name):
        return "picture-key", f"file_name = {name!r} is no file name"
    if not stays_inside(name):
        return "path-traversal", f"file_name {name!r} leads outside {split}"
    if number is None:
        return "picture-key", f"id = {entry.get('id')!r} is no whole number"
    sides = [entry.get(key) for key in ("width", "height")]
    if any(side is not None and _whole(side) is None for side in sides):
        return "picture-key", f"width x height = {sides[0]!r} x {sides[1]!r} are no whole numbers"
    return None


def _is_file_name(name: str) -> bool:
    try:
        return bool(os.fsencode(name)) and "\0" not in name
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def stays_inside(name: str) -> bool:
    """Whether a file name stays below its folder on any system, by its letters alone."""
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    return not (windows.drive or windows.root or posix.is_absolute() or ".." in windows.parts or ".." in posix.parts)


def _annotations(
    entries: list[Entry], names: Mapping[Any, str], split: str, findings: list[Finding]
) -> Iterator[AnnotationEntry]:
    for position, entry in enumerate(entries):
        picture, category, box = (
            _whole(entry.get("image_id")),
            _whole(entry.get("category_id")),
            _box(entry.get("bbox")),
        )
        if picture is None or category is None or box is None or entry.get("iscrowd") not in (0, 1, None):
            code, message = _annotation_problem(entry)
            finding = Finding(code, message, split, names.get(picture), picture, _text(entry.get("id")), position)
            findings.append(finding)
            continue
        area = float(entry["area"]) if _is_finite(entry.get("area")) and entry["area"] > 0 else None
        yield AnnotationEntry(entry.get("id"), picture, category, box, bool(entry.get("iscrowd")), area, position)


def _annotation_problem(entry: Entry) -> tuple[str, str]:
    """Code and message for an entry that is not usable."""
    for key in ("image_id", "category_id"):
        if _whole(entry.get(key)) is None:
            return "annotation-key", f"{key} = {entry.get(key)!r} is no whole number"
    if _box(entry.get("bbox")) is None:
        return "box-invalid", f"bbox = {entry.get('bbox')!r} is not four finite numbers"
    return "annotation-key", f"iscrowd = {entry['iscrowd']!r} is neither 0 nor 1"


def _categories(entries: list[Entry], split: str, findings: list[Finding]) -> Iterator[CategoryEntry]:
    for entry in entries:
        number, name, parent = _whole(entry.get("id")), entry.get("name"), entry.get("supercategory")
        problem = _category_problem(number, name)
        if problem is not None:
            findings.append(Finding("category-key", f"category {entry.get('id')!r}: {problem}", split))
        else:
            assert number is not None, "looked at by _category_problem"
            yield CategoryEntry(number, str(name), parent if isinstance(parent, str) else None)


def _category_problem(number: int | None, name: object) -> str | None:
    if number is None:
        return "its id is no whole number"
    if not isinstance(name, str) or not name.strip():
        return "has no name"
    if name == _RESERVED:
        return f"is named {_RESERVED!r}, a key of the endpoint's answer"
    if not name.isprintable():
        return f"its name {name!r} cannot be printed"
    return None


def _names(entries: list[Entry]) -> dict[Any, str]:
    """File names by picture id, for messages."""
    named = ((_whole(entry.get("id")), entry.get("file_name")) for entry in entries)
    return {number: name for number, name in named if number is not None and isinstance(name, str)}


def _whole(value: Any) -> int | None:
    """The whole number that a value is, floats without a fraction included; else None."""
    return int(value) if _is_finite(value) and value == int(value) else None


def _is_finite(value: Any) -> bool:
    """Whether it is a number, not a truth value, of a size that a picture can have."""
    return type(value) in (int, float) and -_LARGEST_NUMBER < value < _LARGEST_NUMBER


def _box(value: Any) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    x, y, width, height = value
    if not (_is_finite(x) and _is_finite(y) and _is_finite(width) and _is_finite(height)):
        return None
    return float(x), float(y), float(width), float(height)


def _text(value: object) -> Any:
    """A value fit to stand in a finding: as it is if it is plain, else its repr."""
    return value if value is None or isinstance(value, str | int) else repr(value)
