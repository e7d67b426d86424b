"""Reads COCO documents in any layout, with all that they hold; what a tool wrote in another way is made COCO's."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from boxwright.data.documents import LISTS, Box, Entry, is_number, is_odd_id, number_of, side_of
from boxwright.data.file_names import FolderNames, is_file_name, is_picture_name, names_hidden
from boxwright.data.repair import can_be_turned, turn_box, turn_polygons
from boxwright.runtime import DataError
from boxwright.runtime.picture import SIDEWAYS

from .coco_boxes import (
    BoxNotes,
    box_of,
    box_sentences,
    fits_as,
    numbers_of,
    require_mask_size,
    require_reading,
)
from .coco_classes import Classes, Key, by_number, key_of, linked, odd_ids
from .coco_files import Place, find_documents, find_pictures, left_out
from .files import decodable, decodes, measure
from .sizes import Stated, exif_orientation, require_sizes, swapped_by_mistake
from .source import Source, SourceObject, SourcePicture

__all__ = ["read_coco"]

_IMAGE_KEYS = ("id", "file_name", "width", "height")
_ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd", "area")

_FEW_WRONG = 0.05  # share of boxes that may be wrong for themselves
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Row:
    """One annotation.

    Attributes:
        entry: as written.
        picture: key of its picture.
        category: id in the joined classes.
        numbers: of its box, as written; None if its outline is to give the box.
        where: for errors.
    """

    entry: Entry
    picture: Key
    category: int
    numbers: Box | None
    where: str


def read_coco(source: Path, boxes: str | None = None, pictures: Path | None = None) -> Source:
    """Read a data set; whole picture and category ids, and keys unknown to boxwright, stay as they are.

    Documents without pictures, test documents without annotations, and pictures in formats that boxwright does not
    decode, are left out. A file that a document lists several times is one picture, with the objects of all its
    entries. Classes of several documents are joined by name.

    Args:
        source: one JSON file, or a folder that holds documents at any depth.
        boxes: what the four numbers of a box are, a key of ``READINGS``; None for x, y, width, height, unless they
            cannot be that.
        pictures: folder of the pictures; None looks for them around the documents.

    Raises:
        DataError: no document, a broken one, several whose splits cannot be told apart, a missing picture, an unknown
            id, a box that is not four numbers or means something else, sizes that differ, two classes of one name;
            file and id are named.
    """
    notes: list[str] = []
    places = find_documents(source, notes)
    if not any(place.document["images"] for place in places):
        raise DataError(f"{places[0].path}: lists no picture.", "Put pictures into it.")
    places_and_left = places
    empty = [sentence for place in places if (sentence := left_out(place))]
    places = [place for place in places if not left_out(place)]
    if not places:
        raise DataError(" ".join(empty), "Give a document with annotations.")
    notes += empty
    notes += [
        f"{place.path}: lists no annotation; its {len(place.document['images'])} pictures count as without objects."
        for place in places
        if not place.document["annotations"]
    ]
    classes = Classes()
    found: list[SourcePicture] = []
    for place in places:
        ids = classes.join(place.path, place.document, notes)
        read = _Reader(place, ids, notes).pictures(boxes, pictures)
        if not read and place.split != "test" and len(places) > 1:
            raise DataError(
                f"{place.path}: none of its pictures is left. {notes[-1]}", "Give pictures that can be read."
            )
        found += read
    notes += _unlisted(source, places_and_left, {picture.path for picture in found})
    others = {
        place.split or "train": {key: value for key, value in place.document.items() if key not in LISTS}
        for place in places
    }
    return Source(tuple(found), tuple(classes.entries.values()), others, tuple(notes))


class _Reader:
    """Reads the pictures of one document."""

    def __init__(self, place: Place, categories: Mapping[Key, int], notes: list[str]) -> None:
        self._place = place
        self._path = place.path
        self._categories = categories
        self._notes = notes
        self._images = self._listed()
        self._picture_numbers = by_number(self._images)
        self._category_numbers = by_number(categories)
        odd = odd_ids(place.document)
        self._numbered = any(is_odd_id(entry["id"]) for entry in self._images.values())
        if odd:
            what = "text" if isinstance(odd[0], str) else "larger than 64 bits hold exactly"
            notes.append(f"{self._path}: {len(odd)} ids are {what}, as {odd[0]!r}; they became whole numbers.")

    def pictures(self, boxes: str | None, folder: Path | None) -> list[SourcePicture]:
        """All pictures that can be read; see ``read_coco``."""
        rows = [self._row(entry) for entry in self._place.document["annotations"]]
        paths = self._paths(folder)
        sizes = {key: measure(path) for key, (path, _) in paths.items()}
        rows = [row for row in rows if row.picture in paths]
        turns = self._turns(rows, paths, sizes)
        drawn = {key: size[::-1] if key in turns else size for key, size in sizes.items()}
        reading = self._reading(boxes, rows, drawn)
        made = BoxNotes()
        objects: dict[Key, list[SourceObject]] = {key: [] for key in paths}
        for row in rows:
            objects[row.picture].append(_object(row, reading, drawn[row.picture], made))
        for key, turn in turns.items():
            objects[key] = [_turned(one, drawn[key], turn) for one in objects[key]]
        upright = {key: size for key, size in sizes.items() if key not in turns}
        self._require_sizes(paths, upright, objects)
        self._notes += box_sentences(self._path, made, reading)
        found = [self._picture(key, *paths[key], sizes[key], objects[key]) for key in paths]
        return _joined(found, self._path, self._notes)

    def _turns(
        self, rows: Sequence[_Row], paths: Mapping[Key, tuple[Path, str]], sizes: Mapping[Key, Size]
    ) -> dict[Key, int]:
        """EXIF orientations of pictures whose boxes were drawn on them as stored, on their side.

        The document gives the stored size; or none, and the boxes of all such pictures fit only the stored ones.
        """
        known = {key: _known_size(self._images[key]) for key in paths}
        odd = [key for key in paths if known[key] in (None, sizes[key][::-1]) and sizes[key][0] != sizes[key][1]]
        sideways = {key: turn for key in odd if (turn := exif_orientation(paths[key][0])) in SIDEWAYS}
        unsized = {key for key in sideways if known[key] is None}
        boxes = [(row.numbers, sizes[row.picture]) for row in rows if row.picture in unsized and row.numbers]
        stored = swapped_by_mistake([(box, size[::-1]) for box, size in boxes])
        turns = {key: turn for key, turn in sideways.items() if key not in unsized or stored}
        held = {row.picture for row in rows if row.picture in turns and not _fits_as_stored(row, sizes[row.picture])}
        turns = {key: turn for key, turn in turns.items() if key not in held}
        if turns:
            self._notes.append(
                f"{self._path}: the boxes of {len(turns)} pictures were drawn on them as stored, as of "
                f"{paths[next(iter(turns))][1]!r}; they were turned upright, as the EXIF tag turns the pictures."
            )
        return turns

    def _reading(self, asked: str | None, rows: Sequence[_Row], sizes: Mapping[Key, Size]) -> str:
        """How the boxes are read: as asked for, unless that cannot be and x, y, width, height can.

        Raises:
            DataError: the boxes do not fit as they are asked to be read, or as x, y, width, height.
        """
        certain = [row for row in rows if _known_size(self._images[row.picture]) in (None, sizes[row.picture])]
        if asked is None:
            numbers = [(row.entry, row.numbers) for row in certain]
            require_reading(self._path, numbers, [sizes[row.picture] for row in certain])
        if asked in (None, "xywh"):
            return "xywh"
        boxes = [(row, row.numbers, sizes[row.picture]) for row in certain if row.numbers is not None]
        wrong = [row for row, box, size in boxes if not fits_as(asked, box, size)]
        if 2 * len(wrong) <= len(boxes) and len(wrong) <= _FEW_WRONG * len(boxes):
            return str(asked)
        if all(fits_as("xywh", box, size) for _, box, size in boxes):
            self._notes.append(
                f"{self._path}: the boxes fit as x, y, width, height and not as {asked}; read as the former."
            )
            return "xywh"
        raise DataError(
            f"{wrong[0].where}: {len(wrong)} of {len(boxes)} boxes do not lie in their pictures as {asked}.",
            "Give another --boxes, or correct them.",
        )

    def _listed(self) -> dict[Key, Entry]:
        images: dict[Key, Entry] = {}
        for entry in self._place.document["images"]:
            key = key_of(entry, "id", f"{self._path}: picture {entry.get('file_name')!r}")
            if key in images:
                raise DataError(f"{self._path}: picture id {key!r} is used twice.", "Give each picture its own id.")
            name = entry.get("file_name")
            if not is_file_name(name):
                what = "has no file_name" if not name else f"file_name = {name!r} is not a file name"
                raise DataError(f"{self._path}: picture id {key!r}: {what}.", "Export the file again.")
            images[key] = entry
        return images

    def _row(self, entry: Entry) -> _Row:
        where = f"{self._path}: annotation id {entry.get('id')!r}"
        picture = linked(key_of(entry, "image_id", where), self._images, self._picture_numbers)
        category = linked(key_of(entry, "category_id", where), self._categories, self._category_numbers)
        if picture not in self._images:
            raise DataError(f"{where}: picture id {picture!r} does not exist.", "Remove it, or list the picture.")
        if category not in self._categories:
            known = sorted(self._categories, key=lambda key: (isinstance(key, str), key))
            raise DataError(f"{where}: category id {category!r} does not exist.", f"Known ids: {known}.")
        crowd, area = entry.get("iscrowd"), entry.get("area")
        if crowd not in (0, 1, "0", "1", None):
            raise DataError(f"{where}: iscrowd = {crowd!r} is neither 0 nor 1.", "Export the file again.")
        if area is not None and not is_number(number_of(area)) and not _is_nan(area):
            raise DataError(f"{where}: area = {area!r} is not a number.", "Export the file again.")
        return _Row(entry, picture, self._categories[category], numbers_of(entry, where), where)

    def _paths(self, folder: Path | None) -> dict[Key, tuple[Path, str]]:
        """Of the pictures that can be decoded: the file, and its name relative to the folder of all."""
        names = {key: entry["file_name"] for key, entry in self._images.items()}
        hidden = [name for name in names.values() if names_hidden(name)]
        if hidden:
            self._notes.append(f"{self._path}: hidden files were left out: {len(hidden)}, the first {hidden[0]!r}.")
        names = {key: name for key, name in names.items() if name not in hidden}
        odd = {name for name in names.values() if not decodes(Path(name))}
        odd -= self._converted(odd, folder)
        decodable([Path(name) for name in names.values() if name in odd], self._path, self._notes)
        names = {key: name for key, name in names.items() if name not in odd}
        if not names:
            return {}
        found, read = find_pictures(self._place, list(names.values()), folder, self._notes)
        usable = set(decodable([found / read[name] for name in names.values()], self._path, self._notes))
        return {key: (found / read[name], read[name]) for key, name in names.items() if found / read[name] in usable}

    def _converted(self, names: Collection[str], folder: Path | None) -> set[str]:
        """Names of pictures in other formats that are here in one that is read."""
        here = FolderNames(folder or self._place.root)
        found = {name: here.find(name).name for name in names}
        return {name for name, file in found.items() if file is not None and decodes(Path(file))}

    def _require_sizes(
        self,
        paths: Mapping[Key, tuple[Path, str]],
        sizes: Mapping[Key, Size],
        objects: Mapping[Key, Sequence[SourceObject]],
    ) -> None:
        """Refuse sizes that are not the pictures'; see ``require_sizes``."""
        stated = [
            Stated(
                *paths[key],
                size,
                _stated(self._images[key], size),
                [one.bbox for one in objects[key]],
                f"{self._path}: picture id {key!r}",
            )
            for key, size in sizes.items()
        ]
        require_sizes(stated, self._path, self._notes)

    def _picture(self, key: Key, path: Path, name: str, size: Size, objects: Sequence[SourceObject]) -> SourcePicture:
        extra = {one: value for one, value in self._images[key].items() if one not in _IMAGE_KEYS}
        number = None if self._numbered or isinstance(key, str) else key
        return SourcePicture(path, name, *size, tuple(objects), self._place.split or "train", number, extra)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _stated(entry: Entry, size: Size) -> Size:
    """The size that a document gives; a side that it does not tell is the picture's own."""
    width, height = side_of(entry.get("width")), side_of(entry.get("height"))
    return width or size[0], height or size[1]


