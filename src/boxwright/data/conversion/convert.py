"""Converts a data set of another layout to the Roboflow layout, and writes it whole or not at all.

To add a format: one module with a reader (``Path`` -> ``Source``), one row of ``READERS``, one sign in
``recognise.py``, one section of ``docs/convert.md``. Splitting and writing work on every ``Source``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from boxwright.data.box_readings import READINGS
from boxwright.data.documents import ANNOTATIONS, category_fault, null_for_nan
from boxwright.data.file_names import FolderNames, is_picture_name
from boxwright.host.files import new_folder, require_new_folder
from boxwright.inputs.zipped import is_zip, refuse_packed, unzipped
from boxwright.runtime import ConfigError, DataError

from .coco import read_coco
from .files import READABLE, is_file, is_folder, packed, unzip_command
from .labelme import read_labelme
from .recognise import recognised, seen
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
    format: str | None = None,  # noqa: A002  # the name users know
    *,
    split: tuple[float, ...] | None = None,
    seed: int | None = None,
    voc_origin: VocOrigin = "auto",
    boxes: str | None = None,
    pictures: str | Path | None = None,
    advance: Callable[[str, int, int], object] | None = None,
) -> Conversion:
    """Write a data set in the Roboflow layout: ``OUT/{train,valid,test}`` with ``_annotations.coco.json``.

    Pictures are copied byte for byte. The same source, split and seed give the same files.

    Args:
        source: folder of the data set, or its ``data.yaml`` or JSON file.
        out: a new or empty folder; after an error nothing is left of it.
        format: a key of ``READERS``; None for the one that the files are of.
        split: shares of train, valid and optionally test, sum 1: all pictures are split anew, by
            iterative stratification. None keeps the source's splits; a single split becomes 0.8 and 0.2.
        seed: of a new split; 0 by default.
        voc_origin: where VOC counts pixels from, see ``read_voc``.
        boxes: what the four numbers of COCO's boxes are, a key of ``READINGS``; None for x, y, width, height, unless
            they cannot be that.
        pictures: folder that holds the pictures of COCO documents, if they are not around the documents.
        advance: called with (what is being done, pictures done, pictures in all).

    Raises:
        ConfigError: an unknown format, settings that do not fit it, a seed where splits are kept, a folder that cannot
            be written.
        DataError: the source cannot be read, or no format or two formats fit; file and line, object or id are named.
    """
    source, out = Path(source), Path(out)
    folder = None if pictures is None else Path(pictures)
    if format is not None:
        _require_settings(format, voc_origin, boxes, folder)
    if split is not None:
        require_shares(split)
    require_new_folder(out, source)
    if not is_file(source) and not is_folder(source):
        raise DataError(f"{source}: no such file or folder.", "Give the folder of the data set.")
    if is_file(source) and is_zip(source):
        source = unzipped(source)
    refuse_packed(source)
    if format is None:
        format = _format_of(source)  # noqa: A001
        _require_settings(format, voc_origin, boxes, folder)
    read = _read(source, format, voc_origin, boxes, folder)
    notes = list(read.notes)
    if not read.pictures:
        reason = " ".join([f"{source}: no picture is left.", *notes])
        raise DataError(reason, f"Give annotated pictures that are {READABLE}.")
    _require_names(source, read.categories)
    splits = arrange(read, split, seed, notes, None if advance is None else partial(advance, "compare"))
    _write(out, splits, read.categories, notes, None if advance is None else partial(advance, "copy"))
    counts = {
        name: SplitCounts(len(part), sum(len(picture.objects) for picture in part))
        for name, (part, _) in splits.items()
    }
    return Conversion(out, counts, tuple(notes))


def _format_of(source: Path) -> str:
    """The format that the files are of.

    Raises:
        DataError: of none that is known, or of two.
    """
    form = recognised(source)
    if form in READERS:
        return form
    known = ", ".join(READERS)
    if form is not None:
        raise DataError(f"{source}: looks like {form}, which cannot be converted.", f"Known are {known}.")
    if is_folder(source) and (archives := packed(source)):
        raise DataError(
            f"{source}: holds {seen(source)}; no annotations of a known format are in it.",
            f"Unzip what is still packed: {unzip_command(archives[0])}",
        )
    names = FolderNames(source).files if is_folder(source) else []
    if names and all(is_picture_name(name) for name in names):
        raise DataError(
            f"{source}: holds {seen(source)}, and no annotations.",
            "Annotate them first, as with CVAT or Label Studio, and export as COCO.",
        )
    if source.suffix.lower() == ".csv":
        raise DataError(
            f"{source}: a table that VIA has not written; other tables are not read.",
            "Make COCO, VOC or YOLO files of it with the tool that it comes from.",
        )
    held = f"holds {seen(source)}" if is_folder(source) else "one file"
    raise DataError(
        f"{source}: {held}; no annotations of a known format are in it.", f"Say which it is: --from, one of {known}."
    )


def _read(source: Path, form: str, voc_origin: VocOrigin, boxes: str | None, pictures: Path | None) -> Source:
    if form == "voc":
        return read_voc(source, voc_origin)
    if form == "coco":
        return read_coco(source, boxes, pictures)
    return READERS[form](source)


def _require_settings(form: str, voc_origin: VocOrigin, boxes: str | None, pictures: Path | None) -> None:
    if form not in READERS:
        raise ConfigError(f"Format {form!r} is unknown.", f"Use one of {', '.join(READERS)}.")
    if voc_origin not in ("auto", 0, 1):
        raise ConfigError(f"VOC origin {voc_origin!r} is unknown.", "Use 'auto', 0 or 1.")
    if boxes is not None and boxes not in READINGS:
        raise ConfigError(f"boxes {boxes!r} is unknown.", f"Use one of {', '.join(READINGS)}.")
    if pictures is not None and not is_folder(pictures):
        raise ConfigError(f"{pictures}: no such folder.", "Give the folder that holds the pictures.")
    given = {
        f"VOC origin {voc_origin!r}": ("voc", voc_origin != "auto"),
        f"boxes {boxes!r}": ("coco", boxes is not None),
        f"pictures {str(pictures)!r}": ("coco", pictures is not None),
    }
    for setting, (fits, is_given) in given.items():
        if is_given and form != fits:
            raise ConfigError(f"{setting} does not fit format {form!r}.", "Leave it out.")


def _require_names(source: Path, categories: Sequence[Mapping[str, Any]]) -> None:
    """Refuse class names that the data check would refuse.

    Raises:
        DataError: the class is named.
    """
    for entry in categories:
        fault = category_fault(entry["name"])
        if fault:
            raise DataError(f"{source}: category {entry['id']}: {fault}.", "Rename it in the source.")


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
            (folder / name / ANNOTATIONS).write_text(_json(content, name, notes), encoding="ascii")


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


def _json(document: Mapping[str, Any], split: str, notes: list[str]) -> str:
    try:
        try:
            return _dumped(document)
        except ValueError:  # JSON has no NaN and no infinity
            notes.append(f"{split}: values that are NaN or infinite were written as null.")
            return _dumped(null_for_nan(document))
    except RecursionError as error:
        raise DataError("The source's JSON is nested too deep to be written.", "Remove the nested part.") from error


def _dumped(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n"
