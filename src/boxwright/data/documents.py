"""A COCO annotation file becomes typed entries; everything unusable in it becomes findings."""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from boxwright.runtime import DataError
from boxwright.runtime.bundle import class_name_fault

from .file_names import FolderNames, Found, NamesAsWritten, is_file_name
from .findings import Finding
from .text import json_of, text_of

__all__ = [
    "ANNOTATIONS",
    "LISTS",
    "OTHER_NAMES",
    "ROUNDING",
    "SPLITS",
    "AnnotationEntry",
    "Box",
    "CategoryEntry",
    "Document",
    "Entry",
    "ImageEntry",
    "category_fault",
    "clip",
    "fits",
    "is_list_of_objects",
    "is_number",
    "is_odd_id",
    "json_text",
    "name_fault",
    "name_of",
    "null_for_nan",
    "number_of",
    "read_document",
    "side_of",
    "split_named",
    "whole",
    "whole_id",
]

ANNOTATIONS = "_annotations.coco.json"
SPLITS = ("train", "valid", "test")
OTHER_NAMES = {"train": ("training",), "valid": ("val", "validation"), "test": ("testing",)}
"""What other tools call the splits."""

LISTS = ("images", "annotations", "categories")
ROUNDING = 1.0
"""Pixels over a picture's edge that count as rounding."""

_LARGEST_NUMBER = 1e12
_LARGEST_FLOAT = 2.0**53  # up to here, a float holds every whole number
_LARGEST_ID = 2**63  # what COCO's tools and NumPy hold
_MOST_CANDIDATES = 3
_CROWDS = (None, 0, 1, "0", "1")
_LONG = 40  # characters of a number
_DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)
_PADDED_DIGITS = re.compile(r"0*[0-9]{1,18}", re.ASCII)
_RESERVED = "score"  # a key of the endpoint's answer, beside the class names

Entry = dict[str, Any]
Box = tuple[float, float, float, float]


