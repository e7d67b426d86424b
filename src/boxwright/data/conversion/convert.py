"""Converts a data set of another layout to the Roboflow layout, and writes it whole or not at all.

To add a format: one module with a reader (``Path`` -> ``Source``), one row of ``READERS``, one section of
``docs/convert.md``. Splitting and writing work on every ``Source``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from boxwright.data.documents import ANNOTATIONS
from boxwright.host.files import new_folder, require_new_folder
from boxwright.runtime import ConfigError, DataError

from .coco import read_coco
from .files import READABLE, is_file, is_folder
from .labelme import read_labelme
from .source import Source, SourceObject, SourcePicture
from .splitting import SplitPictures, arrange, require_shares
from .via import read_via
from .voc import VocOrigin, read_voc
from .yolo import read_yolo

__all__ = ["READERS", "Conversion", "SplitCounts", "convert"]

READERS: dict[str, Callable[[Path], Source]] = {
    "yolo": read_yolo,
    "voc": read_voc,
    "coco": read_coco,
    "labelme": read_labelme,
    "via": read_via,
}
"""Readers by the name of their format."""

_EMPTY_DOCUMENT: dict[str, Any] = {"info": {}, "licenses": []}  # pycocotools wants both
_SEPARATORS = re.compile(r"[\\:]")


@dataclass(frozen=True)
class SplitCounts:
    """What one split holds.

    Attributes:
        pictures: with and without objects.
        boxes: crowds included.
    """

    pictures: int
    boxes: int


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        out: the folder.
        splits: counts by split, in the order train, valid, test.
        notes: sentences for the user: what was assumed, left out, renamed.
    """

    out: Path
    splits: Mapping[str, SplitCounts]
    notes: tuple[str, ...]


def convert(
    source: str | Path,
    out: str | Path,
    format: str,  # noqa: A002  # the name users know
    *,
    split: tuple[float, ...] | None = None,
    seed: int = 0,
    voc_origin: VocOrigin = "auto",
    advance: Callable[[int, int], object] | None = None,
) -> Conversion:
    """Write a data set in the Roboflow layout: ``OUT/{train,valid,test}`` with ``_annotations.coco.json``.

    Pictures are copied byte for byte. The same source, split and seed give the same files.

    Args:
        source: folder of the data set, or its ``data.yaml`` or JSON file.
        out: a new or empty folder; after an error nothing is left of it.
        format: ``yolo``, ``voc`` or ``coco``.
        split: shares of train, valid and optionally test, sum 1: all pictures are split anew, by
            iterative stratification. None keeps the source's splits; a single split becomes 0.8 and 0.2.
        seed: of a new split.
        voc_origin: where VOC counts pixels from, see ``read_voc``.
        advance: called with (pictures copied, pictures in all).

    Raises:
        ConfigError: an unknown format, shares that do not fit, a folder that cannot be written.
        DataError: the source cannot be read; file and line, object or id are named.
    """
    source, out = Path(source), Path(out)
    _require_settings(format, split, voc_origin)
    require_new_folder(out, source)
    if not is_file(source) and not is_folder(source):
        raise DataError(f"{source}: no such file or folder.", "Give the folder of the data set.")
    read = read_voc(source, voc_origin) if format == "voc" else READERS[format](source)
    notes = list(read.notes)
    if not read.pictures:
        reason = " ".join([f"{source}: no picture is left.", *notes])
        raise DataError(reason, f"Give annotated pictures that are {READABLE}.")
    splits = arrange(read, split, seed, notes)
    _write(out, splits, read.categories, notes, advance)
    counts = {
        name: SplitCounts(len(part), sum(len(picture.objects) for picture in part))
        for name, (part, _) in splits.items()
    }
    return Conversion(out, counts, tuple(notes))


def _require_settings(format: str, split: tuple[float, ...] | None, voc_origin: VocOrigin) -> None:  # noqa: A002
    if format not in READERS:
        raise ConfigError(f"Format {format!r} is unknown.", f"Use one of {', '.join(READERS)}.")
    if split is not None:
        require_shares(split)
    if voc_origin not in ("auto", 0, 1):
        raise ConfigError(f"VOC origin {voc_origin!r} is unknown.", "Use 'auto', 0 or 1.")
    if voc_origin != "auto" and format != "voc":
        raise ConfigError(f"VOC origin {voc_origin!r} does not fit format {format!r}.", "Leave it out.")


