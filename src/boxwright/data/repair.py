"""Writes a repaired copy of a data folder: what needs no guess is repaired, the rest stays as it is."""

from __future__ import annotations

import copy
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boxwright.runtime import ConfigError, DataError

from .checks import Inspection
from .checks.annotations import box_problem, clip
from .checks.scan import PictureFacts
from .documents import ANNOTATIONS, SPLITS, AnnotationEntry, Box, Document
from .findings import CODES, Finding
from .new_folder import new_folder, require_new_folder
from .turning import turn_box, turn_polygons

__all__ = ["repair_folder"]

Entry = dict[str, Any]

_DROPS_PICTURE = {code for code, row in CODES.items() if row.repair == "entry and annotations removed"}


@dataclass
class _Repair:
    """One split's JSON document while it is repaired; positions are those of the original lists."""

    raw: Entry
    dropped_images: set[int] = field(default_factory=set)
    dropped_annotations: set[int] = field(default_factory=set)


def repair_folder(
    inspection: Inspection, out: Path, advance: Callable[[int, int], object] | None = None
) -> tuple[Finding, ...]:
    """Write a repaired copy; the original is not touched. ``CODES`` says what is repaired, and how.

    Args:
        inspection: of the folder to repair, pixels included.
        out: new or empty folder.
        advance: called with (pictures copied, pictures in all).

    Returns:
        The findings that were repaired.

    Raises:
        ConfigError: ``out`` holds files already, or lies in the data folder.
        DataError: an annotation file that cannot be read cannot be repaired.
    """
    _require_free(out, inspection.root)
    unread = [split for split in SPLITS if (inspection.root / split / ANNOTATIONS).is_file()]
    for split in unread:
        if split not in inspection.documents:
            raise DataError(f"{inspection.root / split / ANNOTATIONS} cannot be read.", "Export the file again.")
    by_split: dict[str, list[Finding]] = defaultdict(list)
    for finding in inspection.findings:
        by_split[finding.split or ""].append(finding)
    with new_folder(out) as draft:
        for split, document in inspection.documents.items():
            repaired = _repaired(document, inspection, by_split[split])
            _write(repaired, inspection.root / split, draft / split, advance)
    return tuple(finding for finding in inspection.findings if CODES[finding.code].repair)


def _require_free(out: Path, root: Path) -> None:
    require_new_folder(out)
    if out.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"{out} lies inside {root}.", "Give a folder outside the data.")


def _repaired(document: Document, inspection: Inspection, findings: list[Finding]) -> Entry:
    repair = _Repair(copy.deepcopy(dict(document.raw)))
    _drop_pictures(repair, {finding.file for finding in findings if finding.code in _DROPS_PICTURE})
    _merge_entries(repair, document)
    rotated = {finding.image_id for finding in findings if finding.code == "picture-rotated"}
    views = _views(document, inspection)
    for image in document.images:
        if image.id in views:
            _repair_size(repair.raw["images"][image.position], views[image.id], image.id in rotated)
    for entry in document.annotations:
        annotation = repair.raw["annotations"][entry.position]
        seen = views.get(annotation["image_id"])
        if seen is not None:
            box = _turn_upright(annotation, entry, seen) if entry.image_id in rotated else entry.box
            _repair_box(repair, entry.position, box, seen.size)
    _drop_unowned(repair, document)
    _drop_copies(repair)
    return _finished(repair)


def _views(document: Document, inspection: Inspection) -> dict[int, PictureFacts]:
    """What was seen of each picture, by id; ids used twice and pictures that cannot be decoded left out."""
    used = Counter(image.id for image in document.images)
    facts = {image.id: inspection.facts[document.split].get(image.file_name) for image in document.images}
    return {
        number: seen for number, seen in facts.items() if seen is not None and seen.error is None and used[number] == 1
    }


def _drop_pictures(repair: _Repair, names: set[str | None]) -> None:
    for position, image in enumerate(repair.raw["images"]):
        if isinstance(image.get("file_name"), str) and image["file_name"] in names:
            repair.dropped_images.add(position)


