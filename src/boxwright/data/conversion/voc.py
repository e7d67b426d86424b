"""Reads a Pascal VOC data set: the devkit's layout, or XML files beside the pictures."""

from __future__ import annotations

import math
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element

from boxwright.data.file_names import FolderNames, is_file_name, is_hidden, names_a_picture, split_of
from boxwright.runtime import DataError

from .files import (
    files_below,
    guess_note,
    in_folder,
    is_file,
    is_folder,
    measure,
    read_bytes,
    read_text,
)
from .own_pictures import OwnPictures
from .sizes import Stated, require_sizes
from .source import Source, SourceObject, SourcePicture, outlined, plain_categories
from .xml_text import parse_xml

__all__ = ["VocFile", "VocObject", "VocOrigin", "read_voc", "read_voc_file"]

VocOrigin = Literal["auto", 0, 1]
"""Where a data set counts its pixels from: 1, maxima inclusive, or 0, maxima being edges."""

_PICTURE_FOLDERS = ("jpegimages", "images")
_ANNOTATION_FOLDERS = ("annotations",)
_LISTS = {
    "train": ("train", "train_list"),  # the second as PaddleX calls it
    "valid": ("val", "valid", "validation", "val_list"),
    "test": ("test", "test_list"),
}
_LIST_FOLDERS = ("ImageSets/Main", "ImageSets", "ImageSets/Segmentation", "ImageSets/Layout", "")
_FLAGS = ("-1", "0", "1")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_TURNED = ("cx", "cy", "w", "h", "angle")
_KEPT = ("pose", "truncated", "occluded", "difficult")
_KNOWN = {"name", "bndbox", *_KEPT}
_SINGLE = ("name", "bndbox", "polygon", "robndbox")
_WHOLE = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_FRACTION = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d{1,2})?", re.ASCII)
_PAIR = re.compile(r"(?P<picture>.+)\s(?P<annotation>\S.*\.xml)", re.IGNORECASE)
_MOST_NAMED = 3
_FULL_TURN = 2 * math.pi
_LEAST_ANGLE = 0.5  # degrees
_MOST = 0.95
_ROUNDING = 0.5  # of a corner that is written as a whole number

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class VocObject:
    """One object as written in the file.

    Attributes:
        name: of its class.
        corners: xmin, ymin, xmax, ymax as written, pixels; int if written without a decimal point; None if the object
            has no bndbox.
        extra: pose, truncated, occluded, difficult, as far as given.
        ignored: tags of the object that are not read.
        outline: x1, y1, x2, y2, ... of its polygon as written, pixels from the picture's edge.
        turned: centre x, centre y, width, height in pixels and the angle in radians of its robndbox; beside corners,
            what these are when turned by the attribute that CVAT writes.
    """

    name: str
    corners: Box | None
    extra: dict[str, Any]
    ignored: frozenset[str]
    outline: tuple[float, ...] | None = None
    turned: tuple[float, float, float, float, float] | None = None


@dataclass(frozen=True)
class VocFile:
    """One annotation file.

    Attributes:
        path: of the file.
        filename: of the picture, as written; None if it is not given.
        size: width and height as written, pixels; None if not given or 0.
        objects: in their order.
    """

    path: Path
    filename: str | None
    size: tuple[float, float] | None
    objects: tuple[VocObject, ...]


@dataclass(frozen=True)
class _Part:
    """Annotation files, and the folder of their pictures.

    Attributes:
        annotations: folder of the annotation files.
        pictures: folder of the pictures.
        files: split and path, in order.
    """

    annotations: Path
    pictures: Path
    files: list[tuple[str, Path]]


def read_voc(source: Path, origin: VocOrigin = "auto") -> Source:
    """Read a data set; classes are sorted by name.

    The devkit counts pixels from 1 and its maxima belong to the box: x = xmin - 1,
    w = xmax - xmin + 1. Other tools write edges counted from 0: x = xmin, w = xmax - xmin.
    An object without bndbox gets the box around its polygon or its turned box, both counted from the picture's edge.

    Args:
        source: a folder with ``Annotations/``, with ``train/``, ``valid/``, ``test/``, or with XML files; also in
            sub-folders.
        origin: ``auto`` takes 0 if an xmin or ymin in the data set is below 1, or if the boxes are the bounds of
            their polygons, else 1.

    Raises:
        DataError: no such layout, a malformed annotation file, a missing or unusable picture.
    """
    notes: list[str] = []
    annotated = [one for part in _find(source, notes) for one in _with_pictures(part, notes)]
    _refuse_shares(file for _, file, _, _ in annotated)
    objects = [item for _, file, _, _ in annotated for item in file.objects]
    first = _origin(objects, origin, notes)
    notes += _object_notes(objects)
    names = sorted({item.name for item in objects})
    ids = {name: number for number, name in enumerate(names, start=1)}
    categories = plain_categories(names, source)
    pictures = tuple(_picture(file, picture, name, split, ids, first) for split, file, picture, name in annotated)
    files = [file for _, file, _, _ in annotated]
    require_sizes([one for pair in zip(files, pictures, strict=True) for one in _stated(*pair)], source, notes)
    return Source(pictures, categories, notes=tuple(notes))


