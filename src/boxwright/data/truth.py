"""Annotated pictures to measure by: a split of a data folder, or a COCO annotation file alone, without its pictures.

A folder gives the records that training and ``evaluate`` use: boxes are clipped to the pictures, which must be there.
A file is taken as it is written, as pycocotools takes it: by rising picture id, with boxes and areas as given.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.runtime import ClassEntry, ConfigError, DataError
from boxwright.runtime.picture import LARGEST_PIXELS

from .box_readings import READINGS, BoxEvidence, fitting_reading, outline_bounds
from .checks import inspect_folder
from .checks.annotations import check_annotations, check_category_ids
from .checks.scan import Listing, SplitContents, scan_pictures
from .contract import class_contract, require_classes
from .documents import ANNOTATIONS, AnnotationEntry, Document, ImageEntry, is_number, read_document, split_named
from .file_names import FolderNames, NamesAsWritten
from .findings import Finding
from .records import PictureRecord, Split, records_of

__all__ = ["Truth", "read_truth"]

_MATTERS = ("category-id-twice", "unknown-picture", "unknown-category")
"""What is wrong with an annotation file even without its pictures."""
_ABSENT = ("picture-missing", "pictures-absent")


@dataclass(frozen=True, eq=False)
class Truth:
    """Annotated pictures.

    Attributes:
        source: the annotation file.
        folder: where the names of the pictures start.
        split: the records; its name is that of the split, or of the file.
        file_names: one per record, relative to ``folder``.
        classes: by class index.
        others: names of the listed categories that are no classes, as super-categories, by id.
    """

    source: Path
    folder: Path
    split: Split
    file_names: tuple[str, ...]
    classes: tuple[ClassEntry, ...]
    others: Mapping[int, str]


def read_truth(data: Path, split: str = "valid", classes: Sequence[ClassEntry] | None = None) -> Truth:
    """Read what results are measured by.

    Args:
        data: folder with the split, or a COCO annotation file.
        split: ``train``, ``valid`` or ``test`` of a folder.
        classes: the contract of a model, for a folder; by default the classes are those of the annotation file.

    Raises:
        ConfigError: a split is asked for in a file.
        ContractError: a class of the data is not the model's.
        DataError: the data cannot be read; file and annotation id are named.
    """
    split = split_named(split)
    if data.suffix.lower() == ".json" and not data.is_dir():
        return _of_file(data, split)
    return _of_folder(data, split, classes)


def _of_folder(root: Path, name: str, classes: Sequence[ClassEntry] | None) -> Truth:
    inspection = inspect_folder(root, (name,), pixels=False, max_pixels=LARGEST_PIXELS)
    path = root / name / ANNOTATIONS
    document = inspection.documents.get(name)
    if document is not None and {one.code for one in inspection.of("error")} & set(_ABSENT):
        raise DataError(
            f"{root}: {inspection.of('error')[0]}.",
            f"Put them there; or measure without pictures: --data {path}",
        )
    if document is not None and classes is not None:
        require_classes(document, classes, str(path))
    inspection.require_no_errors()
    assert document is not None, "a split without a document is an error"
    contract = tuple(classes) if classes is not None else _contract(document, path)
    records = records_of(name, inspection, contract)
    names = tuple(one.path.relative_to(root / name).as_posix() for one in records.pictures)
    return Truth(path, root / name, records, names, contract, _others(document, contract))


def _of_file(path: Path, split: str) -> Truth:
    if split != "valid":
        raise ConfigError(
            f"--split {split} does not go with {path}, which is an annotation file.", "Give the file of that split."
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file.", "Give a folder with train/ and valid/, or an annotation file.")
    document = _document(path)
    contract = _contract(document, path)
    by_picture: dict[int, list[AnnotationEntry]] = defaultdict(list)
    for entry in document.annotations:
        by_picture[entry.image_id].append(entry)
    images = sorted(document.images, key=lambda one: one.id)
    index_of = {entry.id: index for index, entry in enumerate(contract)}
    sizes = _sizes(images, path.parent)
    records = tuple(
        _record(one, path.parent / one.file_name, sizes[one.id], by_picture[one.id], document, index_of)
        for one in images
    )
    names = tuple(one.file_name for one in images)
    return Truth(path, path.parent, Split(path.stem, records), names, contract, _others(document, contract))


def _document(path: Path) -> Document:
    findings: list[Finding] = []
    document = read_document(path, path.stem, findings, NamesAsWritten())
    wrong = [one for one in findings if one.level == "error"]
    if document is not None:
        contents = SplitContents(document, Listing(frozenset(), frozenset(), frozenset()), {})
        wrong += _listed(document)
        for check in (check_category_ids, check_annotations):
            wrong += [one for one in check(contents) if one.code in _MATTERS]
        wrong += _meaning(document)
    if wrong:
        rest = f" (and {len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
        raise DataError(f"{path}: {wrong[0]}{rest}.", wrong[0].remedy)
    assert document is not None, "a file that is no document has a finding"
    return document


def _listed(document: Document) -> list[Finding]:
    """No pictures, or several with the same id."""
    if not document.images:
        return [Finding("split-empty", "the file lists no pictures", document.split)]
    counts = Counter(one.id for one in document.images)
    return [
        Finding("picture-id-twice", f"picture id {number} is used twice", document.split, image_id=number)
        for number, count in counts.items()
        if count > 1
    ]


def _meaning(document: Document) -> list[Finding]:
    """Boxes with a negative side, or that are not x, y, width, height by the areas, outlines and sizes in the file."""
    raw = document.raw["annotations"]
    sizes = {one.id: one.size for one in document.images}
    evidence = [
        BoxEvidence(one.box, size, one.area, outline_bounds(raw[one.position].get("segmentation")))
        for one in document.annotations
        if (size := sizes.get(one.image_id)) is not None
    ]
    reading = fitting_reading(evidence)
    if reading != "xywh":
        message = f"the boxes fit as {READINGS[reading].words} ({reading}), not as x, y, width, height"
        return [Finding("boxes-reading", message, document.split)]
    return [
        Finding("box-invalid", f"box {list(one.box)} has a negative side", document.split, None, one.image_id, one.id)
        for one in document.annotations
        if min(one.box[2:]) < 0
    ]


def _contract(document: Document, path: Path) -> tuple[ClassEntry, ...]:
    contract = class_contract({"train": document})
    twice = [name for name, count in Counter(entry.name for entry in contract).items() if count > 1]
    if twice:
        raise DataError(f"{path}: category name {twice[0]!r} is used twice.", "Give each class a name of its own.")
    return contract


def _others(document: Document, classes: Sequence[ClassEntry]) -> dict[int, str]:
    known = {entry.id for entry in classes}
    return {entry.id: entry.name for entry in document.categories if entry.id not in known}


def _sizes(images: Sequence[ImageEntry], folder: Path) -> dict[int, tuple[int, int]]:
    """(width, height) by picture id: as written, else the picture's own if it is there, else (0, 0)."""
    known = {one.id: one.size for one in images if one.size is not None}
    here = FolderNames(folder)
    there = [one for one in images if one.size is None and here.holds(one.file_name)]
    scanned = scan_pictures([str(folder / one.file_name) for one in there], pixels=False)
    own = {one.id: facts.size for one, facts in zip(there, scanned, strict=True)}
    return {one.id: (0, 0) for one in images} | own | known


def _record(
    image: ImageEntry,
    path: Path,
    size: tuple[int, int],
    annotations: Sequence[AnnotationEntry],
    document: Document,
    index_of: Mapping[int, int],
) -> PictureRecord:
    """One picture with all of its annotations."""
    raw = document.raw["annotations"]
    corners = np.array([one.box for one in annotations], dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return PictureRecord(
        id=image.id,
        path=path,
        width=size[0],
        height=size[1],
        boxes=corners,
        labels=np.array([index_of[one.category_id] for one in annotations], dtype=np.int64),
        crowd=np.array([one.crowd for one in annotations], dtype=bool),
        area=np.array([_area(one, raw[one.position]) for one in annotations], dtype=np.float64),
    )


def _area(annotation: AnnotationEntry, raw: Mapping[str, Any]) -> float:
    """As given, also 0; else the box's."""
    given = raw.get("area")
    return float(given) if is_number(given) and given >= 0 else annotation.box[2] * annotation.box[3]
