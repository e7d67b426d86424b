"""Reads what the VGG Image Annotator (VIA 1 and 2) saves: projects, and annotations exported as JSON or CSV."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from boxwright.data.documents import is_list_of_objects, is_number, name_of
from boxwright.data.file_names import FolderNames, is_file_name, names_a_picture, split_of
from boxwright.data.text import json_of
from boxwright.runtime import DataError

from .files import decodable, files_below, guess_note, is_file, measure, read_text
from .source import Source, SourceObject, SourcePicture, outlined, plain_categories

__all__ = ["is_via", "read_via"]

_METADATA = "_via_img_metadata"
_CSV_KEYS = {"filename", "region_shape_attributes", "region_attributes"}
_WITHOUT_BOX = ("point", "line", "polyline")
_CLASS_NAMES = ("class", "label", "category")
_ALONE = "object"
_MOST_NAMED = 3

Box = tuple[float, float, float, float]
Entry = dict[str, Any]


@dataclass(frozen=True)
class _Region:
    """One region with a box.

    Attributes:
        where: file, picture and number, for errors.
        attributes: names and values, blank ones left out.
        box: x, y, width, height in pixels.
        outline: x1, y1, x2, y2, ... in pixels; empty for a shape without corners.
    """

    where: str
    attributes: Mapping[str, str]
    box: Box
    outline: tuple[float, ...]


@dataclass(frozen=True)
class _File:
    """One file of VIA: its pictures' names, each with its regions."""

    path: Path
    regions: Mapping[str, list[_Region]]


def is_via(document: object) -> TypeGuard[Entry]:
    """Whether a JSON document is VIA's: a project, or its annotations by picture."""
    if not isinstance(document, dict) or not document:
        return False
    entries = document.get(_METADATA, document)
    return isinstance(entries, dict) and all(
        isinstance(entry, dict) and "filename" in entry and "regions" in entry for entry in entries.values()
    )


def read_via(source: Path) -> Source:
    """Read a data set; classes are sorted by name, folders named after splits are splits.

    Rectangles, polygons, circles and ellipses have boxes; points and lines have none and are left out. The class is the
    attribute that all regions have.

    Args:
        source: VIA's file, or a folder with one beside its pictures, or with one in each folder of a split.

    Raises:
        DataError: no such file, a broken one, a region that cannot be used, no attribute or several that may be the
            class, a missing picture; file, picture and region are named.
    """
    notes: list[str] = []
    left_out: Counter[str] = Counter()
    files = [_File(path, _regions(entries, path, left_out)) for path, entries in _files(source, notes)]
    if left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        notes.append(f"Regions left out because they have no box: {kinds}.")
    regions = [region for file in files for found in file.regions.values() for region in found]
    key = _class_attribute(regions, source, notes)
    names = sorted({_class_of(region, key) for region in regions})
    ids = {name: number for number, name in enumerate(names, start=1)}
    categories = plain_categories(names, source)
    root = source.parent if is_file(source) else source
    pictures = tuple(picture for file in files for picture in _pictures(file, root, key, ids, notes))
    return Source(pictures, categories, notes=tuple(notes))


def _files(source: Path, notes: list[str]) -> list[tuple[Path, list[Entry]]]:
    """VIA's files with their entries of pictures; one in each folder."""
    if is_file(source):
        paths = [source]
    else:
        paths = [path for path in files_below(source) if path.suffix.lower() in (".json", ".csv")]
    known = [(path, _entries(path)) for path in paths]
    ours = [(path, entries) for path, entries in known if entries is not None]
    if not ours:
        raise DataError(
            f"{source}: no file of the VGG Image Annotator, version 1 or 2, among {len(paths)} JSON and CSV files.",
            "Save the project, or export the annotations as JSON, beside the pictures.",
        )
    others = [path for path, entries in known if entries is None]
    if others:
        notes.append(f"{source}: JSON and CSV files that are not VIA's: {len(others)}, the first {others[0].name!r}.")
    folders = Counter(path.parent for path, _ in ours)
    repeated = [path.name for path, _ in ours if folders[path.parent] > 1]
    if repeated:
        raise DataError(f"{source}: several files of VIA: {' and '.join(repeated[:_MOST_NAMED])}.", "Give one of them.")
    return ours


