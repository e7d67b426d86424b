"""Reads a Pascal VOC data set: the devkit's layout, or XML files beside the pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from boxwright.data.file_names import split_of
from boxwright.runtime import DataError

from .files import (
    decodes,
    entry_path,
    in_folder,
    is_file,
    is_folder,
    measure,
    pictures_in,
    read_bytes,
    read_text,
    require_size,
)
from .source import Source, SourceObject, SourcePicture, plain_categories

__all__ = ["VocFile", "VocObject", "VocOrigin", "read_voc", "read_voc_file"]

VocOrigin = Literal["auto", 0, 1]
"""Where a data set counts its pixels from: 1, maxima inclusive, or 0, maxima being edges."""

_PICTURE_FOLDERS = ("JPEGImages", "images", "Images")
_ANNOTATION_FOLDERS = ("Annotations", "annotations")
_FLAGS = ("-1", "0", "1")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_KEPT = ("pose", "truncated", "occluded", "difficult")
_KNOWN = {"name", "bndbox", *_KEPT}
_WHOLE = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_FRACTION = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d{1,2})?", re.ASCII)

Annotated = list[tuple[str, Path, Path]]
"""Split, annotation file, picture."""


@dataclass(frozen=True)
class VocObject:
    """One object as written in the file.

    Attributes:
        name: of its class.
        corners: xmin, ymin, xmax, ymax as written, pixels; int if written without a decimal point.
        extra: pose, truncated, occluded, difficult, as far as given.
        ignored: tags of the object that are not read.
    """

    name: str
    corners: tuple[float, float, float, float]
    extra: dict[str, Any]
    ignored: frozenset[str]


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


def read_voc(source: Path, origin: VocOrigin = "auto") -> Source:
    """Read a data set; classes are sorted by name.

    The devkit counts pixels from 1 and its maxima belong to the box: x = xmin - 1,
    w = xmax - xmin + 1. Other tools write edges counted from 0: x = xmin, w = xmax - xmin.

    Args:
        source: a folder with ``Annotations/``, with ``train/``, ``valid/``, ``test/``, or with XML files.
        origin: ``auto`` takes 0 if an xmin or ymin in the data set is below 1, else 1.

    Raises:
        DataError: no such layout, a malformed annotation file, a missing or unusable picture.
    """
    notes: list[str] = []
    annotated = _find(source, notes)
    files = [(split, read_voc_file(annotation), picture) for split, annotation, picture in annotated]
    objects = [item for _, file, _ in files for item in file.objects]
    first = _origin(objects, origin, notes)
    ignored = sorted({tag for item in objects for tag in item.ignored})
    if ignored:
        notes.append(f"Left out of the objects: {', '.join(ignored)}.")
    names = sorted({item.name for item in objects})
    ids = {name: number for number, name in enumerate(names, start=1)}
    pictures = tuple(_picture(file, picture, split, ids, first) for split, file, picture in files)
    return Source(pictures, plain_categories(names, source), notes=tuple(notes))


def _origin(objects: Sequence[VocObject], origin: VocOrigin, notes: list[str]) -> int:
    if origin != "auto":
        return origin
    below = sum(min(item.corners[:2]) < 1 for item in objects)
    if below:
        notes.append(
            f"Boxes were read as edges counted from 0: {below} of {len(objects)} have an xmin or ymin below 1."
        )
        return 0
    notes.append(
        "Boxes were read as the devkit writes them, counted from 1 with inclusive maxima: none of "
        f"{len(objects)} has an xmin or ymin below 1. If a tool wrote edges counted from 0, use --voc-origin 0."
    )
    return 1


def _find(source: Path, notes: list[str]) -> Annotated:
    root = _devkit_root(source)
    if root is not None:
        return _in_devkit(root, notes)
    folders = [
        (split, folder) for folder in _folders(source) if (split := split_of(folder.name)) and any(folder.glob("*.xml"))
    ]
    if not folders and any(source.glob("*.xml")):
        folders = [("train", source)]
    if not folders:
        raise DataError(
            f"{source}: no Pascal VOC data set.",
            "Give a folder with Annotations/ and JPEGImages/, or one whose train/ and valid/ hold XML files.",
        )
    return [
        pair
        for split, folder in folders
        for pair in _pairs([(split, path) for path in sorted(folder.glob("*.xml"))], folder, notes)
    ]


def _folders(source: Path) -> list[Path]:
    return [path for path in in_folder(source) if is_folder(path)]


def _devkit_root(source: Path) -> Path | None:
    """The folder that holds the annotations: this one, or the only one in it (``VOCdevkit/VOC2007``)."""
    if _first_folder(source, _ANNOTATION_FOLDERS):
        return source
    inner = [folder for folder in _folders(source) if _first_folder(folder, _ANNOTATION_FOLDERS)]
    if len(inner) > 1:
        names = ", ".join(folder.name for folder in inner)
        raise DataError(f"{source}: holds several data sets: {names}.", "Give one of them.")
    return inner[0] if inner else None


def _first_folder(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if is_folder(root / name)), None)


def _in_devkit(root: Path, notes: list[str]) -> Annotated:
    folder = _first_folder(root, _ANNOTATION_FOLDERS)
    assert folder is not None
    annotations = {path.stem: path for path in sorted(folder.glob("*.xml"))}
    if not annotations:
        raise DataError(f"{folder}: holds no XML file.", "Give a folder with annotations.")
    pictures = _first_folder(root, _PICTURE_FOLDERS) or folder
    lists = _lists(root / "ImageSets" / "Main")
    if not lists:
        return _pairs([("train", path) for path in annotations.values()], pictures, notes)
    chosen = [entry for split, file in lists for entry in _in_list(split, file, annotations, notes)]
    return _pairs(chosen, pictures, notes)


def _lists(folder: Path) -> list[tuple[str, Path]]:
    """List files by split; trainval is train if there is neither train nor val."""
    lists = [(split, folder / f"{name}.txt") for name, split in (("train", "train"), ("val", "valid"))]
    existing = [entry for entry in lists if is_file(entry[1])] or [("train", folder / "trainval.txt")]
    return [(split, path) for split, path in (*existing, ("test", folder / "test.txt")) if is_file(path)]


def _in_list(split: str, file: Path, annotations: Mapping[str, Path], notes: list[str]) -> list[tuple[str, Path]]:
    lines = [line.strip() for line in read_text(file).splitlines()]
    names = list(dict.fromkeys(_listed_name(line, annotations) for line in lines if line))
    missing = [name for name in names if name not in annotations]
    if missing and len(missing) == len(names):
        notes.append(f"{file}: none of its {len(names)} pictures is annotated; it was left out.")
        return []
    if missing:
        raise DataError(f"{file}: {missing[0]!r} has no annotation file.", "Annotate it, or remove it from the list.")
    return [(split, annotations[name]) for name in names]


def _listed_name(line: str, annotations: Mapping[str, Path]) -> str:
    """The name on a line, without the flag that may follow it."""
    name, _, flag = line.rpartition(" ")
    return name.rstrip() if line not in annotations and flag in _FLAGS and name else line


def _pairs(chosen: list[tuple[str, Path]], folder: Path, notes: list[str]) -> Annotated:
    """Annotation files, each with its picture from the folder."""
    by_stem: dict[str, list[Path]] = {}
    for path in pictures_in(folder, notes, deep=False):
        by_stem.setdefault(path.stem, []).append(path)
    annotated = [(split, path, _picture_of(path, by_stem.get(path.stem, []), folder)) for split, path in chosen]
    _require_own_picture(annotated)
    pairs = [pair for pair in annotated if decodes(pair[2])]
    if len(pairs) < len(annotated):
        notes.append(f"{folder}: annotation files left out with such pictures: {len(annotated) - len(pairs)}.")
    alone = sum(len(paths) for paths in by_stem.values()) - len({picture for _, _, picture in pairs})
    if alone > 0:
        notes.append(f"{folder}: pictures left out, without an annotation file or in no list: {alone}.")
    return pairs


def _require_own_picture(pairs: Annotated) -> None:
    owner: dict[Path, Path] = {}
    for _, annotation, picture in pairs:
        if owner.setdefault(picture, annotation) != annotation:
            raise DataError(f"{annotation}: {picture.name!r} is the picture of {owner[picture].name} too.", "Keep one.")


def _picture_of(annotation: Path, candidates: list[Path], folder: Path) -> Path:
    """The picture with the annotation's own name; the name in the XML decides only if that leaves a choice."""
    if len(candidates) == 1:
        return candidates[0]
    name = read_voc_file(annotation).filename
    path = entry_path(folder, name, str(annotation)) if name else None
    if path is None or not is_file(path) or (candidates and path not in candidates):
        problem = f"several pictures are named {annotation.stem!r}" if candidates else f"picture {name!r} is missing"
        raise DataError(f"{annotation}: {problem} in {folder}.", "Put exactly one picture there.")
    return path


