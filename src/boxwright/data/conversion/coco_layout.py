"""Finds the documents of a COCO data set, and the folder that each one's pictures lie in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from boxwright.data.documents import ANNOTATIONS
from boxwright.runtime import DataError

from .files import entry_path, in_folder, is_file, is_folder
from .source import split_of

__all__ = ["Found", "find_documents", "picture_folder"]

_OTHER_TASKS = ("person_keypoints_", "captions_", "stuff_", "panoptic_", "image_info_")
_PICTURE_FOLDERS = ("images", "JPEGImages", "data")
_YEAR = re.compile(r"\d+$")


@dataclass(frozen=True)
class Found:
    """One document.

    Attributes:
        path: of the JSON file.
        root: folder of the data set.
        split: ours; None if the file's name does not tell.
        part: the data set's own name of it, as in ``instances_PART.json``.
    """

    path: Path
    root: Path
    split: str | None
    part: str


def find_documents(source: Path) -> list[Found]:
    """Documents of a data set, one for each split.

    Args:
        source: one JSON file; a folder with ``train/``, ``valid/``, ``test/`` in the Roboflow layout;
            or one with JSON files in it or in its ``annotations/``, of which ``instances_*`` come first.

    Raises:
        DataError: no document, or several whose splits cannot be told apart.
    """
    if is_file(source):
        root = source.parent.parent if source.parent.name == "annotations" else source.parent
        return [_found(source, root)]
    found = _roboflow(source) or _annotation_files(source)
    if not found:
        raise DataError(f"{source}: no COCO document.", f"Give the JSON file, or a folder with train/{ANNOTATIONS}.")
    if len(found) > 1:
        _require_one_each(found)
    return found


def _roboflow(source: Path) -> list[Found]:
    folders = [one for one in in_folder(source) if is_file(one / ANNOTATIONS)]
    found = [Found(one / ANNOTATIONS, source, split_of(one.name), one.name) for one in folders]
    return found or ([Found(source / ANNOTATIONS, source, None, "")] if is_file(source / ANNOTATIONS) else [])


def _annotation_files(source: Path) -> list[Found]:
    folder = source / "annotations" if is_folder(source / "annotations") else source
    paths = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    chosen = [path for path in paths if path.stem.startswith("instances_")]
    chosen = chosen or [path for path in paths if not path.stem.startswith(_OTHER_TASKS)]
    return [_found(path, source) for path in chosen]


def _found(path: Path, root: Path) -> Found:
    part = path.stem.removeprefix("instances_").removeprefix("_annotations.coco")
    tokens = [_YEAR.sub("", token) for token in re.split(r"[^0-9A-Za-z]+", part)]
    splits = {split for token in tokens if (split := split_of(token))}
    return Found(path, root, splits.pop() if len(splits) == 1 else None, part)


def _require_one_each(found: Sequence[Found]) -> None:
    seen: dict[str | None, Path] = {}
    for one in found:
        if one.split is None:
            raise DataError(
                f"{one.path}: its name does not say which split it is.", "Give that one file, or rename it."
            )
        if one.split in seen:
            raise DataError(f"{one.path}: {seen[one.split]} is {one.split!r} too.", "Give one file, or move one away.")
        seen[one.split] = one.path


def picture_folder(found: Found, names: Sequence[str]) -> Path:
    """The first folder that holds all pictures of a document.

    Raises:
        DataError: none does; a missing picture is named. A name leads out of its folder.
    """
    for name in names:
        entry_path(found.path.parent, name, str(found.path))
    places = list(dict.fromkeys(place for place in _places(found) if is_folder(place)))
    counts: list[tuple[int, int, str]] = []
    for place in places:
        missing = next((name for name in names if not is_file(place / name)), None)
        if missing is None:
            return place
        counts.append((-sum(is_file(place / name) for name in names), len(counts), missing))
    _, number, missing = min(counts)
    raise DataError(f"{found.path}: picture {missing!r} is missing in {places[number]}.", "Put it there.")


def _places(found: Found) -> Iterator[Path]:
    if found.path.name == ANNOTATIONS:
        yield found.path.parent
    parts = [part for part in (found.part, found.split, "val" if found.split == "valid" else None) if part]
    for part in parts:
        yield found.root / part
        yield found.root / part / "images"
        for folder in _PICTURE_FOLDERS:
            yield found.root / folder / part
    yield from (found.root / folder for folder in _PICTURE_FOLDERS)
    yield found.path.parent
    yield found.root