def _entries(path: Path) -> list[Entry] | None:
    """What a file says of each picture; None if it is not VIA's."""
    text = read_text(path)
    if path.suffix.lower() == ".csv":
        return _csv_entries(text, path)
    try:
        document = json_of(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {error}.", "Save it again.") from error
    return list(document.get(_METADATA, document).values()) if is_via(document) else None


def _csv_entries(text: str, path: Path) -> list[Entry] | None:
    """One entry for each row: a picture is in as many as it has regions; None if the columns are not VIA's."""
    rows = csv.DictReader(io.StringIO(text))
    try:
        if not {(name or "").lstrip("#") for name in rows.fieldnames or ()} >= _CSV_KEYS:
            return None
        twice = [name for name, count in Counter(rows.fieldnames or ()).items() if count > 1]
        if twice:
            raise DataError(f"{path}: the column {twice[0]!r} is there twice.", "Keep one of them.")
        return [_csv_entry({str(key).lstrip("#"): value for key, value in row.items()}) for row in rows]
    except (ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"{path}, line {rows.line_num}: broken: {error}.", "Export it again.") from error


def _csv_entry(row: Mapping[str, Any]) -> Entry:
    shape, attributes = (json_of(row[key] or "{}") for key in ("region_shape_attributes", "region_attributes"))
    region = {"shape_attributes": shape, "region_attributes": attributes}
    return {"filename": row["filename"], "regions": [region] if shape else []}


def _regions(entries: Sequence[Entry], path: Path, left_out: Counter[str]) -> dict[str, list[_Region]]:
    """The regions by the picture's name as written."""
    found: dict[str, list[_Region]] = defaultdict(list)
    for entry in entries:
        name, regions = entry.get("filename"), entry.get("regions")
        if not is_file_name(name):
            raise DataError(f"{path}: filename = {name!r} is not a file name.", "Save it again.")
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # VIA 1 numbers them
        if not is_list_of_objects(regions):
            raise DataError(f"{path}, {name}: regions is not a list of objects.", "Save it again.")
        own = found[name]
        for number, region in enumerate(regions or (), start=1):
            own += _region(region, f"{path}, {name}, region {number}", left_out)
    return found


def _region(entry: Entry, where: str, left_out: Counter[str]) -> Iterator[_Region]:
    """The region; nothing if its shape has no box: then it is counted."""
    shape, attributes = entry.get("shape_attributes"), entry.get("region_attributes")
    if not isinstance(shape, dict) or not isinstance(attributes, dict):
        raise DataError(f"{where}: has no shape_attributes or region_attributes.", "Save it again.")
    kind = shape.get("name")
    if kind in _WITHOUT_BOX:
        left_out[str(kind)] += 1
        return
    values = {str(key): text for key, value in attributes.items() if (text := _value(value, str(key), where))}
    if kind == "polygon":
        outline = _outline(shape, where)
        yield _Region(where, values, outlined(0, [outline]).bbox, outline)
    else:
        yield _Region(where, values, _box(shape, where), ())


def _value(value: Any, key: str, where: str) -> str:
    """An attribute's value as text; blank if it says nothing."""
    if isinstance(value, dict):  # a checkbox: each option, and whether it is chosen
        chosen = [str(option) for option, on in value.items() if on]
        if len(chosen) > 1:
            return f"{_SEVERAL}{' and '.join(chosen)}"
        return chosen[0] if chosen else ""
    return (name_of(value) or "").strip()


_SEVERAL = "\0"  # begins a value of several chosen options, which cannot be the class


def _numbers(shape: Entry, keys: Sequence[str], where: str) -> list[float]:
    numbers = [shape.get(key) for key in keys]
    for key, number in zip(keys, numbers, strict=True):
        if not is_number(number):
            raise DataError(f"{where}: {key} = {number!r} is not a number.", "Draw it again.")
    return [float(number) if type(number) is float else int(number or 0) for number in numbers]


def _outline(shape: Entry, where: str) -> tuple[float, ...]:
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    sound = isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys) >= 3
    if not sound or not all(is_number(side) for side in (*(xs or ()), *(ys or ()))):
        raise DataError(f"{where}: its polygon is not three points or more.", "Draw it again.")
    assert isinstance(xs, list)
    assert isinstance(ys, list)
    return tuple(side for point in zip(xs, ys, strict=True) for side in point)