def _picture(file: VocFile, path: Path, split: str, ids: Mapping[str, int], origin: int) -> SourcePicture:
    size = measure(path)
    if file.size is not None:
        require_size(path, size, file.size, str(file.path))
    objects = tuple(_source_object(item, ids, origin) for item in file.objects)
    return SourcePicture(path, path.name, *size, objects, split)


def _source_object(item: VocObject, ids: Mapping[str, int], origin: int) -> SourceObject:
    left, top, right, bottom = item.corners
    box = (left - origin, top - origin, right - left + origin, bottom - top + origin)
    return SourceObject(ids[item.name], box, extra=item.extra)


def read_voc_file(path: Path) -> VocFile:
    """Read one annotation file.

    Raises:
        DataError: malformed; file and object are named.
    """
    root = _parse_xml(read_bytes(path), str(path))
    if root.tag != "annotation":
        raise DataError(f"{path}: holds <{root.tag}>, not <annotation>.", "Export the data set as Pascal VOC.")
    objects = [_object(item, f"{path}, object {number}") for number, item in enumerate(root.findall("object"), start=1)]
    return VocFile(path, _text(root, "filename"), _size(root, str(path)), tuple(objects))


def _text(element: Element, tag: str) -> str | None:
    """Text of a child; None if it is missing or blank."""
    return (element.findtext(tag) or "").strip() or None


