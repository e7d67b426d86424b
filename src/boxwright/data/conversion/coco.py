"""Reads COCO documents in whatever layout; all that stands in them is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from boxwright.data.contract import parent_ids
from boxwright.data.documents import CategoryEntry
from boxwright.runtime import DataError

from .coco_layout import Found, find_documents, picture_folder
from .files import decodable, measure, read_text, require_size
from .source import Source, SourceObject, SourcePicture

__all__ = ["read_coco"]

_LISTS = ("images", "annotations", "categories")
_LARGEST_NUMBER = 1e12  # false for NaN and infinity too
_IMAGE_KEYS = ("id", "file_name", "width", "height")
_ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd", "area")

Entry = dict[str, Any]
Documents = list[tuple[Found, Entry]]


def read_coco(source: Path) -> Source:
    """Read a data set; category and picture ids, and keys unknown to boxwright, stay as they are.

    Documents without pictures, and pictures in formats that boxwright does not decode, are left out.
    A file that a document lists again is one picture, with the objects of all its entries.

    Args:
        source: see ``find_documents``.

    Raises:
        DataError: no document, a broken one, a missing picture, an unknown id, a box that is not four
            numbers, sizes that disagree, splits whose categories disagree, two classes of one name; file
            and id are named.
    """
    notes: list[str] = []
    documents = [(found, _load(found.path)) for found in find_documents(source)]
    _require_pictures(documents, notes)
    categories: dict[int, Entry] = {}
    for found, document in documents:
        _collect(document["categories"], categories, found.path, notes)
    pictures = [one for found, document in documents for one in _pictures(found, document, categories, notes)]
    used = {one.category for picture in pictures for one in picture.objects}
    _require_own_names(categories, used, documents)
    others = {_split(found): _others(document) for found, document in documents}
    return Source(tuple(pictures), tuple(categories.values()), others, tuple(notes))


def _split(found: Found) -> str:
    return found.split or "train"


def _others(document: Entry) -> Entry:
    return {key: value for key, value in document.items() if key not in _LISTS}


def _load(path: Path) -> Entry:
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {error}.", "Export the file again.") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: not a COCO document.", f"It must hold {', '.join(_LISTS)}.")
    for key in _LISTS:
        entries = document.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{path}: {key!r} is missing or not a list of objects.", "Export the file again.")
    return document


def _require_pictures(documents: Documents, notes: list[str]) -> None:
    empty = [found.path for found, document in documents if not document["images"]]
    if len(empty) == len(documents):
        raise DataError(f"{empty[0]}: lists no picture.", "Put pictures into it.")
    notes += [f"{path}: lists no picture; the split was left out." for path in empty]


def _collect(entries: list[Entry], categories: dict[int, Entry], path: Path, notes: list[str]) -> None:
    """Add a document's categories to those of the others."""
    own: set[int] = set()
    for entry in entries:
        number = _integer(entry, "id", f"{path}: category {entry.get('name')!r}")
        known = categories.setdefault(number, entry)
        if number in own:
            raise DataError(f"{path}: category id {number} is used twice.", "Keep one.")
        if not isinstance(entry.get("name"), str) or known["name"] != entry["name"]:
            said = f"in another split it is {known['name']!r}" if known is not entry else "a name is a text"
            raise DataError(f"{path}: category {number} is {entry.get('name')!r}; {said}.", "Export all splits anew.")
        if known != entry:
            notes.append(f"{path}: category {number} differs from the first split's; the first split's was kept.")
        own.add(number)


def _require_own_names(categories: Mapping[int, Entry], used: Set[int], documents: Documents) -> None:
    """Refuse two classes of one name; an unused parent, which is no class, may have its child's."""
    places = {int(one["id"]): found.path for found, document in reversed(documents) for one in document["categories"]}
    parents = parent_ids(CategoryEntry(number, one["name"], _parent(one)) for number, one in categories.items())
    first: dict[str, int] = {}
    for number, entry in categories.items():
        if number in parents - used:
            continue
        other = first.setdefault(entry["name"], number)
        if other != number:
            raise DataError(
                f"{places[number]}: category {number} is {entry['name']!r}, and so is {other} in {places[other]}.",
                "Give the class one id in all documents, or rename one.",
            )


