"""Reads a LabelMe data set: a JSON file beside each picture, with the shapes drawn on it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from boxwright.data.documents import is_list_of_objects, is_number, name_of, side_of
from boxwright.data.file_names import split_of
from boxwright.data.text import json_of
from boxwright.runtime import DataError

from .files import files_below, is_file, measure, read_text
from .own_pictures import OwnPictures
from .sizes import Stated, require_sizes
from .source import Source, SourceObject, SourcePicture, outlined, plain_categories

__all__ = ["is_labelme", "read_labelme"]

_WITHOUT_BOX = ("point", "points", "line", "linestrip", "lines")
_OUTLINES = ("polygon", "rotation", "oriented_rectangle", "quadrilateral")

Box = tuple[float, float, float, float]
Points = Sequence[Sequence[float]]


@dataclass(frozen=True)
class _Shape:
    """One shape with a box.

    Attributes:
        label: name of its class.
        group: shapes of one label with the same group are one object; None if it is alone.
        box: x, y, width, height in pixels.
        outline: x1, y1, x2, y2, ... in pixels; empty for a shape without corners.
    """

    label: str
    group: float | str | None
    box: Box
    outline: tuple[float, ...]


def is_labelme(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON document is LabelMe's: shapes on one picture."""
    return isinstance(document, dict) and isinstance(document.get("shapes"), list) and "imagePath" in document


def read_labelme(source: Path) -> Source:
    """Read a data set; classes are sorted by name, folders named after splits are splits.

    Polygons, rectangles, circles and masks have boxes; points and lines have none and are left out.

    Args:
        source: a folder with JSON files beside their pictures, also in sub-folders; or one such file.

    Raises:
        DataError: no such file, a broken one, a shape that cannot be used, a missing picture; file and shape are named.
    """
    notes: list[str] = []
    root = source.parent if is_file(source) else source
    files = _files(source, notes)
    left_out: Counter[str] = Counter()
    shapes = {path: _shapes(document["shapes"], path, left_out) for path, document in files}
    own = OwnPictures(root)
    pictures = [(path, document, _picture_of(path, document, own, root)) for path, document in files]
    if left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        notes.append(f"Shapes left out because they have no box: {kinds}.")
    usable = own.readable(notes)
    names = sorted({shape.label for found in shapes.values() for shape in found})
    categories = plain_categories(names, root)
    ids = {name: number for number, name in enumerate(names, start=1)}
    objects = {path: _objects(found, ids, notes) for path, found in shapes.items()}
    pictures = [row for row in pictures if row[2] in usable]
    read = tuple(_picture(path, picture, root, objects[path]) for path, _, picture in pictures)
    documents = [(path, document) for path, document, _ in pictures]
    sizes = [one for row, picture in zip(documents, read, strict=True) for one in _stated(*row, picture)]
    require_sizes(sizes, root, notes)
    return Source(read, categories, notes=tuple(dict.fromkeys(notes)))


def _files(source: Path, notes: list[str]) -> list[tuple[Path, dict[str, Any]]]:
    """LabelMe's files in the folder, with what is in them."""
    paths = [source] if is_file(source) else files_below(source)
    paths = [path for path in paths if path == source or path.suffix.lower() == ".json"]
    documents = [(path, _load(path)) for path in paths]
    ours = [(path, document) for path, document in documents if is_labelme(document)]
    if not ours:
        problem = "no JSON file" if not paths else f"none of {len(paths)} JSON files holds shapes and an imagePath"
        raise DataError(f"{source}: {problem}.", "Give the folder in which LabelMe saved them.")
    others = [path for path, document in documents if not is_labelme(document)]
    if others:
        notes.append(f"{source}: JSON files that are not LabelMe's: {len(others)}, the first {others[0].name!r}.")
    return ours