def _refuse_shares(files: Iterable[VocFile]) -> None:
    """Raise if a file's corners are shares of the picture's sides, not pixels."""
    for file in files:
        boxes = [item.corners for item in file.objects if item.corners is not None]
        if boxes and all(0 < max(box) <= 1 for box in boxes) and any(number % 1 for box in boxes for number in box):
            raise DataError(f"{file.path}: no corner is above 1, as of shares of the sides.", "Write pixels.")


def _origin(objects: Sequence[VocObject], origin: VocOrigin, notes: list[str]) -> int:
    boxes = [item.corners for item in objects if item.corners is not None]
    if origin != "auto":
        return origin
    if not boxes:
        return 0
    below = sum(min(corners[:2]) < 1 for corners in boxes)
    if below:
        notes.append(f"Boxes were read as edges counted from 0: {below} of {len(boxes)} have an xmin or ymin below 1.")
        return 0
    both = [item for item in objects if item.corners is not None and item.outline is not None]
    if both and sum(map(_bounds_its_outline, both)) >= _MOST * len(both):
        notes.append(
            f"Boxes were read as edges counted from 0: {len(both)} of {len(boxes)} have a polygon, and these are its "
            "bounds."
        )
        return 0
    notes.append(
        "Boxes were read as the devkit writes them, counted from 1 with inclusive maxima: none of "
        f"{len(boxes)} has an xmin or ymin below 1. If a tool wrote edges counted from 0, use --voc-origin 0."
    )
    return 1


def _bounds_its_outline(item: VocObject) -> bool:
    assert item.corners is not None
    assert item.outline is not None
    xs, ys = item.outline[::2], item.outline[1::2]
    bounds = (min(xs), min(ys), max(xs), max(ys))
    return all(abs(own - bound) <= _ROUNDING for own, bound in zip(item.corners, bounds, strict=True))


def _object_notes(objects: Sequence[VocObject]) -> Iterator[str]:
    outlined_ones = sum(item.corners is None and item.outline is not None for item in objects)
    if outlined_ones:
        yield f"Objects without bndbox, which got the box around their polygon: {outlined_ones}."
    turned = [item.turned for item in objects if item.corners is None and item.outline is None and item.turned]
    if turned:
        yield (
            f"Objects without bndbox, which got the upright box around their turned box (robndbox): {len(turned)}; "
            "the angle was left out."
        )
    beside = [item.turned for item in objects if item.corners is not None and item.turned is not None]
    if beside:
        yield (
            f"Boxes that are turned (attribute rotation): {len(beside)}, the first by {math.degrees(beside[0][4]):g} "
            "degrees; the upright boxes around them were written, and the angle was left out."
        )
    ignored = sorted({tag for item in objects for tag in item.ignored})
    if ignored:
        yield f"Left out of the objects: {', '.join(ignored)}."


def _find(source: Path, notes: list[str]) -> list[_Part]:
    root = _devkit_root(source)
    if root is not None:
        return [_in_devkit(root, notes)]
    folders = [(split, folder) for folder in _folders(source) if (split := split_of(folder.name)) and _has_xml(folder)]
    if not folders and _has_xml(source):
        folders = [("train", source)]
    if not folders:
        raise DataError(
            f"{source}: no Pascal VOC data set.",
            "Give a folder with Annotations/ and JPEGImages/, or one whose train/ and valid/ hold XML files.",
        )
    return [_part_of_split(split, folder) for split, folder in folders]


def _part_of_split(split: str, folder: Path) -> _Part:
    annotations = _first_folder(folder, _ANNOTATION_FOLDERS) or folder
    files = [(split, path) for path in _xml_files(annotations)]
    return _Part(annotations, _pictures_for(folder, annotations), files)


def _folders(source: Path) -> list[Path]:
    return [path for path in in_folder(source) if is_folder(path) and not is_hidden(path.name)]


