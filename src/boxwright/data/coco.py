"""Reads a Roboflow-style COCO folder into checked, typed records.

Layout: ``train/``, ``valid/`` and optionally ``test/``, each with its pictures and
``_annotations.coco.json``. Everything that would spoil a training run is an error here, before any
training starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import ClassEntry, DataError, PictureError
from boxwright.runtime.picture import upright_size

from .contract import check_categories, class_contract

__all__ = ["ANNOTATIONS", "SPLITS", "DataFolder", "PictureRecord", "Split", "read_folder", "read_split"]

ANNOTATIONS = "_annotations.coco.json"
SPLITS = ("train", "valid", "test")
_LARGEST_NUMBER = 1e12  # false for NaN and infinity too


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
        crowd: bool [n]; measured around, not trained on.
        area: float64 [n], square pixels, as the JSON gives it, else the box's.
    """

    id: int
    path: Path
    width: int
    height: int
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Split:
    """One split's records, in the order of the JSON, and what was left out of them.

    Attributes:
        name: ``train``, ``valid`` or ``test``.
        pictures: pictures without objects included.
        left_out: one sentence for each annotation that was not usable.
    """

    name: str
    pictures: tuple[PictureRecord, ...]
    left_out: tuple[str, ...]

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
        notes: warnings a person should read, one sentence each.
    """

    root: Path
    classes: tuple[ClassEntry, ...]
    splits: Mapping[str, Split]
    notes: tuple[str, ...]


def read_folder(root: Path) -> DataFolder:
    """Read and check a data set: ``train`` and ``valid`` must be there, ``test`` may be.

    Raises:
        DataError: a missing folder or file, broken JSON, a missing picture, an unknown category or
            picture id, sizes that disagree, an empty split; file and annotation id are named.
    """
    _require_folder(root)
    names = [name for name in SPLITS if name != "test" or (root / name).is_dir()]
    documents = {name: _load(root / name / ANNOTATIONS) for name in names}
    classes, notes = class_contract(documents)
    splits = {name: _split(name, root / name, documents[name], classes) for name in names}
    for name, purpose in (("train", "learn"), ("valid", "measure by")):
        if not any((~picture.crowd).any() for picture in splits[name].pictures):
            raise DataError(f"{root / name / ANNOTATIONS}: no usable box; there is nothing to {purpose}.")
    left_out = [sentence for split in splits.values() for sentence in split.left_out]
    return DataFolder(root, classes, splits, (*notes, *left_out))


def read_split(root: Path, name: str, classes: Sequence[ClassEntry]) -> Split:
    """Read and check one split against a model's class contract.

    Raises:
        ContractError: a class of the split is not the model's.
        DataError: see ``read_folder``.
    """
    _require_folder(root)
    document = _load(root / name / ANNOTATIONS)
    check_categories(document, classes, str(root / name / ANNOTATIONS))
    return _split(name, root / name, document, classes)


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder.", "Give the folder that holds train/ and valid/.")


def _load(path: Path) -> dict[str, Any]:
    """The JSON document, with its three lists present."""
    if not path.is_file():
        raise _missing(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {error}.", "Export the file again.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: not a COCO document.", "It must hold images, annotations and categories.")
    for key in ("images", "annotations", "categories"):
        entries = document.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{path}: {key!r} is missing or not a list of objects.", "Export the file again.")
    return document


def _missing(path: Path) -> DataError:
    """What is wrong where a split's annotation file should be, as far as it can be seen."""
    root, split = path.parent.parent, path.parent.name
    if (root / ANNOTATIONS).is_file():
        return DataError(f"{root} is one split, not the whole data set.", f"Give the folder above: {root.parent}.")
    remedy = "Export the data set from Roboflow in the format 'COCO'."
    if (root / "data.yaml").is_file() or (path.parent / "labels").is_dir():
        return DataError(f"{path}: missing; this looks like a YOLO export.", remedy)
    if not path.parent.is_dir():
        return DataError(f"{root} has no folder {split!r} ({path}: missing).", remedy)
    return DataError(f"{path}: missing.", remedy)


def _split(name: str, folder: Path, document: dict[str, Any], classes: Sequence[ClassEntry]) -> Split:
    path = folder / ANNOTATIONS
    index_of = {entry.id: index for index, entry in enumerate(classes)}
    images = _images_by_id(document["images"], path)
    annotations = _annotations_by_image(document["annotations"], images, index_of, path)
    left_out: list[str] = []
    pictures = tuple(_record(image, folder, annotations[key], index_of, left_out) for key, image in images.items())
    return Split(name, pictures, tuple(left_out))


