"""Reads a YOLO data set: ``data.yaml`` as Ultralytics and Roboflow write it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from boxwright.runtime import DataError

from .files import decodable, is_file, is_folder, measure, pictures_in, read_text
from .source import Source, SourcePicture, plain_categories, split_of
from .yolo_labels import LabelFormat, read_labels

__all__ = ["read_yolo"]

_KEYS = ("train", "val", "test")
_USUAL_NAMES = ("data.yaml", "data.yml", "dataset.yaml")
_NOTHING: tuple[Any, ...] = ("", "~", "null")
_COUNT = re.compile(r"[1-9]\d{0,3}", re.ASCII)


def read_yolo(source: Path) -> Source:
    """Read a data set described by a ``data.yaml``.

    Labels lie in ``labels/`` in place of the last ``images/`` of a picture's path, else beside the
    picture. A picture without a label file is one without objects.

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
    listed = [(split, one) for split in _KEYS for one in _listed(split, settings, config, notes)]
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
    found = usual[:1] or sorted((*source.glob("*.yaml"), *source.glob("*.yml")))
    if len(found) != 1:
        what = "several YAML files and no data.yaml" if found else "no data.yaml"
        raise DataError(f"{source}: {what}.", "Give the YAML file that names the pictures and classes.")
    return found[0]


def _load(config: Path) -> dict[str, Any]:
    """The settings, every scalar a text as it stands there: a class may be called ``no`` or ``007``."""
    try:
        settings = yaml.load(read_text(config), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{config}: broken YAML: {' '.join(str(error).split())}.", "Correct the file.") from error
    if not isinstance(settings, dict):
        raise DataError(f"{config}: not keys and values.", "It must hold train, val and names.")
    return {key: value for key, value in settings.items() if value not in _NOTHING}


def _names(settings: Mapping[str, Any], config: Path) -> list[str]:
    names = settings.get("names")
    if isinstance(names, dict):
        names = _numbered(names, config)
    if not isinstance(names, list) or not names:
        raise DataError(f"{config}: names is missing or no list.", "List the classes' names.")
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise DataError(f"{config}: the name of class {number} is no text.", "Write its name.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{config}: the class name {twice[0]!r} is used twice.", "Rename one.")
    if settings.get("nc", str(len(names))) != str(len(names)):
        raise DataError(f"{config}: nc is not {len(names)}, the number of names.", "Correct one of them.")
    return names


def _numbered(names: Mapping[Any, Any], config: Path) -> list[Any]:
    wanted = [str(number) for number in range(len(names))]
    if set(names) != set(wanted):
        raise DataError(f"{config}: names is not numbered 0, 1, 2, ... without gaps.", "Number the classes anew.")
    return [names[number] for number in wanted]


def _keypoints(settings: Mapping[str, Any], config: Path) -> int:
    """How many numbers of keypoints follow each box."""
    shape = settings.get("kpt_shape")
    if shape is None:
        return 0
    sides = shape if isinstance(shape, list) and len(shape) == 2 else [shape]
    if len(sides) != 2 or not all(isinstance(side, str) and _COUNT.fullmatch(side) for side in sides):
        raise DataError(f"{config}: kpt_shape is not two whole numbers.", "Write [keypoints, 2 or 3].")
    return int(sides[0]) * int(sides[1])


def _listed(key: str, settings: Mapping[str, Any], config: Path, notes: list[str]) -> list[tuple[Path, str]]:
    """Pictures of one split: path, and name relative to where they are kept."""
    value = settings.get(key)
    if value is None and key == "val":
        value = settings.get("valid")
    entries = value if isinstance(value, list) else [value] if value is not None else []
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise DataError(f"{config}: {key} is no path and no list of paths.", "Write where the pictures are.")
    root = _root(settings, config, notes)
    places = [_place(entry, "path" in settings, root, config.parent) for entry in entries]
    if key == "test" and None in places:
        notes.append(f"{config}: test names {entries[places.index(None)]!r}, which does not exist; there is no test.")
        return []
    found = [one for entry, place in zip(entries, places, strict=True) for one in _at(key, entry, place, root, notes)]
    once = {path: (path, name) for path, name in found}
    if len(once) < len(found):
        notes.append(f"{config}: {key} names pictures again: {len(found) - len(once)}. Each was taken once.")
    return list(once.values())


def _root(settings: Mapping[str, Any], config: Path, notes: list[str]) -> Path:
    said = settings.get("path")
    if said is None:
        return config.parent
    if isinstance(said, str) and is_folder(config.parent / said):
        return config.parent / said
    sentence = f"{config}: path does not exist here; its folders are looked for beside the file."
    if sentence not in notes:
        notes.append(sentence)
    return config.parent


def _place(entry: str, rooted: bool, root: Path, beside: Path) -> Path | None:
    """The first place that exists.

    Roboflow writes ``../train/images`` and means ``train/images`` beside the file.
    """
    meant = beside / entry.removeprefix("../")
    places = [root / entry, beside / entry, meant] if rooted else [meant, root / entry]
    return next((place for place in places if is_file(place) or is_folder(place)), None)


def _at(key: str, entry: str, place: Path | None, root: Path, notes: list[str]) -> list[tuple[Path, str]]:
    if place is None:
        raise DataError(f"{root}: {key} names {entry!r}, which does not exist.", "Correct the path in the YAML file.")
    if not place.is_dir():
        listed = list(_in_list(place, root))
        usable = set(decodable([path for path, _ in listed], place, notes))
        return [one for one in listed if one[0] in usable]
    found = [(path, path.relative_to(place).as_posix()) for path in pictures_in(place, notes)]
    if not found:
        raise DataError(f"{place}: no picture in it; {key} names it.", "Put pictures there, or correct the path.")
    return found


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
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    swapped = [Path(*parts[:place], "labels", *parts[place + 1 :]) for place in places[-1:]]
    candidates = [path.with_suffix(".txt") for path in (*swapped, picture)]
    return next((path for path in candidates if is_file(path)), None)


def _label_notes(pictures: int, labelled: int, form: LabelFormat, config: Path) -> Iterator[str]:
    if not labelled:
        raise DataError(
            f"{config}: none of the {pictures} pictures has a label file.",
            "Labels belong into labels/ where the pictures' path has images/, or beside the pictures.",
        )
    if labelled < pictures:
        yield f"{pictures - labelled} of {pictures} pictures have no label file; they are kept without objects."
    if form.keypoints:
        yield "Keypoints were left out; boxes are kept."


def _picture(path: Path, name: str, split: str, label: Path | None, form: LabelFormat) -> SourcePicture:
    width, height = measure(path)
    objects = read_labels(label, form, width, height) if label else ()
    ours = split_of(split)
    assert ours is not None
    return SourcePicture(path, name, width, height, objects, ours)