def _xml_files(folder: Path) -> list[Path]:
    return [path for path in files_below(folder) if path.suffix.lower() == ".xml"]


def _has_xml(folder: Path) -> bool:
    return bool(_xml_files(folder))


def _devkit_root(source: Path) -> Path | None:
    """The folder that holds the annotations: this one, or the only one in it (``VOCdevkit/VOC2007``)."""
    if _first_folder(source, _ANNOTATION_FOLDERS):
        return source
    folders = [folder for folder in _folders(source) if _first_folder(folder, _ANNOTATION_FOLDERS)]
    inner = [folder for folder in folders if split_of(folder.name) is None]
    if len(inner) > 1:
        names = ", ".join(folder.name for folder in inner)
        raise DataError(f"{source}: holds several data sets: {names}.", "Give one of them.")
    return inner[0] if inner and len(inner) == len(folders) else None


def _first_folder(root: Path, names: Sequence[str]) -> Path | None:
    """The folder in another that has the first of these names, in whatever letter case."""
    folders = {folder.name.casefold(): folder for folder in reversed(_folders(root))}
    return next((folders[name] for name in names if name in folders), None)


def _pictures_for(root: Path, annotations: Path) -> Path:
    """Where the pictures lie: in a folder of their own, beside the annotation files, or anywhere in the data set."""
    own = _first_folder(root, _PICTURE_FOLDERS)
    if own is not None:
        return own
    beside = any(names_a_picture(path.name) for path in files_below(annotations))
    return annotations if beside else root


def _in_devkit(root: Path, notes: list[str]) -> _Part:
    folder = _first_folder(root, _ANNOTATION_FOLDERS)
    assert folder is not None
    annotations = _xml_files(folder)
    if not annotations:
        raise DataError(f"{folder}: holds no XML file.", "Give a folder with annotations.")
    names = FolderNames(folder)
    lists = _lists(root)
    chosen = [entry for split, file in lists for entry in _in_list(split, file, names, notes)]
    if not lists:
        chosen = [(_split_in(path.relative_to(folder), annotations, folder), path) for path in annotations]
    return _Part(folder, _pictures_for(root, folder), chosen)


def _split_in(path: Path, annotations: Iterable[Path], folder: Path) -> str:
    """The split of an annotation file without lists: its folder's, if all lie in folders of splits."""
    firsts = {other.relative_to(folder).parts[0] for other in annotations}
    return (split_of(path.parts[0]) or "train") if all(map(split_of, firsts)) else "train"


def _lists(root: Path) -> list[tuple[str, Path]]:
    """List files by split; trainval is train if there is neither train nor val."""
    for place in _LIST_FOLDERS:
        folder = root / place
        found = {
            split: next((folder / f"{name}.txt" for name in names if is_file(folder / f"{name}.txt")), None)
            for split, names in _LISTS.items()
        }
        if found["train"] is None and found["valid"] is None and is_file(folder / "trainval.txt"):
            found["train"] = folder / "trainval.txt"
        lists = [(split, file) for split, file in found.items() if file is not None]
        if lists:
            return lists
    return []


def _in_list(split: str, file: Path, names: FolderNames, notes: list[str]) -> list[tuple[str, Path]]:
    lines = [line.strip() for line in read_text(file, may_be_empty=True).splitlines()]
    listed = list(dict.fromkeys(_listed_name(line, names) for line in lines if line))
    found = names.resolve(name for name in listed if is_file_name(name))
    missing = [name for name in listed if name not in found or found[name].name is None]
    if missing and len(missing) == len(listed) and not any(one.candidates for one in found.values()):
        notes.append(f"{file}: none of its {len(listed)} pictures is annotated; it was left out.")
        return []
    if missing:
        candidates = found[missing[0]].candidates if missing[0] in found else ()
        name = missing[0].removesuffix(".xml")
        if candidates:
            several = " and ".join(candidates[:_MOST_NAMED])
            raise DataError(f"{file}: {name!r} may mean {several}.", "Write the folder before the name.")
        raise DataError(f"{file}: {name!r} has no annotation file.", "Annotate it, or remove it from the list.")
    guesses = [(name, str(found[name].name)) for name in listed if found[name].guessed]
    notes += guess_note(f"{file}: names", guesses)
    return [(split, names.folder / str(found[name].name)) for name in listed]