def _known_size(entry: Entry) -> Size | None:
    """The size that a document gives; None unless it gives both sides."""
    width, height = side_of(entry.get("width")), side_of(entry.get("height"))
    return None if width is None or height is None else (width, height)


def _fits_as_stored(row: _Row, upright: Size) -> bool:
    """Whether an annotation can be turned, and its box lies in the picture as stored."""
    inside = row.numbers is None or fits_as("xywh", row.numbers, upright[::-1])
    return inside and can_be_turned(row.entry)


def _turned(one: SourceObject, stored: Size, turn: int) -> SourceObject:
    mask = turn_polygons(one.segmentation, stored, turn) if one.segmentation else one.segmentation
    return replace(one, bbox=turn_box(one.bbox, stored, turn), segmentation=mask)


def _unlisted(source: Path, places: Sequence[Place], used: Collection[Path]) -> list[str]:
    """A sentence about pictures that no document lists."""
    if not source.is_dir():
        return []
    written = [entry.get("file_name") for place in places for entry in place.document["images"]]
    listed = {PureWindowsPath(name).name for name in written if isinstance(name, str)}
    files = [name for name in FolderNames(source).files if is_picture_name(name) and source / name not in used]
    left = [name for name in files if posixpath.basename(name) not in listed]
    return (
        [f"{source}: pictures that no document lists were left out: {len(left)}, the first {left[0]!r}."]
        if left
        else []
    )


