"""Reads a YOLO data set: ``data.yaml`` as Ultralytics and Roboflow write it, label files with one object per line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.data.file_names import split_of
from boxwright.runtime import DataError

from .files import decodable, is_file, is_folder, measure, pictures_in, read_text
from .source import Source, SourceObject, SourcePicture, plain_categories

__all__ = ["LabelFormat", "read_labels", "read_yolo"]

_KEYS = ("train", "val", "test")
_USUAL_NAMES = ("data.yaml", "data.yml", "dataset.yaml")
_EMPTY: tuple[Any, ...] = ("", "~", "null")
_COUNT = re.compile(r"[1-9]\d{0,3}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TOLERANCE = 0.01  # what Ultralytics accepts as rounding
_BOX = 4
_SMALLEST_POLYGON = 6

PictureNames = list[tuple[Path, str]]
"""Path, and name relative to the folder of the pictures."""


@dataclass(frozen=True)
class LabelFormat:
    """How a data set's label lines are read.

    Attributes:
        classes: number of classes.
        keypoints: how many numbers of keypoints follow the box on each line; 0 in a data set without keypoints.
    """

    classes: int
    keypoints: int = 0


def read_yolo(source: Path) -> Source:
    """Read a data set described by a ``data.yaml``.

    A label file lies in ``labels/`` in place of the last ``images/`` of its picture's path, else beside the
    picture. A picture without a label file has no objects.

    Args:
        source: the YAML file, or the folder that holds it.

    Raises:
        DataError: the YAML, a folder, a list, a picture or a label line cannot be used.
    """
    config = _find_config(source)
    settings = _load(config)
    names = _names(settings, config)
    form = LabelFormat(len(names), _keypoints(settings, config))
    notes: list[str] = []
    listed = [(split, entry) for split in _KEYS for entry in _listed(split, settings, config, notes)]
    if not listed:
        raise DataError(f"{config}: neither train, val nor test names a picture.", "Write where the pictures are.")
    labels = {path: label for _, (path, _) in listed if (label := _label_path(path)) is not None}
    notes.extend(_label_notes(len({path for _, (path, _) in listed}), len(labels), form, config))
    pictures = tuple(_picture(path, name, split, labels.get(path), form) for split, (path, name) in listed)
    return Source(pictures, plain_categories(names), notes=tuple(notes))


def _find_config(source: Path) -> Path:
    if is_file(source):
        return source
    usual = [source / name for name in _USUAL_NAMES if is_file(source / name)]
    candidates = usual[:1] or sorted((*source.glob("*.yaml"), *source.glob("*.yml")))
    if len(candidates) != 1:
        problem = "several YAML files and no data.yaml" if candidates else "no data.yaml"
        raise DataError(f"{source}: {problem}.", "Give the YAML file that names the pictures and classes.")
    return candidates[0]


def _load(config: Path) -> dict[str, Any]:
    """The settings, every scalar as the text in the file: a class may be called ``no`` or ``007``."""
    import yaml

    try:
        settings = yaml.load(read_text(config), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{config}: broken YAML: {' '.join(str(error).split())}.", "Correct the file.") from error
    if not isinstance(settings, dict):
        raise DataError(f"{config}: not keys and values.", "It must hold train, val and names.")
    return {key: value for key, value in settings.items() if value not in _EMPTY}


def _names(settings: Mapping[str, Any], config: Path) -> list[str]:
    names = settings.get("names")
    if isinstance(names, dict):
        names = _numbered(names, config)
    if not isinstance(names, list) or not names:
        raise DataError(f"{config}: names is missing or not a list.", "List the classes' names.")
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise DataError(f"{config}: the name of class {number} is not text.", "Write its name.")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{config}: the class name {repeated[0]!r} is used twice.", "Rename one.")
    if settings.get("nc", str(len(names))) != str(len(names)):
        raise DataError(f"{config}: nc is not {len(names)}, the number of names.", "Correct one of them.")
    return names


def _numbered(names: Mapping[Any, Any], config: Path) -> list[Any]:
    numbers = [str(number) for number in range(len(names))]
    if set(names) != set(numbers):
        raise DataError(f"{config}: names is not numbered 0, 1, 2, ... without gaps.", "Number the classes anew.")
    return [names[number] for number in numbers]


def _keypoints(settings: Mapping[str, Any], config: Path) -> int:
    """How many numbers of keypoints follow each box."""
    shape = settings.get("kpt_shape")
    if shape is None:
        return 0
    sides = shape if isinstance(shape, list) and len(shape) == 2 else [shape]
    if len(sides) != 2 or not all(isinstance(side, str) and _COUNT.fullmatch(side) for side in sides):
        raise DataError(f"{config}: kpt_shape is not two whole numbers.", "Write [keypoints, 2 or 3].")
    return int(sides[0]) * int(sides[1])


def _listed(key: str, settings: Mapping[str, Any], config: Path, notes: list[str]) -> PictureNames:
    """The pictures of one split."""
    value = settings.get(key)
    if value is None and key == "val":
        value = settings.get("valid")
    entries = value if isinstance(value, list) else [value] if value is not None else []
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise DataError(f"{config}: {key} is neither a path nor a list of paths.", "Write where the pictures are.")
    root = _root(settings, config, notes)
    places = [_place(entry, "path" in settings, root, config.parent) for entry in entries]
    if key == "test" and None in places:
        notes.append(f"{config}: test names {entries[places.index(None)]!r}, which does not exist; there is no test.")
        return []
    listed = [
        entry for name, place in zip(entries, places, strict=True) for entry in _at(key, name, place, root, notes)
    ]
    unique = {path: (path, name) for path, name in listed}
    if len(unique) < len(listed):
        notes.append(f"{config}: {key} names pictures again: {len(listed) - len(unique)}. Each was taken once.")
    return list(unique.values())


def _root(settings: Mapping[str, Any], config: Path, notes: list[str]) -> Path:
    path = settings.get("path")
    if path is None:
        return config.parent
    if isinstance(path, str) and is_folder(config.parent / path):
        return config.parent / path
    note = f"{config}: path does not exist here; its folders are looked for beside the file."
    if note not in notes:
        notes.append(note)
    return config.parent


def _place(entry: str, rooted: bool, root: Path, beside: Path) -> Path | None:
    """The first place that exists.

    Roboflow writes ``../train/images`` and means ``train/images`` beside the file.
    """
    roboflow = beside / entry.removeprefix("../")
    places = [root / entry, beside / entry, roboflow] if rooted else [roboflow, root / entry]
    return next((place for place in places if is_file(place) or is_folder(place)), None)


def _at(key: str, entry: str, place: Path | None, root: Path, notes: list[str]) -> PictureNames:
    if place is None:
        raise DataError(f"{root}: {key} names {entry!r}, which does not exist.", "Correct the path in the YAML file.")
    if not place.is_dir():
        listed = list(_in_list(place, root))
        usable = set(decodable([path for path, _ in listed], place, notes))
        return [picture for picture in listed if picture[0] in usable]
    pictures = [(path, path.relative_to(place).as_posix()) for path in pictures_in(place, notes)]
    if not pictures:
        raise DataError(
            f"{place}: {key} names it, but no picture is in it.", "Put pictures there, or correct the path."
        )
    return pictures


def _in_list(file: Path, root: Path) -> Iterator[tuple[Path, str]]:
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        entry = line.strip()
        path = next((folder / entry for folder in (file.parent, root) if entry and is_file(folder / entry)), None)
        if path is not None:
            yield path, path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        elif entry:
            raise DataError(f"{file}, line {number}: picture {entry!r} is missing.", "Correct the path.")


def _label_path(picture: Path) -> Path | None:
    parts = picture.absolute().parts
    positions = [position for position, part in enumerate(parts[:-1]) if part == "images"]
    swapped = [Path(*parts[:position], "labels", *parts[position + 1 :]) for position in positions[-1:]]
    candidates = [path.with_suffix(".txt") for path in (*swapped, picture)]
    return next((path for path in candidates if is_file(path)), None)


def _label_notes(pictures: int, labelled: int, form: LabelFormat, config: Path) -> Iterator[str]:
    if not labelled:
        raise DataError(
            f"{config}: none of the {pictures} pictures has a label file.",
            "Put labels into labels/ where the pictures' path has images/, or beside the pictures.",
        )
    if labelled < pictures:
        yield f"{pictures - labelled} of {pictures} pictures have no label file; they are kept without objects."
    if form.keypoints:
        yield "Keypoints were left out; boxes are kept."


def _picture(path: Path, name: str, key: str, label: Path | None, form: LabelFormat) -> SourcePicture:
    width, height = measure(path)
    objects = read_labels(label, form, width, height) if label else ()
    split = split_of(key)
    assert split is not None
    return SourcePicture(path, name, width, height, objects, split)


def read_labels(path: Path, form: LabelFormat, width: int, height: int) -> tuple[SourceObject, ...]:
    """Objects of one picture; the category id is the class index plus 1.

    ``class cx cy w h`` is a box, ``class x y x y x y ...`` a polygon with its bounding box, as fractions of the upright
    picture's sides.

    Args:
        path: of the label file.
        form: what its lines hold.
        width: pixels of the upright picture.
        height: pixels of the upright picture.

    Raises:
        DataError: a wrong count, something that is not a number, an unknown class, a coordinate more
            than 0.01 outside 0..1, a negative side; file and line are named.
    """
    lines = enumerate(read_text(path).splitlines(), start=1)
    return tuple(
        _object(line.split(), form, width, height, f"{path}, line {number}") for number, line in lines if line.strip()
    )


def _object(fields: list[str], form: LabelFormat, width: int, height: int, where: str) -> SourceObject:
    category = _class(fields[0], form.classes, where) + 1
    numbers = [_number(field, where) for field in fields[1:]]
    if form.keypoints and len(numbers) == _BOX + form.keypoints:
        numbers = numbers[:_BOX]
    is_box = len(numbers) == _BOX
    if not is_box and (form.keypoints or len(numbers) < _SMALLEST_POLYGON or len(numbers) % 2):
        raise DataError(f"{where}: {len(numbers)} numbers after the class.", _expected(form))
    for number in numbers:
        if not -_TOLERANCE <= number <= 1 + _TOLERANCE:
            raise DataError(
                f"{where}: {number:g} is outside 0..1.", "Write fractions of the picture's sides, not pixels."
            )
    if is_box:
        return SourceObject(category, _box(numbers, width, height, where))
    return _polygon(category, numbers, width, height)


def _expected(form: LabelFormat) -> str:
    if form.keypoints:
        return f"With kpt_shape a line has {_BOX} or {_BOX + form.keypoints}."
    return "Write 'class cx cy w h', or 'class' and at least three points 'x y'."


def _number(field: str, where: str) -> float:
    if not _NUMBER.fullmatch(field):
        raise DataError(f"{where}: {field!r} is not a number.", "Correct the line.")
    return float(field)


def _class(field: str, classes: int, where: str) -> int:
    number = _number(field, where)
    if not 0 <= number < classes or number != int(number):
        raise DataError(f"{where}: class {field} is not one of 0..{classes - 1}.", "Correct it, or add it to names.")
    return int(number)


def _box(numbers: list[float], width: int, height: int, where: str) -> tuple[float, float, float, float]:
    x, y, w, h = numbers
    if w < 0 or h < 0:
        raise DataError(f"{where}: the box is {w:g} x {h:g}.", "Write sides of at least 0.")
    return (x - w / 2) * width, (y - h / 2) * height, w * width, h * height


def _polygon(category: int, numbers: list[float], width: int, height: int) -> SourceObject:
    xs, ys = [x * width for x in numbers[::2]], [y * height for y in numbers[1::2]]
    points = [side for point in zip(xs, ys, strict=True) for side in point]
    box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    shoelace = sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))
    return SourceObject(category, box, [points], area=abs(shoelace) / 2)
