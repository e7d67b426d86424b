"""A checked folder becomes typed records.

Layout: ``train/``, ``valid/`` and optionally ``test/``, each with its pictures and
``_annotations.coco.json``. Errors of the data check are raised here, before any training starts.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import ClassEntry, DataError
from boxwright.runtime.picture import DATA_PIXELS, LARGEST_PIXELS
from boxwright.runtime.preprocess import Window

from .checks import Inspection, inspect_folder
from .checks.scan import PictureFacts
from .contract import require_classes
from .documents import ANNOTATIONS, SPLITS, AnnotationEntry, ImageEntry, clip

__all__ = [
    "DataFolder",
    "PictureRecord",
    "Split",
    "fingerprint",
    "folder_of",
    "read_folder",
    "read_split",
    "records_of",
]


@dataclass(frozen=True, eq=False)
class PictureRecord:
    """One picture and its annotations.

    Attributes:
        id: picture id in the JSON.
        path: of the file.
        width: pixels, upright.
        height: pixels, upright.
        boxes: float64 [n, 4], xyxy, pixels, clipped to the picture; each has an area.
        labels: int64 [n], class indices.
        crowd: bool [n]; ignored in measuring, not trained on.
        area: float64 [n], square pixels, as the JSON gives it, else the box's.
        digest: SHA-256 of the file; None if its pixels were not read.
        window: the part of the picture that this record is of; None for all of it.
    """

    id: int
    path: Path
    width: int
    height: int
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]
    digest: bytes | None = None
    window: Window | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """One split's records, in the order of the JSON.

    Attributes:
        name: ``train``, ``valid`` or ``test``.
        pictures: with and without objects.
    """

    name: str
    pictures: tuple[PictureRecord, ...]

    @property
    def boxes(self) -> int:
        """Number of boxes, crowds included."""
        return sum(len(picture.labels) for picture in self.pictures)


@dataclass(frozen=True, eq=False)
class DataFolder:
    """A whole data set.

    Attributes:
        root: the folder.
        classes: the class contract, by class index.
        splits: by name, those that exist.
        inspection: result of the data check.
    """

    root: Path
    classes: tuple[ClassEntry, ...]
    splits: Mapping[str, Split]
    inspection: Inspection


def read_folder(
    root: Path,
    *,
    pixels: bool = True,
    max_pixels: int = DATA_PIXELS,
    advance: Callable[[int, int], object] | None = None,
) -> DataFolder:
    """Check and read a data set: ``train`` and ``valid`` must exist, ``test`` may.

    Args:
        root: the folder.
        pixels: decode every picture while checking; else only their headers are read.
        max_pixels: largest accepted width x height of a picture.
        advance: called with (pictures checked, pictures in all).

    Raises:
        DataError: the data check reports an error; file and annotation id are named.
    """
    return folder_of(inspect_folder(root, pixels=pixels, max_pixels=max_pixels, advance=advance))


def folder_of(inspection: Inspection) -> DataFolder:
    """The records of a checked folder.

    Raises:
        DataError: see ``read_folder``.
    """
    inspection.require_no_errors()
    splits = {name: records_of(name, inspection, inspection.classes) for name in inspection.documents}
    return DataFolder(inspection.root, inspection.classes, splits, inspection)


def read_split(root: Path, name: str, classes: Sequence[ClassEntry]) -> Split:
    """Check and read one split against a model's class contract; of its pictures only the headers are read.

    Raises:
        ContractError: a class of the split is not the model's.
        DataError: see ``read_folder``.
    """
    inspection = inspect_folder(root, (name,), pixels=False, max_pixels=LARGEST_PIXELS)
    if name in inspection.documents:
        require_classes(inspection.documents[name], classes, str(root / name / ANNOTATIONS))
    inspection.require_no_errors()
    if name not in inspection.documents:
        raise DataError(f"{root / name}: lists no annotations.", "Annotate it, or take another split.")
    return records_of(name, inspection, classes)


def fingerprint(folder: DataFolder, splits: Sequence[str] = SPLITS) -> str:
    """SHA-256 (hex) over each split's annotation file and every picture's name and size in bytes.

    Pictures are not read: a picture replaced by another of the same size is not noticed.

    Args:
        folder: checked records.
        splits: to include, those that exist.
    """
    digest = hashlib.sha256()
    for name, split in folder.splits.items():
        if name not in splits:
            continue
        digest.update(name.encode() + (folder.root / name / ANNOTATIONS).read_bytes())
        for record in split.pictures:
            place = record.path.relative_to(folder.root).as_posix()
            digest.update(f"{place}\0{record.path.stat().st_size}\n".encode())
    return digest.hexdigest()


def records_of(name: str, inspection: Inspection, classes: Sequence[ClassEntry]) -> Split:
    """One split's records, from an inspection without errors; every used category is one of the classes."""
    document, folder = inspection.documents[name], inspection.root / name
    index_of = {entry.id: index for index, entry in enumerate(classes)}
    by_picture: dict[int, list[AnnotationEntry]] = defaultdict(list)
    for entry in document.annotations:
        by_picture[entry.image_id].append(entry)
    facts = inspection.facts[name]
    records = (
        _record(image, folder / image.file_name, facts[image.file_name], by_picture[image.id], index_of)
        for image in document.images
    )
    return Split(name, tuple(records))


def _record(
    image: ImageEntry,
    path: Path,
    facts: PictureFacts,
    annotations: Sequence[AnnotationEntry],
    index_of: Mapping[int, int],
) -> PictureRecord:
    """One picture with its annotations, without those whose box has no area inside the picture."""
    clipped = ((entry, clip(entry.box, facts.size)) for entry in annotations)
    rows = [(entry, box) for entry, box in clipped if box is not None]
    return PictureRecord(
        id=image.id,
        path=path,
        width=facts.size[0],
        height=facts.size[1],
        boxes=np.array([box for _, box in rows], dtype=np.float64).reshape(-1, 4),
        labels=np.array([index_of[entry.category_id] for entry, _ in rows], dtype=np.int64),
        crowd=np.array([entry.crowd for entry, _ in rows], dtype=bool),
        area=np.array([_area(entry, box) for entry, box in rows], dtype=np.float64),
        digest=facts.digest,
    )


def _area(entry: AnnotationEntry, box: tuple[float, float, float, float]) -> float:
    return entry.area if entry.area is not None else (box[2] - box[0]) * (box[3] - box[1])