def _parent(entry: Entry) -> str | None:
    parent = entry.get("supercategory")
    return parent if isinstance(parent, str) else None


def _pictures(found: Found, document: Entry, categories: Mapping[int, Entry], notes: list[str]) -> list[SourcePicture]:
    images: dict[int, Entry] = {}
    for entry in document["images"]:
        number = _integer(entry, "id", f"{found.path}: picture {entry.get('file_name')!r}")
        if number in images:
            raise DataError(f"{found.path}: picture id {number} is used twice.", "Give each picture its own id.")
        if not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
            raise DataError(f"{found.path}: picture id {number} has no file_name.", "Export the file again.")
        images[number] = entry
    objects: dict[int, list[SourceObject]] = {number: [] for number in images}
    for entry in document["annotations"]:
        picture, one = _object(entry, images, categories, found.path)
        objects[picture].append(one)
    paths = {number: Path(entry["file_name"]) for number, entry in images.items()}
    usable = set(decodable(list(paths.values()), found.path, notes))
    kept = [number for number, path in paths.items() if path in usable]
    folder = picture_folder(found, [images[number]["file_name"] for number in kept])
    return _joined([_picture(number, images[number], folder, found, objects[number]) for number in kept], found, notes)


def _joined(pictures: Sequence[SourcePicture], found: Found, notes: list[str]) -> list[SourcePicture]:
    """Each file once: two pictures of one file would have half of the objects each."""
    by_path: dict[Path, SourcePicture] = {}
    for one in pictures:
        known = by_path.setdefault(one.path, one)
        if known is not one:
            more = tuple(each for each in one.objects if each not in known.objects)
            by_path[one.path] = replace(known, objects=known.objects + more)
    again = [one.name for one in pictures if by_path[one.path].id != one.id]
    if again:
        notes.append(
            f"{found.path}: pictures listed again: {len(again)}, the first {again[0]!r}. "
            "The objects of all entries were joined, equal ones taken once."
        )
    return list(by_path.values())


def _picture(number: int, entry: Entry, folder: Path, found: Found, objects: list[SourceObject]) -> SourcePicture:
    path = folder / entry["file_name"]
    size = measure(path)
    said = (entry.get("width"), entry.get("height"))
    if None not in said:
        require_size(path, size, said, f"{found.path}: picture id {number}")
    extra = {key: value for key, value in entry.items() if key not in _IMAGE_KEYS}
    name = path.relative_to(folder).as_posix()
    return SourcePicture(path, name, *size, tuple(objects), _split(found), number, extra)


def _object(
    entry: Entry, images: Mapping[int, Entry], categories: Mapping[int, Entry], path: Path
) -> tuple[int, SourceObject]:
    """The id of an annotation's picture, and the object."""
    who = f"{path}: annotation id {entry.get('id')!r}"
    picture, category = (_integer(entry, key, who) for key in ("image_id", "category_id"))
    if picture not in images:
        raise DataError(f"{who}: picture id {picture} does not exist.", "Remove it, or list the picture.")
    if category not in categories:
        raise DataError(f"{who}: category id {category} does not exist.", f"Known ids: {sorted(categories)}.")
    crowd, box, area = entry.get("iscrowd"), entry.get("bbox"), entry.get("area")
    if crowd not in (0, 1, None):
        raise DataError(f"{who}: iscrowd = {crowd!r} is neither 0 nor 1.", "Export the file again.")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side) for side in box):
        raise DataError(f"{who}: bbox = {box!r} is not four finite numbers.", "Write [x, y, width, height].")
    if area is not None and not _is_number(area):
        raise DataError(f"{who}: area = {area!r} is not a number.", "Export the file again.")
    extra = {key: value for key, value in entry.items() if key not in _ANNOTATION_KEYS}
    x, y, w, h = box
    outline = entry.get("segmentation") or []
    return picture, SourceObject(category, (x, y, w, h), outline, int(crowd or 0), area, extra)


def _is_number(value: object) -> bool:
    """Whether it is a number of a size that a picture can have."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER


def _integer(entry: Mapping[str, Any], key: str, who: str) -> int:
    value = entry.get(key)
    if value is None or not _is_number(value) or value != int(value):
        raise DataError(f"{who}: {key} = {value!r} is not a whole number.", "Export the file again.")
    return int(value)
