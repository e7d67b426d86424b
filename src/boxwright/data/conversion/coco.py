"""Reads COCO documents in any layout: finds them and their pictures, and keeps all that they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boxwright.data.contract import parent_ids
from boxwright.data.documents import ANNOTATIONS, LISTS, CategoryEntry, Entry, is_list_of_objects, is_number, whole
from boxwright.data.file_names import split_of
from boxwright.runtime import DataError

from .files import decodable, entry_path, in_folder, is_file, is_folder, measure, read_text, require_size
from .source import Source, SourceObject, SourcePicture

__all__ = ["read_coco"]

_IMAGE_KEYS = ("id", "file_name", "width", "height")
_ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd", "area")
_OTHER_TASKS = ("person_keypoints_", "captions_", "stuff_", "panoptic_", "image_info_")
_PICTURE_FOLDERS = ("images", "JPEGImages", "data")
_YEAR = re.compile(r"\d+$")


@dataclass(frozen=True)
class _Place:
    """Where one document is.

    Attributes:
        path: of the JSON file.
        root: folder of the data set.
        split: boxwright's name; None if the file's name does not tell.
        part: the data set's own name of the split, as in ``instances_PART.json``.
    """

    path: Path
    root: Path
    split: str | None
    part: str


Documents = list[tuple[_Place, Entry]]


def read_coco(source: Path) -> Source:
    """Read a data set; category and picture ids, and keys unknown to boxwright, stay as they are.

    Documents without pictures, and pictures in formats that boxwright does not decode, are left out.
    A file that a document lists several times is one picture, with the objects of all its entries.

    Args:
        source: one JSON file; a folder with ``train/``, ``valid/``, ``test/`` in the Roboflow layout;
            or one with JSON files in it or in its ``annotations/``; ``instances_*`` are preferred.

    Raises:
        DataError: no document, a broken one, several whose splits cannot be told apart, a missing picture, an unknown
            id, a box that is not four numbers, sizes that differ, splits whose categories differ, two classes of one
            name; file and id are named.
    """
    notes: list[str] = []
    documents = [(place, _load(place.path)) for place in _find_documents(source)]
    _require_pictures(documents, notes)
    categories: dict[int, Entry] = {}
    for place, document in documents:
        _collect(document["categories"], categories, place.path, notes)
    pictures = [picture for place, document in documents for picture in _pictures(place, document, categories, notes)]
    used = {item.category for picture in pictures for item in picture.objects}
    _require_own_names(categories, used, documents)
    others = {
        place.split or "train": {key: value for key, value in document.items() if key not in LISTS}
        for place, document in documents
    }
    return Source(tuple(pictures), tuple(categories.values()), others, tuple(notes))


def _find_documents(source: Path) -> list[_Place]:
    """Documents of a data set, one for each split."""
    if is_file(source):
        root = source.parent.parent if source.parent.name == "annotations" else source.parent
        return [_place(source, root)]
    places = _roboflow(source) or _annotation_files(source)
    if not places:
        raise DataError(f"{source}: no COCO document.", f"Give the JSON file, or a folder with train/{ANNOTATIONS}.")
    if len(places) > 1:
        _require_one_per_split(places)
    return places


def _roboflow(source: Path) -> list[_Place]:
    folders = [folder for folder in in_folder(source) if is_file(folder / ANNOTATIONS)]
    places = [_Place(folder / ANNOTATIONS, source, split_of(folder.name), folder.name) for folder in folders]
    return places or ([_Place(source / ANNOTATIONS, source, None, "")] if is_file(source / ANNOTATIONS) else [])


def _annotation_files(source: Path) -> list[_Place]:
    folder = source / "annotations" if is_folder(source / "annotations") else source
    paths = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    chosen = [path for path in paths if path.stem.startswith("instances_")]
    chosen = chosen or [path for path in paths if not path.stem.startswith(_OTHER_TASKS)]
    return [_place(path, source) for path in chosen]


def _place(path: Path, root: Path) -> _Place:
    part = path.stem.removeprefix("instances_").removeprefix("_annotations.coco")
    tokens = [_YEAR.sub("", token) for token in re.split(r"[^0-9A-Za-z]+", part)]
    splits = {split for token in tokens if (split := split_of(token))}
    return _Place(path, root, splits.pop() if len(splits) == 1 else None, part)


def _require_one_per_split(places: Sequence[_Place]) -> None:
    seen: dict[str | None, Path] = {}
    for place in places:
        if place.split is None:
            raise DataError(
                f"{place.path}: its name does not say which split it is.", "Give that one file, or rename it."
            )
        if place.split in seen:
            raise DataError(
                f"{place.path}: {seen[place.split]} is {place.split!r} too.", "Give one file, or move one away."
            )
        seen[place.split] = place.path


def _picture_folder(place: _Place, names: Sequence[str]) -> Path:
    """The first folder that holds all pictures of a document.

    Raises:
        DataError: no folder does; a missing picture is named. A name leads out of its folder.
    """
    for name in names:
        entry_path(place.path.parent, name, str(place.path))
    folders = list(dict.fromkeys(folder for folder in _possible_folders(place) if is_folder(folder)))
    counts: list[tuple[int, int, str]] = []
    for folder in folders:
        missing = next((name for name in names if not is_file(folder / name)), None)
        if missing is None:
            return folder
        counts.append((-sum(is_file(folder / name) for name in names), len(counts), missing))
    _, number, missing = min(counts)
    raise DataError(f"{place.path}: picture {missing!r} is missing in {folders[number]}.", "Put it there.")


def _possible_folders(place: _Place) -> Iterator[Path]:
    if place.path.name == ANNOTATIONS:
        yield place.path.parent
    parts = [part for part in (place.part, place.split, "val" if place.split == "valid" else None) if part]
    for part in parts:
        yield place.root / part
        yield place.root / part / "images"
        for folder in _PICTURE_FOLDERS:
            yield place.root / folder / part
    yield from (place.root / folder for folder in _PICTURE_FOLDERS)
    yield place.path.parent
    yield place.root


def _load(path: Path) -> Entry:
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {error}.", "Export the file again.") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: not a COCO document.", f"It must hold {', '.join(LISTS)}.")
    for key in LISTS:
        if not is_list_of_objects(document.get(key)):
            raise DataError(f"{path}: {key!r} is missing or not a list of objects.", "Export the file again.")
    return document


def _require_pictures(documents: Documents, notes: list[str]) -> None:
    empty = [place.path for place, document in documents if not document["images"]]
    if len(empty) == len(documents):
        raise DataError(f"{empty[0]}: lists no picture.", "Put pictures into it.")
    notes += [f"{path}: lists no picture; the split was left out." for path in empty]


def _collect(entries: list[Entry], categories: dict[int, Entry], path: Path, notes: list[str]) -> None:
    """Add a document's categories to those of the other documents."""
    own: set[int] = set()
    for entry in entries:
        number = _integer(entry, "id", f"{path}: category {entry.get('name')!r}")
        known = categories.setdefault(number, entry)
        if number in own:
            raise DataError(f"{path}: category id {number} is used twice.", "Keep one.")
        if not isinstance(entry.get("name"), str) or known["name"] != entry["name"]:
            reason = f"in another split it is {known['name']!r}" if known is not entry else "a name must be text"
            raise DataError(
                f"{path}: category {number} is {entry.get('name')!r}; {reason}.", "Export all splits again."
            )
        if known != entry:
            notes.append(f"{path}: category {number} differs from the first split's; the first split's was kept.")
        own.add(number)