def split_named(name: str) -> str:
    """The split of a name; those of other tools are understood.

    Raises:
        DataError: there is no such split.
    """
    for split in SPLITS:
        if name == split or name in OTHER_NAMES[split]:
            return split
    raise DataError(f"There is no split {name!r}.", f"Use {', '.join(SPLITS)}.")


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One entry of ``images``.

    Attributes:
        id: picture id.
        file_name: of the file that the written name means, relative to the split's folder, normalised.
        width: as in the JSON, pixels; None if it is not known: absent, 0, or not a number.
        height: as in the JSON, pixels; None if it is not known.
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
        id: as in the JSON, of any type; None also for NaN.
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
        categories: entries with a whole-number id and a name.
        listed: how often each id is in ``images`` and in ``categories``, unusable entries included.
        raw: the JSON document.
    """

    split: str
    images: tuple[ImageEntry, ...]
    annotations: tuple[AnnotationEntry, ...]
    categories: tuple[CategoryEntry, ...]
    listed: Mapping[str, Counter[int]]
    raw: Mapping[str, Any] = field(repr=False)


def clip(box: Box, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """A box (x, y, width, height) clipped to a picture (width, height), as xyxy; None if no area is left."""
    x, y, width, height = box
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + width, float(size[0])), min(y + height, float(size[1]))
    return (left, top, right, bottom) if right > left and bottom > top else None


def fits(box: Box, size: tuple[int, int]) -> bool:
    """Whether a box (x, y, width, height) lies in a picture (width, height), but for ``ROUNDING``."""
    x, y, width, height = box
    return min(x, y) >= -ROUNDING and x + width <= size[0] + ROUNDING and y + height <= size[1] + ROUNDING


def read_document(
    path: Path, split: str, findings: list[Finding], names: FolderNames | NamesAsWritten | None = None
) -> Document | None:
    """Read one annotation file.

    Args:
        path: of the file.
        split: its split's name, for findings.
        findings: gets everything that is unusable.
        names: says which files the names mean; by default those of the file's own folder.

    Returns:
        The document; None if the file is not a COCO document.
    """
    raw = _load(path, split, findings)
    if raw is None:
        return None
    ids = _Ids(raw)
    if ids.texts:
        findings.append(Finding("id-text", ids.sentence, split, path.name))
    return Document(
        split,
        tuple(_images(raw["images"], ids, names or FolderNames(path.parent), split, findings)),
        tuple(_annotations(raw["annotations"], ids, _names(raw["images"], ids), split, findings)),
        tuple(_categories(raw["categories"], ids, split, findings)),
        {key: Counter(ids.all(raw[key])) for key in ("images", "categories")},
        raw,
    )


def _load(path: Path, split: str, findings: list[Finding]) -> Entry | None:
    """The JSON document, if it has the three lists."""
    try:
        text = text_of(path.read_bytes())
    except ValueError as error:
        findings.append(Finding("json-broken", str(error), split, path.name))
        return None
    except OSError as error:
        findings.append(Finding("json-broken", f"cannot be read: {error.strerror}", split, path.name))
        return None
    try:
        document = json_of(text)
    except (ValueError, RecursionError) as error:
        findings.append(Finding("json-broken", f"broken JSON: {error}", split, path.name))
        return None
    if not isinstance(document, dict):
        findings.append(Finding("json-incomplete", "is not a COCO document, a JSON object", split, path.name))
        return None
    bad = [key for key in LISTS if not is_list_of_objects(document.get(key))]
    if split == "test" and "images" not in bad and (document.get("annotations") is None or not document["images"]):
        what = "lists pictures but no annotations" if document["images"] else "lists no pictures"
        findings.append(Finding("test-unannotated", what, split, path.name))
        return None
    findings += [
        Finding("json-incomplete", f"{key!r} is missing or not a list of objects", split, path.name) for key in bad
    ]
    return None if bad else document


class _Ids:
    """A document's ids as whole numbers.

    Text, and numbers of more than 64 bits, get numbers that the text alone decides, so that splits agree; this is for
    the check alone. Where an id and a link to it are written differently, as "3", 3 and "003", they mean the same, if
    only one id is that number.
    """

    def __init__(self, raw: Entry) -> None:
        own = [entry.get("id") for key in ("images", "categories") for entry in raw[key]]
        links = [entry.get(key) for key in ("image_id", "category_id") for entry in raw["annotations"]]
        self._listed = {number for value in own if (number := whole_id(value)) is not None}
        self._odd = {_id_text(value) for value in own if is_odd_id(value)}
        self._spelled = self._numbers()
        odd = [value for value in (*own, *links) if is_odd_id(value) and self.number(value) is not None]
        self.texts = set(map(_id_text, odd))
        self._example = next(iter(odd), "")

    def _numbers(self) -> Mapping[int, str]:
        """By number the text that stands for it, if it is the only one and no id is that number itself."""
        numbers = [(int(text), text) for text in self._odd if _PADDED_DIGITS.fullmatch(text)]
        count = Counter(number for number, _ in numbers)
        return {number: text for number, text in numbers if count[number] == 1 and number not in self._listed}

    @property
    def sentence(self) -> str:
        return (
            f"{len(self.texts)} ids are text or too large, as {self._example!r}; ids must be whole numbers of 64 bits"
        )

    def number(self, value: object) -> int | None:
        """The id as a whole number; None if it is neither that nor the id of an entry."""
        if not is_odd_id(value):
            number = whole_id(value)
            spelled = None if number is None else self._spelled.get(number)
            return number if spelled is None else _number_for(spelled)
        text = _id_text(value)
        if _DIGITS.fullmatch(text) and int(text) in self._listed:
            return int(text)
        if text not in self._odd and _PADDED_DIGITS.fullmatch(text):
            text = self._spelled.get(int(text), text)
        return _number_for(text) if text in self._odd else None

    def all(self, entries: Iterable[Entry]) -> Iterator[int]:
        yield from (number for entry in entries if (number := self.number(entry.get("id"))) is not None)


def _number_for(text: str) -> int:
    """A negative number that stands for a text."""
    return -1 - int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).digest())


def _id_text(value: object) -> str:
    return str(value).strip()


def is_list_of_objects(value: object) -> bool:
    """Whether a JSON value is a list of objects."""
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def is_odd_id(value: object) -> TypeGuard[str | int | float]:
    """Whether it is an id that somebody meant, but no whole number of 64 bits that is exact: it becomes another number.

    A hash that went through a table of floats is 1.2345e+18: it still tells its entry from others.
    """
    if isinstance(value, str):
        return bool(value.strip())
    whole_number = type(value) is int or (type(value) is float and value.is_integer())
    return whole_number and whole_id(value) is None


def _images(
    entries: list[Entry], ids: _Ids, folder: FolderNames | NamesAsWritten, split: str, findings: list[Finding]
) -> Iterator[ImageEntry]:
    names = (entry.get("file_name") for entry in entries)
    found = folder.resolve(name for name in names if is_file_name(name))
    for position, entry in enumerate(entries):
        number, written = ids.number(entry.get("id")), entry.get("file_name")
        problem = _image_problem(number, entry, found, split)
        if problem is not None:
            code, message = problem
            shown = written if isinstance(written, str) else None
            findings.append(Finding(code, message, split, shown, number, position=position))
            continue
        assert number is not None, "checked by _image_problem"
        name = found[str(written)].name or posixpath.normpath(str(written))
        if found[str(written)].guessed:
            message = f"{written!r} is not there; read as {name!r}"
            findings.append(Finding("file-name-guessed", message, split, name, number, position=position))
        width, height = side_of(entry.get("width")), side_of(entry.get("height"))
        if width is None or height is None:
            findings.append(Finding("size-missing", _size_problem(entry), split, name, number, position=position))
        yield ImageEntry(number, name, width, height, position)


def _image_problem(number: int | None, entry: Entry, found: Mapping[str, Found], split: str) -> tuple[str, str] | None:
    """Code and message if the entry is unusable."""
    name = entry.get("file_name")
    if not is_file_name(name):
        return "picture-key", f"file_name = {name!r} is not a file name"
    if found[name].outside:
        return "path-traversal", f"file_name {name!r} leads outside {split}"
    if found[name].candidates:
        several = " and ".join(map(repr, found[name].candidates[:_MOST_CANDIDATES]))
        return "file-name-unclear", f"file_name {name!r} is not there, and may mean {several}"
    if number is None:
        return "picture-key", f"id = {entry.get('id')!r} is not a whole number"
    return None


def _size_problem(entry: Entry) -> str:
    sides = [entry.get(key) for key in ("width", "height")]
    if None in sides:
        return "has no width or height"
    return f"width x height = {sides[0]!r} x {sides[1]!r} say nothing"


def _annotations(
    entries: list[Entry], ids: _Ids, names: Mapping[Any, str], split: str, findings: list[Finding]
) -> Iterator[AnnotationEntry]:
    outlined = 0
    for position, entry in enumerate(entries):
        picture, category = (ids.number(entry.get(key)) for key in ("image_id", "category_id"))
        box = _box(entry.get("bbox"))
        if box is None and _is_outline_alone(entry):
            outlined += 1
            continue
        if picture is None or category is None or box is None or entry.get("iscrowd") not in _CROWDS:
            code, message = _annotation_problem(entry, ids)
            finding = Finding(code, message, split, names.get(picture), picture, _plain(entry.get("id")), position)
            findings.append(finding)
            continue
        size = number_of(entry.get("area"))
        area = float(size) if is_number(size) and size > 0 else None
        yield AnnotationEntry(
            null_for_nan(entry.get("id")), picture, category, box, entry.get("iscrowd") in (1, "1"), area, position
        )
    if outlined:
        message = f"{outlined} annotations have an outline but no box"
        findings.append(Finding("boxes-missing", message, split))


def _is_outline_alone(entry: Entry) -> bool:
    """Whether an annotation has no box, but polygons or a mask that tell where it would be."""
    return entry.get("bbox") in (None, []) and bool(entry.get("segmentation"))


def _annotation_problem(entry: Entry, ids: _Ids) -> tuple[str, str]:
    """Code and message for an unusable entry."""
    for key in ("image_id", "category_id"):
        if ids.number(entry.get(key)) is None:
            return "annotation-key", f"{key} = {entry.get(key)!r} is not the id of anything"
    if _box(entry.get("bbox")) is None:
        return "box-invalid", f"bbox = {entry.get('bbox')!r} is not four finite numbers"
    return "annotation-key", f"iscrowd = {entry['iscrowd']!r} is neither 0 nor 1"


def _categories(entries: list[Entry], ids: _Ids, split: str, findings: list[Finding]) -> Iterator[CategoryEntry]:
    for entry in entries:
        number, name, parent = ids.number(entry.get("id")), name_of(entry.get("name")), entry.get("supercategory")
        problem = _category_problem(number, name)
        if problem is not None:
            findings.append(Finding("category-key", f"category {entry.get('id')!r}: {problem}", split))
        else:
            assert number is not None, "checked by _category_problem"
            yield CategoryEntry(number, str(name), parent if isinstance(parent, str) else None)


def _category_problem(number: int | None, name: str | None) -> str | None:
    if number is None:
        return "its id is not a whole number"
    return category_fault(name)


def category_fault(name: str | None) -> str | None:
    """Why a category cannot have this name, or None."""
    if name is None or not name.strip():
        return "has no name"
    fault = name_fault(name)
    return f"its name {name!r} {fault}" if fault else None


def name_fault(name: str) -> str | None:
    """Why a class cannot have this name, to be read behind it, or None."""
    return "is a key of the endpoint's answer" if name == _RESERVED else class_name_fault(name)


def name_of(value: object) -> str | None:
    """A category's name: a text, or a number, whose digits are the name; None if it is anything else."""
    return value if isinstance(value, str) else str(value) if is_number(value) else None