def _write(
    out: Path,
    splits: SplitPictures,
    categories: Sequence[Mapping[str, Any]],
    notes: list[str],
    advance: Callable[[int, int], object] | None,
) -> None:
    """Copy the pictures and write the documents; ``notes`` gets what was renamed or renumbered."""
    total = sum(len(pictures) for pictures, _ in splits.values())
    keep_ids = _can_keep_ids(splits, notes)
    copied = 0
    with new_folder(out) as folder:
        for name, (pictures, document) in splits.items():
            (folder / name).mkdir()
            names = _file_names(pictures, name, notes)
            for picture, file_name in zip(pictures, names, strict=True):
                shutil.copyfile(picture.path, folder / name / file_name)
                copied += 1
                if advance:
                    advance(copied, total)
            ids = [picture.id if keep_ids else None for picture in pictures]
            content = {**_EMPTY_DOCUMENT, **document, **_lists(pictures, names, ids), "categories": list(categories)}
            (folder / name / ANNOTATIONS).write_text(_json(content), encoding="ascii")


def _can_keep_ids(splits: SplitPictures, notes: list[str]) -> bool:
    """Whether every picture has an id that is unique in its split."""
    ids = [[picture.id for picture in pictures] for pictures, _ in splits.values()]
    if any(None in part for part in ids):
        return False
    if all(len(set(part)) == len(part) for part in ids):
        return True
    notes.append("Picture ids were numbered anew: several pictures of one split had the same.")
    return False


def _file_names(pictures: Sequence[SourcePicture], split: str, notes: list[str]) -> list[str]:
    """A name for each picture, unique also where upper and lower case are the same."""
    used = {ANNOTATIONS}
    names = []
    for picture in pictures:
        name = next(name for candidate in _candidates(picture) if (name := _portable(candidate)).casefold() not in used)
        used.add(name.casefold())
        names.append(name)
    renamed = [(picture.name, name) for picture, name in zip(pictures, names, strict=True) if name != picture.path.name]
    if renamed:
        old, new = renamed[0]
        notes.append(
            f"{split}: pictures renamed because their names were in use or not portable: {len(renamed)}, "
            f"the first from {old!r} to {new!r}."
        )
    return names


def _candidates(picture: SourcePicture) -> Iterator[str]:
    """Its own name, then its path as one name, then that with numbers."""
    yield picture.path.name
    flat = "_".join(part for part in Path(picture.name).parts if part not in ("/", ".."))
    yield flat
    number = 2
    while True:
        yield f"{Path(flat).stem}_{number}{picture.path.suffix}"
        number += 1


def _portable(name: str) -> str:
    """The name without characters that separate folders on Windows."""
    return name if PureWindowsPath(name).name == name else _SEPARATORS.sub("_", name)


def _lists(pictures: Sequence[SourcePicture], names: Sequence[str], ids: Sequence[int | None]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for position, (picture, file_name, own) in enumerate(zip(pictures, names, ids, strict=True), start=1):
        number = position if own is None else own
        size = {"width": picture.width, "height": picture.height}
        images.append({"id": number, "file_name": file_name, **size, **picture.extra})
        for item in picture.objects:
            annotations.append(_annotation(len(annotations) + 1, number, item))
    return {"images": images, "annotations": annotations}


def _annotation(number: int, picture: int, item: SourceObject) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": picture,
        "category_id": item.category,
        "bbox": list(item.bbox),
        "area": item.bbox[2] * item.bbox[3] if item.area is None else item.area,
        "segmentation": item.segmentation,
        "iscrowd": item.iscrowd,
        **item.extra,
    }


def _json(document: Mapping[str, Any]) -> str:
    try:
        return json.dumps(document, separators=(",", ":")) + "\n"
    except RecursionError as error:
        raise DataError("The source's JSON is nested too deep to be written.", "Remove the nested part.") from error