def _merge_entries(repair: _Repair, document: Document) -> None:
    """Give the annotations of later entries of a file to its first entry."""
    first: dict[str, int] = {}
    merged: dict[int, int] = {}
    for entry in document.images:
        if first.setdefault(entry.file_name, entry.id) != entry.id:
            merged[entry.id] = first[entry.file_name]
            repair.dropped_images.add(entry.position)
    for annotation in document.annotations:
        raw = repair.raw["annotations"][annotation.position]
        raw["image_id"] = merged.get(annotation.image_id, annotation.image_id)


def _repair_size(image: Entry, seen: PictureFacts, rotated: bool) -> None:
    for key, side in zip(("width", "height"), seen.size, strict=True):
        if rotated or image.get(key) is None:
            image[key] = side


def _turn_upright(annotation: Entry, entry: AnnotationEntry, seen: PictureFacts) -> Box:
    """Move box and polygons, drawn on the stored picture, to where they lie on the upright one."""
    box = turn_box(entry.box, seen.stored, seen.turn)
    annotation["bbox"] = list(box)
    if isinstance(annotation.get("segmentation"), list):
        annotation["segmentation"] = turn_polygons(annotation["segmentation"], seen.stored, seen.turn)
    return box


def _repair_box(repair: _Repair, position: int, box: Box, size: tuple[int, int]) -> None:
    """Clip a box that reaches over the edge; take out one without area inside the picture."""
    clipped = clip(box, size)
    if clipped is None:
        repair.dropped_annotations.add(position)
    elif box_problem(box, size) == "box-outside":
        left, top, right, bottom = clipped
        annotation = repair.raw["annotations"][position]
        annotation |= {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}


def _drop_unowned(repair: _Repair, document: Document) -> None:
    """Take out annotations whose picture is not listed, or not any more."""
    images = (image for at, image in enumerate(repair.raw["images"]) if at not in repair.dropped_images)
    owners = {image["id"] for image in images if isinstance(image.get("id"), int | float)}
    for entry in document.annotations:
        if repair.raw["annotations"][entry.position]["image_id"] not in owners:
            repair.dropped_annotations.add(entry.position)


def _drop_copies(repair: _Repair) -> None:
    seen: set[str] = set()
    for at, annotation in enumerate(repair.raw["annotations"]):
        if at in repair.dropped_annotations:
            continue
        what = [annotation.get(key) for key in ("image_id", "category_id", "bbox")]
        key = json.dumps([*what, annotation.get("iscrowd") or 0])
        if key in seen:
            repair.dropped_annotations.add(at)
        seen.add(key)


def _finished(repair: _Repair) -> Entry:
    raw = repair.raw
    raw["images"] = [image for at, image in enumerate(raw["images"]) if at not in repair.dropped_images]
    raw["annotations"] = [one for at, one in enumerate(raw["annotations"]) if at not in repair.dropped_annotations]
    _renumber(raw["annotations"])
    return raw


def _renumber(annotations: list[Entry]) -> None:
    """New ids, above all others, for those that are 0 or used before."""
    used: set[str] = set()
    free = max((int(one["id"]) for one in annotations if isinstance(one.get("id"), int)), default=0) + 1
    for one in annotations:
        if one.get("id") == 0 or repr(one.get("id")) in used:
            one["id"], free = free, free + 1
        used.add(repr(one.get("id")))


def _write(raw: Mapping[str, Any], source: Path, target: Path, advance: Callable[[int, int], object] | None) -> None:
    target.mkdir(parents=True)
    names = list(dict.fromkeys(_present(raw["images"], source)))
    for number, name in enumerate(names, start=1):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)  # through a symbolic link: the file itself
        if advance:
            advance(number, len(names))
    (target / ANNOTATIONS).write_text(json.dumps(raw, indent=1), encoding="utf-8")


def _present(images: list[Entry], source: Path) -> Iterator[str]:
    names = (image.get("file_name") for image in images)
    return (name for name in names if isinstance(name, str) and ".." not in name and (source / name).is_file())