def _require_own_names(categories: Mapping[int, Entry], used: Set[int], documents: Documents) -> None:
    """Refuse two classes of one name; an unused parent, which is not a class, may have its child's name."""
    paths = {
        int(entry["id"]): place.path for place, document in reversed(documents) for entry in document["categories"]
    }
    parents = parent_ids(CategoryEntry(number, one["name"], _parent(one)) for number, one in categories.items())
    first: dict[str, int] = {}
    for number, entry in categories.items():
        if number in parents - used:
            continue
        other = first.setdefault(entry["name"], number)
        if other != number:
            raise DataError(
                f"{paths[number]}: category {number} is {entry['name']!r}, and so is {other} in {paths[other]}.",
                "Give the class one id in all documents, or rename one.",
            )


def _parent(entry: Entry) -> str | None:
    parent = entry.get("supercategory")
    return parent if isinstance(parent, str) else None


def _pictures(place: _Place, document: Entry, categories: Mapping[int, Entry], notes: list[str]) -> list[SourcePicture]:
    images: dict[int, Entry] = {}
    for entry in document["images"]:
        number = _integer(entry, "id", f"{place.path}: picture {entry.get('file_name')!r}")
        if number in images:
            raise DataError(f"{place.path}: picture id {number} is used twice.", "Give each picture its own id.")
        if not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
            raise DataError(f"{place.path}: picture id {number} has no file_name.", "Export the file again.")
        images[number] = entry
    objects: dict[int, list[SourceObject]] = {number: [] for number in images}
    for entry in document["annotations"]:
        picture, item = _object(entry, images, categories, place.path)
        objects[picture].append(item)
    paths = {number: Path(entry["file_name"]) for number, entry in images.items()}
    usable = set(decodable(list(paths.values()), place.path, notes))
    kept = [number for number, path in paths.items() if path in usable]
    folder = _picture_folder(place, [images[number]["file_name"] for number in kept])
    pictures = [_picture(number, images[number], folder, place, objects[number]) for number in kept]
    return _joined(pictures, place, notes)