def _object(row: _Row, reading: str, size: Size, made: BoxNotes) -> SourceObject:
    if row.numbers is None:
        require_mask_size(row.entry, size, row.where)
    box, entry = box_of(row.entry, row.numbers, reading, size, made)
    extra = {key: value for key, value in entry.items() if key not in _ANNOTATION_KEYS}
    area = number_of(entry.get("area"))
    mask = entry.get("segmentation") or []
    return SourceObject(
        row.category, box, mask, int(entry.get("iscrowd") or 0), area if is_number(area) else None, extra
    )


def _joined(pictures: Sequence[SourcePicture], path: Path, notes: list[str]) -> list[SourcePicture]:
    """Each file once: two pictures of one file would have half of the objects each."""
    by_path: dict[Path, SourcePicture] = {}
    repeated: list[str] = []
    for picture in pictures:
        known = by_path.setdefault(picture.path, picture)
        if known is not picture:
            repeated.append(picture.name)
            more = tuple(item for item in picture.objects if item not in known.objects)
            by_path[picture.path] = replace(known, objects=known.objects + more)
    if repeated:
        notes.append(
            f"{path}: pictures listed again: {len(repeated)}, the first {repeated[0]!r}. "
            "The objects of all entries were joined, equal ones taken once."
        )
    return list(by_path.values())