def _box(shape: Entry, where: str) -> Box:
    kind = shape.get("name")
    if kind == "rect":
        x, y, w, h = _numbers(shape, ("x", "y", "width", "height"), where)
        return x, y, w, h
    if kind == "circle":
        x, y, radius = _numbers(shape, ("cx", "cy", "r"), where)
        return x - radius, y - radius, 2 * radius, 2 * radius
    if kind == "ellipse":
        x, y, across, down = _numbers(shape, ("cx", "cy", "rx", "ry"), where)
        turn = float(shape["theta"]) if is_number(shape.get("theta")) else 0.0
        if turn:
            across, down = (
                math.hypot(across * math.cos(turn), down * math.sin(turn)),
                math.hypot(across * math.sin(turn), down * math.cos(turn)),
            )
        return x - across, y - down, 2 * across, 2 * down
    raise DataError(f"{where}: the shape {kind!r} is unknown.", "Draw it as a rectangle or polygon.")


def _class_attribute(regions: Sequence[_Region], source: Path, notes: list[str]) -> str | None:
    """The attribute that is the class; None if no region has any attribute at all."""
    counts = Counter(key for region in regions for key in region.attributes)
    if not counts:
        if regions:
            notes.append(f"No region has an attribute, so there is one class, {_ALONE!r}.")
        return None
    everywhere = sorted(key for key, count in counts.items() if count == len(regions))
    if not everywhere:
        key, count = counts.most_common(1)[0]
        without = next(region for region in regions if key not in region.attributes)
        raise DataError(
            f"{without.where}: has no {key!r}, which {count} of {len(regions)} regions have; no attribute is on all.",
            "Give every region its class.",
        )
    nearly = sorted(key for key in counts if key.casefold() in _CLASS_NAMES and key not in everywhere)
    if nearly and not any(key.casefold() in _CLASS_NAMES for key in everywhere):
        without = next(region for region in regions if nearly[0] not in region.attributes)
        raise DataError(
            f"{without.where}: has no {nearly[0]!r}, which {counts[nearly[0]]} of {len(regions)} regions have.",
            "Give every region its class.",
        )
    usual = [key for key in everywhere if key.casefold() in _CLASS_NAMES]
    if len(everywhere) == 1 or len(usual) == 1:
        key = (usual or everywhere)[0]
        others = sorted(counts.keys() - {key})
        if others:
            notes.append(f"The class is the attribute {key!r}; left out: {', '.join(others)}.")
        return key
    raise DataError(
        f"{source}: several attributes are on all regions, and any may be the class: {', '.join(everywhere)}.",
        "Rename the one that is to 'class'.",
    )


def _class_of(region: _Region, key: str | None) -> str:
    name = _ALONE if key is None else region.attributes[key]
    if name.startswith(_SEVERAL):
        raise DataError(
            f"{region.where}: {key!r} is {name.removeprefix(_SEVERAL)} at once.", "A region has one class: choose one."
        )
    return name


def _pictures(
    file: _File, root: Path, key: str | None, ids: Mapping[str, int], notes: list[str]
) -> Iterator[SourcePicture]:
    """The pictures of one file, each once."""
    folder = file.path.parent
    found = _paths(file, notes)
    usable = set(decodable(list(dict.fromkeys(found.values())), file.path, notes))
    here = [path for path in files_below(folder) if names_a_picture(path.name)]
    alone = [path for path in here if path not in set(found.values())]
    if alone:
        notes.append(
            f"{file.path}: pictures that it does not list, left out: {len(alone)}, the first {alone[0].name!r}."
        )
    split = next((split for part in folder.relative_to(root).parts if (split := split_of(part))), "train")
    regions: dict[Path, list[_Region]] = defaultdict(list)
    for name, path in found.items():
        regions[path] += file.regions[name]
    for path, own in regions.items():
        if path in usable:
            objects = tuple(_object(region, ids[_class_of(region, key)]) for region in own)
            yield SourcePicture(path, path.relative_to(folder).as_posix(), *measure(path), objects, split)


def _paths(file: _File, notes: list[str]) -> dict[str, Path]:
    """The picture that each name means."""
    folder = file.path.parent
    found = FolderNames(folder).resolve(file.regions)
    missing = [name for name, one in found.items() if one.name is None]
    if missing:
        candidates = found[missing[0]].candidates
        problem = f"may mean {' and '.join(candidates[:_MOST_NAMED])}" if candidates else f"is not in {folder}"
        raise DataError(
            f"{file.path}: picture {missing[0]!r} {problem} ({len(missing)} of {len(found)} such).",
            "Put VIA's file beside its pictures.",
        )
    notes += guess_note(f"{file.path}: pictures", [(name, str(one.name)) for name, one in found.items() if one.guessed])
    return {name: folder / str(one.name) for name, one in found.items()}


def _object(region: _Region, category: int) -> SourceObject:
    return outlined(category, [region.outline]) if region.outline else SourceObject(category, region.box)