def _names(entries: list[Entry], ids: _Ids) -> dict[Any, str]:
    """File names by picture id, for messages."""
    named = ((ids.number(entry.get("id")), entry.get("file_name")) for entry in entries)
    return {number: name for number, name in named if number is not None and isinstance(name, str)}


def whole(value: Any) -> int | None:
    """The value as an int if it is a whole number (3 or 3.0); else None."""
    return int(value) if is_number(value) and value == int(value) else None


def whole_id(value: Any) -> int | None:
    """The value as an int if it is a whole number of 64 bits (3, 3.0, or a hash); else None."""
    if type(value) is int:
        return value if -_LARGEST_ID <= value < _LARGEST_ID else None
    exact = type(value) is float and abs(value) <= _LARGEST_FLOAT and value.is_integer()
    return int(value) if exact else None


def side_of(value: Any) -> int | None:
    """A picture's width or height in pixels: a whole number above 0, or the text of one; None if it is anything else.

    What a tool writes for a size that it does not know says nothing: 0, -1, "", "unknown".
    """
    side = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value.strip()) else whole(value)
    return side if side is not None and side > 0 else None


def json_text(document: Any, **options: Any) -> str:
    """A document as JSON, with null for what JSON has not; see ``null_for_nan``.

    Raises:
        RecursionError: it is nested too deep.
    """
    try:
        return json.dumps(document, allow_nan=False, **options)
    except ValueError:  # NaN or infinity
        return json.dumps(null_for_nan(document), **options)


def null_for_nan(value: Any) -> Any:
    """A JSON value with null for every NaN and infinity, which JSON has not."""
    if isinstance(value, dict):
        return {key: null_for_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [null_for_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number_of(value: Any) -> Any:
    """The number that a text of one stands for; any other value as it is."""
    try:
        return float(value) if isinstance(value, str) and len(value) < _LONG else value
    except ValueError:
        return value


def is_number(value: Any) -> TypeGuard[float]:
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