def _size(root: Element, where: str) -> tuple[float, float] | None:
    size = root.find("size")
    if size is None:
        return None
    width, height = (_number(_text(size, side), f"{where}: size: {side}") for side in ("width", "height"))
    return (width, height) if width and height else None


def _object(element: Element, where: str) -> VocObject:
    name = _text(element, "name")
    if name is None:
        raise DataError(f"{where}: has no name.", "Write the name of its class.")
    where = f"{where} ({name})"
    box = element.find("bndbox")
    if box is None:
        raise DataError(f"{where}: has no bndbox.", "Write xmin, ymin, xmax and ymax.")
    left, top, right, bottom = (_number(_text(box, side), f"{where}: {side}") for side in _CORNERS)
    if right < left or bottom < top:
        raise DataError(f"{where}: the box {[left, top, right, bottom]} ends before it starts.", "Swap its corners.")
    extra = {tag: _value(text) for tag in _KEPT if (text := _text(element, tag)) is not None}
    ignored = frozenset(str(child.tag) for child in element) - _KNOWN
    return VocObject(name, (left, top, right, bottom), extra, ignored)


def _number(text: str | None, where: str) -> float:
    if text is not None and _WHOLE.fullmatch(text):
        return int(text)
    if text is None or not _FRACTION.fullmatch(text) or not math.isfinite(float(text)):
        raise DataError(f"{where} = {text!r} is not a number.", "Correct the file.")
    return float(text)


def _value(text: str) -> int | str:
    return int(text) if _WHOLE.fullmatch(text) else text


def _parse_xml(content: bytes, where: str) -> Element:
    """The root element.

    A DOCTYPE is refused: only there can entities be declared, with which a small file grows without limit or reads
    other files.

    Raises:
        DataError: malformed, or it holds a DOCTYPE.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype(where)
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: encodings that cannot be read
        raise DataError(f"{where}: broken XML: {error}.", "Export the file again.") from error
    root: Element = builder.close()
    return root


def _refuse_doctype(where: str) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise DataError(f"{where}: holds a DOCTYPE, which is refused.", "Remove the line that starts with <!DOCTYPE.")

    return refuse