def _load(path: Path) -> Any:
    try:
        return json_of(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {error}.", "Save it again.") from error


def _picture_of(path: Path, document: Mapping[str, Any], own: OwnPictures, root: Path) -> Path:
    written = document["imagePath"] if isinstance(document["imagePath"], str) else None
    hint = "The JSON holds a copy of it (imageData): save that as a file." if document.get("imageData") else ""
    parent = path.parent.relative_to(root)
    within = None if written is None else (parent / written).as_posix() if own.holds(parent, written) else written
    return own.of(path, path.relative_to(root).with_suffix("").as_posix(), within, hint)


def _shapes(entries: Sequence[Any], path: Path, left_out: Counter[str]) -> list[_Shape]:
    if not is_list_of_objects(entries):
        raise DataError(f"{path}: shapes is not a list of objects.", "Save it again.")
    found = (_shape(entry, f"{path}, shape {number}", left_out) for number, entry in enumerate(entries, start=1))
    return [shape for shape in found if shape is not None]


def _shape(entry: Mapping[str, Any], where: str, left_out: Counter[str]) -> _Shape | None:
    """The shape; None if its kind has no box: then it is counted."""
    kind = str(entry.get("shape_type") or "polygon")
    if kind in _WITHOUT_BOX:
        left_out[kind] += 1
        return None
    label = name_of(entry.get("label"))
    if label is None or not label.strip():
        raise DataError(f"{where}: has no label.", "Write the name of its class.")
    where = f"{where} ({label})"
    points = entry.get("points")
    if not _are_points(points):
        raise DataError(f"{where}: points is not a list of [x, y].", "Draw it again.")
    if kind not in _BOXES and kind not in _OUTLINES:
        raise DataError(f"{where}: shape_type {kind!r} is unknown.", "Draw it as a polygon or rectangle.")
    own = entry.get("group_id")
    if not (own is None or isinstance(own, str) or is_number(own)):
        raise DataError(f"{where}: group_id {own!r} is neither a number nor a text.", "Give its shapes one number.")
    if kind in _BOXES and len(points) == 2:
        return _Shape(label, own, _BOXES[kind](points), ())
    if len(points) < 3:
        raise DataError(f"{where}: a {kind} of {len(points)} points.", "Draw it again.")
    outline = tuple(side for point in points for side in point)
    return _Shape(label, own, outlined(0, [outline]).bbox, outline)


def _are_points(value: object) -> TypeGuard[Points]:
    return isinstance(value, list) and all(
        isinstance(point, list) and len(point) == 2 and all(is_number(side) for side in point) for point in value
    )


def _between(points: Points) -> Box:
    (x1, y1), (x2, y2) = points
    return min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)


def _around(points: Points) -> Box:
    """A circle is its centre and a point on it."""
    (x, y), edge = points
    radius = math.hypot(edge[0] - x, edge[1] - y)
    return x - radius, y - radius, 2 * radius, 2 * radius


def _of_mask(points: Points) -> Box:
    """A mask is the picture of a mask between two pixels, both of which belong to it."""
    x, y, w, h = _between(points)
    return x, y, w + 1, h + 1


_BOXES: Mapping[str, Callable[[Points], Box]] = {"rectangle": _between, "circle": _around, "mask": _of_mask}


def _objects(shapes: Sequence[_Shape], ids: Mapping[str, int], notes: list[str]) -> tuple[SourceObject, ...]:
    """One object for each shape, and for the polygons of each group of one label, as LabelMe's own export has it."""
    parts: dict[object, list[_Shape]] = defaultdict(list)
    for number, shape in enumerate(shapes):
        grouped = shape.group is not None and bool(shape.outline)
        parts[(shape.label, shape.group) if grouped else number].append(shape)
    if len(parts) < len(shapes):
        notes.append("Polygons of one label and group_id were joined to one object.")
    return tuple(_object(part, ids) for part in parts.values())


def _object(part: Sequence[_Shape], ids: Mapping[str, int]) -> SourceObject:
    category = ids[part[0].label]
    if part[0].outline:
        return outlined(category, [shape.outline for shape in part])
    return SourceObject(category, part[0].box)


def _stated(path: Path, document: Mapping[str, Any], picture: SourcePicture) -> Iterator[Stated]:
    """The size that a file states; nothing if it states none."""
    width, height = side_of(document.get("imageWidth")), side_of(document.get("imageHeight"))
    if width is not None and height is not None:
        own, boxes = (picture.width, picture.height), [item.bbox for item in picture.objects]
        yield Stated(picture.path, picture.name, own, (width, height), boxes, str(path))


def _picture(path: Path, picture: Path, root: Path, objects: tuple[SourceObject, ...]) -> SourcePicture:
    split = next((split for part in path.relative_to(root).parts[:-1] if (split := split_of(part))), "train")
    return SourcePicture(picture, picture.relative_to(root).as_posix(), *measure(picture), objects, split)