def _listed_name(line: str, names: FolderNames) -> str:
    """The annotation file that a line means: a name, a name and a flag, a picture, or a picture and its file."""
    if names.holds(f"{line}.xml"):
        return f"{line}.xml"
    pair = _PAIR.fullmatch(line)
    if pair and names_a_picture(pair["picture"].strip()):
        return posixpath.normpath(pair["annotation"]).removeprefix(f"{names.folder.name}/")
    *before, flag = line.rsplit(maxsplit=1)
    name = before[0] if before and flag in _FLAGS else line
    if names.holds(f"{name}.xml"):
        return f"{name}.xml"
    if name.lower().endswith(".xml"):
        return name
    return f"{name.rpartition('.')[0] if names_a_picture(name) else name}.xml"


def _with_pictures(part: _Part, notes: list[str]) -> list[tuple[str, VocFile, Path, str]]:
    """Split, annotation file, picture, and the picture's name in its folder, of all that can be used."""
    own = OwnPictures(part.pictures)
    files = [(split, read_voc_file(path)) for split, path in part.files]
    stems = [file.path.relative_to(part.annotations).with_suffix("").as_posix() for _, file in files]
    pictures = [own.of(file.path, stem, file.filename) for (_, file), stem in zip(files, stems, strict=True)]
    usable = own.readable(notes)
    return [
        (split, file, path, path.relative_to(part.pictures).as_posix())
        for (split, file), path in zip(files, pictures, strict=True)
        if path in usable
    ]


def _picture(file: VocFile, path: Path, name: str, split: str, ids: Mapping[str, int], origin: int) -> SourcePicture:
    objects = tuple(_source_object(item, ids, origin) for item in file.objects)
    return SourcePicture(path, name, *measure(path), objects, split)


def _stated(file: VocFile, picture: SourcePicture) -> Iterator[Stated]:
    """The size that a file states; nothing if it states none."""
    if file.size is not None:
        own, boxes = (picture.width, picture.height), [item.bbox for item in picture.objects]
        yield Stated(picture.path, picture.name, own, file.size, boxes, str(file.path))


def _source_object(item: VocObject, ids: Mapping[str, int], origin: int) -> SourceObject:
    category = ids[item.name]
    box = None
    if item.corners is not None:
        left, top, right, bottom = item.corners
        box = (left - origin, top - origin, right - left + origin, bottom - top + origin)
    if item.outline is not None:
        return outlined(category, [item.outline], box, item.extra)
    if item.turned is not None:
        box = _around(item.turned)
    assert box is not None, "an object has one of the three"
    return SourceObject(category, box, extra=item.extra)


def _around(turned: tuple[float, float, float, float, float]) -> Box:
    """x, y, width, height of the upright box around a turned one."""
    x, y, w, h, angle = turned
    across = w * abs(math.cos(angle)) + h * abs(math.sin(angle))
    down = w * abs(math.sin(angle)) + h * abs(math.cos(angle))
    return x - across / 2, y - down / 2, across, down


def read_voc_file(path: Path) -> VocFile:
    """Read one annotation file.

    Raises:
        DataError: malformed; file and object are named.
    """
    root = parse_xml(read_bytes(path), str(path))
    if root.tag != "annotation":
        raise DataError(f"{path}: holds <{root.tag}>, not <annotation>.", "Export the data set as Pascal VOC.")
    _require_once(root, ("filename", "size"), str(path))
    objects = [_object(item, f"{path}, object {number}") for number, item in enumerate(root.iter("object"), start=1)]
    return VocFile(path, _text(root, "filename"), _size(root, str(path)), tuple(objects))


def _text(element: Element, tag: str) -> str | None:
    """Text of a child; None if it is missing or blank."""
    return (element.findtext(tag) or "").strip() or None


def _size(root: Element, where: str) -> tuple[float, float] | None:
    size = root.find("size")
    if size is None:
        return None
    width, height = (
        0 if (text := _text(size, side)) is None else _number(text, f"{where}: size: {side}")
        for side in ("width", "height")
    )
    return (width, height) if width > 0 < height else None


def _object(element: Element, where: str) -> VocObject:
    name = _text(element, "name")
    if name is None:
        raise DataError(f"{where}: has no name.", "Write the name of its class.")
    where = f"{where} ({name})"
    _require_once(element, _SINGLE, where)
    corners = _corners(element, where)
    extra = {tag: _value(text) for tag in _KEPT if (text := _text(element, tag)) is not None}
    tags = frozenset(str(child.tag) for child in element)
    outline = _outline(element.find("polygon"))
    box = None if corners or outline else element.find("robndbox")
    turned = _turned_by_attribute(element, corners) if box is None and outline is None else None
    turned = turned if box is None else _turned(box, where)
    if box is not None and turned is None:
        outline = _turned_corners(box)
    if corners is None and outline is None and turned is None:
        problem = "has no bndbox" if "polygon" not in tags else "has no bndbox, and its polygon is not three points"
        raise DataError(f"{where}: {problem}.", "Write xmin, ymin, xmax and ymax.")
    read = {"polygon"} if outline else {"robndbox", "type"} if turned else set()
    return VocObject(name, corners, extra, tags - _KNOWN - read, outline, turned)


