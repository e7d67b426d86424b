"""Reads a Pascal VOC data set: the devkit's layout, or XML files beside the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from boxwright.runtime import DataError

from .files import (
    decodes,
    entry_path,
    in_folder,
    is_file,
    is_folder,
    measure,
    pictures_in,
    read_text,
    require_size,
)
from .source import Source, SourceObject, SourcePicture, plain_categories, split_of
from .voc_objects import VocFile, VocObject, read_voc_file

__all__ = ["VocOrigin", "read_voc"]

VocOrigin = Literal["auto", 0, 1]
"""Where a set counts its pixels from: 1, maxima inclusive, or 0, maxima being edges."""

_PICTURE_FOLDERS = ("JPEGImages", "images", "Images")
_ANNOTATION_FOLDERS = ("Annotations", "annotations")
_FLAGS = ("-1", "0", "1")

Found = list[tuple[str, Path, Path]]
"""Split, annotation file, picture."""


def read_voc(source: Path, origin: VocOrigin = "auto") -> Source:
    """Read a data set; classes are sorted by name.

    The devkit counts pixels from 1 and its maxima belong to the box: x = xmin - 1,
    w = xmax - xmin + 1. Other tools write edges counted from 0: x = xmin, w = xmax - xmin.

    Args:
        source: a folder with ``Annotations/``, with ``train/``, ``valid/``, ``test/``, or with XML files.
        origin: ``auto`` takes 0 if an xmin or ymin in the set is below 1, else 1.

    Raises:
        DataError: no such layout, a malformed annotation file, a missing or unusable picture.
    """
    notes: list[str] = []
    found = _find(source, notes)
    files = [(split, read_voc_file(annotation), picture) for split, annotation, picture in found]
    objects = [one for _, file, _ in files for one in file.objects]
    first = _origin(objects, origin, notes)
    ignored = sorted({tag for one in objects for tag in one.ignored})
    if ignored:
        notes.append(f"Left out of the objects: {', '.join(ignored)}.")
    names = sorted({one.name for one in objects})
    ids = {name: number for number, name in enumerate(names, start=1)}
    pictures = tuple(_picture(file, picture, split, ids, first) for split, file, picture in files)
    return Source(pictures, plain_categories(names), notes=tuple(notes))


def _origin(objects: Sequence[VocObject], origin: VocOrigin, notes: list[str]) -> int:
    below = sum(min(one.corners[:2]) < 1 for one in objects)
    if origin != "auto":
        return origin
    if below:
        notes.append(
            f"Boxes were read as edges counted from 0: {below} of {len(objects)} have an xmin or ymin below 1."
        )
        return 0
    notes.append(
        "Boxes were read as the devkit writes them, counted from 1 with inclusive maxima: "
        f"none of {len(objects)} has an xmin or ymin below 1. If a tool wrote edges counted from 0, say so (origin 0)."
    )
    return 1


def _find(source: Path, notes: list[str]) -> Found:
    root = _devkit_root(source)
    if root is not None:
        return _in_devkit(root, notes)
    folders = [(split, one) for one in _folders(source) if (split := split_of(one.name)) and any(one.glob("*.xml"))]
    if not folders and any(source.glob("*.xml")):
        folders = [("train", source)]
    if not folders:
        raise DataError(
            f"{source}: no Pascal VOC data set.",
            "Give a folder with Annotations/ and JPEGImages/, or one whose train/ and valid/ hold XML files.",
        )
    return [one for split, folder in folders for one in _beside(split, folder, notes)]


def _folders(source: Path) -> list[Path]:
    return [one for one in in_folder(source) if is_folder(one)]


def _devkit_root(source: Path) -> Path | None:
    """The folder that holds the annotations: this one, or the only one in it (``VOCdevkit/VOC2007``)."""
    if _first_folder(source, _ANNOTATION_FOLDERS):
        return source
    inner = [one for one in _folders(source) if _first_folder(one, _ANNOTATION_FOLDERS)]
    if len(inner) > 1:
        raise DataError(f"{source}: holds several data sets: {', '.join(one.name for one in inner)}.", "Give one.")
    return inner[0] if inner else None


def _first_folder(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if is_folder(root / name)), None)


def _beside(split: str, folder: Path, notes: list[str]) -> Found:
    return _pairs([(split, path) for path in sorted(folder.glob("*.xml"))], folder, notes)


def _in_devkit(root: Path, notes: list[str]) -> Found:
    folder = _first_folder(root, _ANNOTATION_FOLDERS)
    assert folder is not None
    annotations = {path.stem: path for path in sorted(folder.glob("*.xml"))}
    if not annotations:
        raise DataError(f"{folder}: holds no XML file.", "Give a folder with annotations.")
    pictures = _first_folder(root, _PICTURE_FOLDERS) or folder
    sets = _sets(root / "ImageSets" / "Main")
    if not sets:
        return _pairs([("train", path) for path in annotations.values()], pictures, notes)
    return _pairs([one for split, file in sets for one in _in_set(split, file, annotations, notes)], pictures, notes)


def _sets(folder: Path) -> list[tuple[str, Path]]:
    """Lists by split; trainval is train where there is neither train nor val."""
    lists = [(split, folder / f"{name}.txt") for name, split in (("train", "train"), ("val", "valid"))]
    found = [one for one in lists if is_file(one[1])] or [("train", folder / "trainval.txt")]
    return [(split, path) for split, path in (*found, ("test", folder / "test.txt")) if is_file(path)]


def _in_set(split: str, file: Path, annotations: Mapping[str, Path], notes: list[str]) -> list[tuple[str, Path]]:
    lines = [line.strip() for line in read_text(file).splitlines()]
    names = list(dict.fromkeys(_listed(line, annotations) for line in lines if line))
    missing = [name for name in names if name not in annotations]
    if missing and len(missing) == len(names):
        notes.append(f"{file}: none of its {len(names)} pictures is annotated; it was left out.")
        return []
    if missing:
        raise DataError(f"{file}: {missing[0]!r} has no annotation file.", "Annotate it, or remove it from the list.")
    return [(split, annotations[name]) for name in names]


def _listed(line: str, annotations: Mapping[str, Path]) -> str:
    """The name on a line, which a flag may follow."""
    name, _, flag = line.rpartition(" ")
    return name.rstrip() if line not in annotations and flag in _FLAGS and name else line


def _pairs(chosen: list[tuple[str, Path]], folder: Path, notes: list[str]) -> Found:
    by_stem: dict[str, list[Path]] = {}
    for path in pictures_in(folder, notes, deep=False):
        by_stem.setdefault(path.stem, []).append(path)
    found = [(split, path, _picture_of(path, by_stem.get(path.stem, []), folder)) for split, path in chosen]
    _require_own_picture(found)
    pairs = [one for one in found if decodes(one[2])]
    if len(pairs) < len(found):
        notes.append(f"{folder}: annotation files left out with such pictures: {len(found) - len(pairs)}.")
    alone = sum(len(paths) for paths in by_stem.values()) - len({picture for _, _, picture in pairs})
    if alone > 0:
        notes.append(f"{folder}: pictures left out, without an annotation file or in no list: {alone}.")
    return pairs


def _require_own_picture(pairs: Found) -> None:
    owner: dict[Path, Path] = {}
    for _, annotation, picture in pairs:
        if owner.setdefault(picture, annotation) != annotation:
            raise DataError(f"{annotation}: {picture.name!r} is the picture of {owner[picture].name} too.", "Keep one.")


def _picture_of(annotation: Path, candidates: list[Path], folder: Path) -> Path:
    """The picture with the annotation's own name; what the XML says decides only where that does not."""
    if len(candidates) == 1:
        return candidates[0]
    said = read_voc_file(annotation).filename
    path = entry_path(folder, said, str(annotation)) if said else None
    if path is None or not is_file(path) or (candidates and path not in candidates):
        many = f"several pictures are named {annotation.stem!r}" if candidates else f"picture {said!r} is missing"
        raise DataError(f"{annotation}: {many} in {folder}.", "Put the one picture there.")
    return path


def _picture(file: VocFile, path: Path, split: str, ids: Mapping[str, int], origin: int) -> SourcePicture:
    size = measure(path)
    if file.size is not None:
        require_size(path, size, file.size, str(file.path))
    objects = tuple(_objects(file, ids, origin))
    return SourcePicture(path, path.name, *size, objects, split)


def _objects(file: VocFile, ids: Mapping[str, int], origin: int) -> Iterator[SourceObject]:
    for one in file.objects:
        left, top, right, bottom = one.corners
        box = (left - origin, top - origin, right - left + origin, bottom - top + origin)
        yield SourceObject(ids[one.name], box, extra=one.extra)