def _images_by_id(entries: list[dict[str, Any]], path: Path) -> dict[int, dict[str, Any]]:
    images: dict[int, dict[str, Any]] = {}
    for entry in entries:
        number = _integer(entry, "id", f"{path}: picture {entry.get('file_name')!r}")
        if number in images:
            raise DataError(f"{path}: picture id {number} is used twice.", "Give each picture its own id.")
        if not isinstance(entry.get("file_name"), str):
            raise DataError(f"{path}: picture id {number} has no file_name.", "Export the file again.")
        images[number] = entry
    if not images:
        raise DataError(f"{path}: the split is empty.", "Put pictures into it.")
    return images


def _annotations_by_image(
    entries: list[dict[str, Any]],
    images: Mapping[int, Mapping[str, Any]],
    index_of: Mapping[int, int],
    path: Path,
) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {number: [] for number in images}
    for entry in entries:
        who = f"{path}: annotation id {entry.get('id')!r}"
        picture = _integer(entry, "image_id", who)
        if picture not in grouped:
            raise DataError(f"{who}: picture id {picture} does not exist.", "Remove it, or list the picture.")
        category = _integer(entry, "category_id", who)
        if category not in index_of:
            raise DataError(
                f"{who} of {images[picture]['file_name']!r}: category id {category} is not a class.",
                f"Known category ids: {sorted(index_of)}.",
            )
        if entry.get("iscrowd", 0) not in (0, 1, None):
            raise DataError(f"{who}: iscrowd = {entry['iscrowd']!r} is neither 0 nor 1.", "Export the file again.")
        _require_box(entry.get("bbox"), f"{who} of {images[picture]['file_name']!r}")
        grouped[picture].append(entry)
    return grouped


def _integer(entry: Mapping[str, Any], key: str, who: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise DataError(f"{who}: {key} = {value!r} is not a whole number.", "Export the file again.")
    return int(value)


def _require_box(box: object, who: str) -> None:
    numbers = isinstance(box, list) and len(box) == 4
    if not numbers or not all(_finite(side) for side in box):  # type: ignore[attr-defined]
        raise DataError(f"{who}: bbox = {box!r} is not four finite numbers.", "Write [x, y, width, height].")


def _finite(value: object) -> bool:
    """Whether it is a number of a size that a picture can have."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER


def _record(
    image: Mapping[str, Any],
    folder: Path,
    annotations: list[dict[str, Any]],
    index_of: Mapping[int, int],
    left_out: list[str],
) -> PictureRecord:
    path = _picture_path(folder, image["file_name"])
    width, height = _upright_size(path)
    _require_size(image, width, height, folder / ANNOTATIONS)
    rows = list(_usable(annotations, width, height, path, left_out))
    return PictureRecord(
        id=int(image["id"]),
        path=path,
        width=width,
        height=height,
        boxes=np.array([box for _, box in rows], dtype=np.float64).reshape(-1, 4),
        labels=np.array([index_of[int(entry["category_id"])] for entry, _ in rows], dtype=np.int64),
        crowd=np.array([bool(entry.get("iscrowd", 0)) for entry, _ in rows], dtype=bool),
        area=np.array([_area(entry, box) for entry, box in rows], dtype=np.float64),
    )


def _picture_path(folder: Path, file_name: str) -> Path:
    path = folder / file_name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        found = path.is_file()
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / ANNOTATIONS}: file_name {file_name!r} is no file name.") from error
    if not inside:
        raise DataError(f"{folder / ANNOTATIONS}: {file_name!r} lies outside {folder}.", "Move it inside.")
    if not found:
        raise DataError(f"{folder / ANNOTATIONS}: picture {file_name!r} is missing.", f"Put it into {folder}.")
    return path


def _upright_size(path: Path) -> tuple[int, int]:
    try:
        return upright_size(path)
    except PictureError as error:
        raise DataError(error.message, "Replace it.") from error


def _require_size(image: Mapping[str, Any], width: int, height: int, path: Path) -> None:
    said = (image.get("width"), image.get("height"))
    if None not in said and said != (width, height):
        raise DataError(
            f"{path}: picture {image['file_name']!r} is {width} x {height} pixels upright, "
            f"the JSON says {said[0]} x {said[1]}.",
            "The boxes were drawn on another version of the picture (EXIF rotation?); export both again.",
        )


def _usable(
    annotations: list[dict[str, Any]], width: int, height: int, path: Path, left_out: list[str]
) -> Iterator[tuple[dict[str, Any], list[float]]]:
    """Annotations with their boxes xyxy, clipped to the picture; those without area are reported."""
    for entry in annotations:
        x, y, w, h = (float(side) for side in entry["bbox"])
        box = [max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))]
        if box[2] > box[0] and box[3] > box[1]:
            yield entry, box
        else:
            left_out.append(
                f"{path.parent.name}: annotation id {entry.get('id')} of {path.name!r} left out: "
                f"its box {entry['bbox']} has no area inside the picture."
            )


def _area(entry: Mapping[str, Any], box: list[float]) -> float:
    area = entry.get("area")
    return float(area) if _finite(area) else (box[2] - box[0]) * (box[3] - box[1])  # type: ignore[arg-type]