def _corners(element: Element, where: str) -> Box | None:
    box = element.find("bndbox")
    if box is None or (not len(box) and (element.find("polygon") or element.find("robndbox")) is not None):
        return None
    _require_once(box, _CORNERS, f"{where}: bndbox")
    left, top, right, bottom = (_number(_text(box, side), f"{where}: {side}") for side in _CORNERS)
    if right < left or bottom < top:
        raise DataError(f"{where}: the box {[left, top, right, bottom]} ends before it starts.", "Swap its corners.")
    return left, top, right, bottom


def _require_once(element: Element, tags: Sequence[str], where: str) -> None:
    """Raise if a tag stands in an element twice: only the first would be read."""
    counts = Counter(str(child.tag) for child in element)
    twice = next((tag for tag in tags if counts[tag] > 1), None)
    if twice is not None:
        raise DataError(f"{where}: holds {counts[twice]} <{twice}>.", "Keep one of them.")


def _outline(polygon: Element | None) -> tuple[float, ...] | None:
    """x1, y1, x2, y2, ... of a polygon as LabelMe, Roboflow or VOC tools write it; None if it is not three points.

    These are x1, y1, x2, ... in tags of their own; points with x and y in them; points that are the text "x,y".
    """
    if polygon is None:
        return None
    points = [point for point in polygon if point.tag in ("pt", "point")]
    if points:
        texts = [part for point in points for part in _coordinates(point)]
    else:
        texts = [child.text for child in polygon if re.fullmatch(r"[xy]\d*", str(child.tag))]
    numbers = [_number_or_none(text) for text in texts]
    if len(numbers) < 6 or len(numbers) % 2:
        return None
    outline = tuple(number for number in numbers if number is not None)
    return outline if len(outline) == len(numbers) else None


def _coordinates(point: Element) -> list[str | None]:
    if len(point):
        return [_text(point, "x"), _text(point, "y")]
    parts = (point.text or "").split(",")
    return list(parts) if len(parts) == 2 else [None, None]


def _turned_corners(box: Element) -> tuple[float, ...] | None:
    """x1, y1, ... of a turned box that is written by its four corners (x_left_top, y_left_top, ...)."""
    numbers = [number for child in box if (number := _number_or_none(child.text)) is not None]
    return tuple(numbers) if len(numbers) == 8 else None


def _turned(box: Element, where: str) -> tuple[float, float, float, float, float] | None:
    """The five numbers of a turned box; None if it is written in another way."""
    if box.find("cx") is None:
        return None
    x, y, w, h, angle = (_number(_text(box, side), f"{where}: robndbox: {side}") for side in _TURNED)
    if abs(angle) > _FULL_TURN:
        raise DataError(f"{where}: robndbox: angle = {angle:g} is more than a full turn in radians.", "Write radians.")
    if w < 0 or h < 0:
        raise DataError(f"{where}: robndbox: the box is {w:g} x {h:g}.", "Write sides of at least 0.")
    return x, y, w, h, angle


def _turned_by_attribute(element: Element, corners: Box | None) -> tuple[float, float, float, float, float] | None:
    """What CVAT means by corners beside an attribute ``rotation``, in degrees; None if the box is upright."""
    texts = (
        _text(one, "value") for one in element.iterfind("attributes/attribute") if _text(one, "name") == "rotation"
    )
    degrees = _number_or_none(next(texts, None))
    if corners is None or degrees is None or min(degrees % 180, -degrees % 180) < _LEAST_ANGLE:
        return None
    left, top, right, bottom = corners
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top, math.radians(degrees)


def _number_or_none(text: str | None) -> float | None:
    try:
        return _number((text or "").strip(), "")
    except DataError:
        return None


def _number(text: str | None, where: str) -> float:
    if text is not None and _WHOLE.fullmatch(text):
        return int(text)
    if text is None or not _FRACTION.fullmatch(text) or not math.isfinite(float(text)):
        raise DataError(f"{where} = {text!r} is not a number.", "Correct the file.")
    return float(text)


def _value(text: str) -> int | str:
    return int(text) if _WHOLE.fullmatch(text) else text