def _joined(pictures: Sequence[SourcePicture], place: _Place, notes: list[str]) -> list[SourcePicture]:
    """Each file once: two pictures of one file would have half of the objects each."""
    by_path: dict[Path, SourcePicture] = {}
    for picture in pictures:
        known = by_path.setdefault(picture.path, picture)
        if known is not picture:
            more = tuple(item for item in picture.objects if item not in known.objects)
            by_path[picture.path] = replace(known, objects=known.objects + more)
    repeated = [picture.name for picture in pictures if by_path[picture.path].id != picture.id]
    if repeated:
        notes.append(
            f"{place.path}: pictures listed again: {len(repeated)}, the first {repeated[0]!r}. "
            "The objects of all entries were joined, equal ones taken once."
        )
    return list(by_path.values())


def _picture(number: int, entry: Entry, folder: Path, place: _Place, objects: list[SourceObject]) -> SourcePicture:
    path = folder / entry["file_name"]
    size = measure(path)
    stated = (entry.get("width"), entry.get("height"))
    if None not in stated:
        require_size(path, size, stated, f"{place.path}: picture id {number}")
    extra = {key: value for key, value in entry.items() if key not in _IMAGE_KEYS}
    name = path.relative_to(folder).as_posix()
    return SourcePicture(path, name, *size, tuple(objects), place.split or "train", number, extra)


def _object(
    entry: Entry, images: Mapping[int, Entry], categories: Mapping[int, Entry], path: Path
) -> tuple[int, SourceObject]:
    """The id of an annotation's picture, and the object."""
    where = f"{path}: annotation id {entry.get('id')!r}"
    picture, category = (_integer(entry, key, where) for key in ("image_id", "category_id"))
    if picture not in images:
        raise DataError(f"{where}: picture id {picture} does not exist.", "Remove it, or list the picture.")
    if category not in categories:
        raise DataError(f"{where}: category id {category} does not exist.", f"Known ids: {sorted(categories)}.")
    crowd, box, area = entry.get("iscrowd"), entry.get("bbox"), entry.get("area")
    if crowd not in (0, 1, None):
        raise DataError(f"{where}: iscrowd = {crowd!r} is neither 0 nor 1.", "Export the file again.")
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(side) for side in box):
        raise DataError(f"{where}: bbox = {box!r} is not four finite numbers.", "Write [x, y, width, height].")
    if area is not None and not is_number(area):
        raise DataError(f"{where}: area = {area!r} is not a number.", "Export the file again.")
    extra = {key: value for key, value in entry.items() if key not in _ANNOTATION_KEYS}
    x, y, w, h = box
    mask = entry.get("segmentation") or []
    return picture, SourceObject(category, (x, y, w, h), mask, int(crowd or 0), area, extra)


def _integer(entry: Mapping[str, Any], key: str, where: str) -> int:
    number = whole(entry.get(key))
    if number is None:
        raise DataError(f"{where}: {key} = {entry.get(key)!r} is not a whole number.", "Export the file again.")
    return number
