"""Writes the Roboflow layout, whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from boxwright.data.documents import ANNOTATIONS
from boxwright.data.new_folder import new_folder
from boxwright.runtime import DataError

from .arrange import Arrangement
from .source import SourceObject, SourcePicture

__all__ = ["write"]

_EMPTY_DOCUMENT: dict[str, Any] = {"info": {}, "licenses": []}  # pycocotools wants both
_SEPARATORS = re.compile(r"[\\:]")


def write(
    out: Path,
    splits: Arrangement,
    categories: Sequence[Mapping[str, Any]],
    notes: list[str],
    advance: Callable[[int, int], object],
) -> None:
    """Copy the pictures byte for byte and write the documents, then give the folder its name.

    Args:
        out: a new or empty folder.
        splits: pictures by split.
        categories: of every document.
        notes: gets what was renamed or renumbered.
        advance: called with pictures done and in all after each copy.

    Raises:
        ConfigError: the folder cannot be written; nothing is left of it.
        DataError: something in the source cannot be written as JSON.
    """
    total = sum(len(pictures) for pictures, _ in splits.values())
    numbered = _keeps_ids(splits, notes)
    done = 0
    with new_folder(out) as folder:
        for name, (pictures, document) in splits.items():
            (folder / name).mkdir()
            names = _file_names(pictures, name, notes)
            for picture, file_name in zip(pictures, names, strict=True):
                shutil.copyfile(picture.path, folder / name / file_name)
                done += 1
                advance(done, total)
            ids = [picture.id if numbered else None for picture in pictures]
            content = {**_EMPTY_DOCUMENT, **document, **_lists(pictures, names, ids), "categories": list(categories)}
            (folder / name / ANNOTATIONS).write_text(_json(content), encoding="ascii")


def _keeps_ids(splits: Arrangement, notes: list[str]) -> bool:
    """Whether the source's picture ids can stay."""
    ids = [[picture.id for picture in pictures] for pictures, _ in splits.values()]
    if any(None in part for part in ids):
        return False
    if all(len(set(part)) == len(part) for part in ids):
        return True
    notes.append("Picture ids were numbered anew: several pictures of one split had the same.")
    return False


def _file_names(pictures: Sequence[SourcePicture], split: str, notes: list[str]) -> list[str]:
    """A name for each picture, unique even where upper and lower case are one."""
    taken = {ANNOTATIONS}
    names = []
    for picture in pictures:
        name = next(name for one in _candidates(picture) if (name := _portable(one)).casefold() not in taken)
        taken.add(name.casefold())
        names.append(name)
    renamed = [(one.name, name) for one, name in zip(pictures, names, strict=True) if name != one.path.name]
    if renamed:
        old, new = renamed[0]
        notes.append(
            f"{split}: pictures renamed, their names being taken or not portable: {len(renamed)}, "
            f"the first from {old!r} to {new!r}."
        )
    return names


def _candidates(picture: SourcePicture) -> Iterator[str]:
    """Its own name, then the path in one name, then numbers."""
    yield picture.path.name
    flat = "_".join(part for part in Path(picture.name).parts if part not in ("/", ".."))
    yield flat
    number = 2
    while True:
        yield f"{Path(flat).stem}_{number}{picture.path.suffix}"
        number += 1


def _portable(name: str) -> str:
    """A name that is one on Windows too."""
    return name if PureWindowsPath(name).name == name else _SEPARATORS.sub("_", name)


def _lists(pictures: Sequence[SourcePicture], names: Sequence[str], ids: Sequence[int | None]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for position, (picture, file_name, own) in enumerate(zip(pictures, names, ids, strict=True), start=1):
        number = position if own is None else own
        size = {"width": picture.width, "height": picture.height}
        images.append({"id": number, "file_name": file_name, **size, **picture.extra})
        for one in picture.objects:
            annotations.append(_annotation(len(annotations) + 1, number, one))
    return {"images": images, "annotations": annotations}


def _annotation(number: int, picture: int, one: SourceObject) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": picture,
        "category_id": one.category,
        "bbox": list(one.bbox),
        "area": one.bbox[2] * one.bbox[3] if one.area is None else one.area,
        "segmentation": one.segmentation,
        "iscrowd": one.iscrowd,
        **one.extra,
    }


def _json(document: Mapping[str, Any]) -> str:
    try:
        return json.dumps(document, separators=(",", ":")) + "\n"
    except RecursionError as error:
        raise DataError("The source's JSON is nested too deep to be written.", "Remove what is nested.") from error
