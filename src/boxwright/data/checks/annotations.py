"""Checks of the annotation files: ids, owners, boxes, categories, and how often each class is used."""

from __future__ import annotations

import math
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from boxwright.data.box_readings import (
    READINGS,
    BoxEvidence,
    disagreeing,
    fitting_readings,
    outline_bounds,
    some_of,
    turn_of,
)
from boxwright.data.documents import ROUNDING, AnnotationEntry, Box, Document, ImageEntry, clip
from boxwright.data.findings import CANVAS, FEW_BOXES, IMBALANCE, LEAST_SIDE, Finding, some_pictures
from boxwright.runtime import ClassEntry

from .scan import FolderContents, SplitContents, is_size_certain

__all__ = [
    "boxes_by_class",
    "check_annotations",
    "check_balance",
    "check_categories",
    "check_category_ids",
    "check_class_names",
    "check_meaning",
    "check_sizes",
    "check_turns",
    "check_usable_boxes",
]

_SMALLEST_SIDE = 2.0  # pixels
_LARGE = 1.5  # times the canvas: pictures from which windows show more
_SHARE = 0.2  # of the boxes
_ALIKE = 1.1  # times the box: areas that were rounded otherwise than it
_MOST_IDS = 20  # in one sentence
_PURPOSES = {"train": "learn", "valid": "measure by"}
_PROBLEMS = {
    "box-empty": "has no area",
    "box-off-picture": "lies outside the picture, {width} x {height}",
    "box-larger": "is larger than the picture, {width} x {height}",
    "box-outside": "reaches over the edge of the picture, {width} x {height}",
    "box-tiny": "is {w:.4g} x {h:.4g} pixels",
}

Size = tuple[int, int]


def check_annotations(split: SplitContents) -> Iterator[Finding]:
    """Ids, owners, classes, boxes, copies; and counts of what is not trained on."""
    document = split.document
    pictures = {entry.id: entry for entry in document.images}
    listed, categories = document.listed["images"], document.listed["categories"]
    ids = ", ".join(map(str, sorted(categories)[:_MOST_IDS])) + (", …" if len(categories) > _MOST_IDS else "")
    known = f"known are {ids}" if categories else "none is listed"
    yield from _ids(document, pictures)
    for entry in document.annotations:
        if entry.image_id not in listed:
            yield _finding("unknown-picture", f"picture id {entry.image_id} does not exist", document, None, entry)
        if entry.category_id not in categories:
            message = f"category id {entry.category_id} is not a class; {known}"
            yield _finding("unknown-category", message, document, pictures.get(entry.image_id), entry)
        if entry.image_id in split.sizes:
            yield from _box(entry, split.sizes[entry.image_id], document, pictures[entry.image_id])
    yield from _copies(document, pictures)
    yield from _counts(document)


def _finding(
    code: str, message: str, document: Document, picture: ImageEntry | None, entry: AnnotationEntry
) -> Finding:
    number = _plain_id(entry)
    name = picture.file_name if picture else None
    return Finding(code, message, document.split, name, entry.image_id, number, entry.position)


def _plain_id(entry: AnnotationEntry) -> Any:
    return entry.id if isinstance(entry.id, str | int | float) or entry.id is None else repr(entry.id)


def _ids(document: Document, pictures: Mapping[int, ImageEntry]) -> Iterator[Finding]:
    seen: set[Any] = set()
    for entry in document.annotations:
        picture = pictures.get(entry.image_id)
        key = entry.id if isinstance(entry.id, int | float | str) else repr(entry.id)  # 1 and 1.0 are the same
        if entry.id is None:
            yield _finding("annotation-id-missing", "has no id", document, picture, entry)
        elif key in seen:
            yield _finding("annotation-id-twice", f"id {entry.id!r} is already used", document, picture, entry)
        elif key == 0:
            yield _finding("annotation-id-zero", "has the id 0", document, picture, entry)
        seen.add(key)


def _box(entry: AnnotationEntry, size: Size, document: Document, picture: ImageEntry) -> Iterator[Finding]:
    code = _box_problem(entry.box, size)
    if code is not None:
        box = "[" + ", ".join(f"{side:.6g}" for side in entry.box) + "]"
        problem = _PROBLEMS[code].format(width=size[0], height=size[1], w=entry.box[2], h=entry.box[3])
        yield _finding(code, f"box {box} {problem}", document, picture, entry)


def _box_problem(box: Box, size: Size) -> str | None:
    """Code of the most serious problem of a box (x, y, width, height) on a picture (width, height)."""
    (x, y, width, height), (across, down) = box, size
    if width > 0 < height and (x >= across or y >= down or x + width <= 0 or y + height <= 0):
        return "box-off-picture"
    if clip(box, size) is None:
        return "box-empty"
    if width > across + ROUNDING or height > down + ROUNDING:
        return "box-larger"
    if min(x, y) < -ROUNDING or x + width > across + ROUNDING or y + height > down + ROUNDING:
        return "box-outside"
    return "box-tiny" if min(width, height) < _SMALLEST_SIDE else None


def _copies(document: Document, pictures: Mapping[int, ImageEntry]) -> Iterator[Finding]:
    same: dict[tuple[int, Box, bool, int], AnnotationEntry] = {}
    first: dict[tuple[int, Box, bool], AnnotationEntry] = {}
    for entry in document.annotations:
        place = (entry.image_id, entry.box, entry.crowd)
        original = same.setdefault((*place, entry.category_id), entry)
        earlier = first.setdefault(place, entry)
        picture = pictures.get(entry.image_id)
        if original is not entry:
            message = f"is the same as annotation id {original.id!r}" if original.id != entry.id else "is listed twice"
            yield _finding("annotation-twice", message, document, picture, entry)
        elif earlier is not entry:
            message = f"has the box of annotation id {earlier.id!r}, but another class"
            yield _finding("annotation-contradiction", message, document, picture, entry)


def _counts(document: Document) -> Iterator[Finding]:
    with_objects = {entry.image_id for entry in document.annotations}
    empty = [entry.file_name for entry in document.images if entry.id not in with_objects]
    if empty:
        yield Finding("no-objects", f"{some_pictures(empty)} without objects", document.split)
    raw = document.raw["annotations"]
    crowds = sum(entry.crowd for entry in document.annotations)
    masks = sum(isinstance(raw[entry.position].get("segmentation"), dict) for entry in document.annotations)
    if crowds:
        yield Finding("crowd", f"crowd annotations: {crowds}", document.split)
    if masks:
        yield Finding("mask-rle", f"run-length masks: {masks}", document.split)


def check_usable_boxes(split: SplitContents) -> Iterator[Finding]:
    """Training and validation need a box with an area inside its picture."""
    name, sizes = split.document.split, split.sizes
    boxes = [entry for entry in split.document.annotations if not entry.crowd and entry.image_id in sizes]
    if name in _PURPOSES and not any(clip(entry.box, sizes[entry.image_id]) for entry in boxes):
        crowds = sum(entry.crowd for entry in split.document.annotations)
        cause = f": all {crowds} annotations are crowds (iscrowd: 1)" if crowds and not boxes else ""
        yield Finding("split-without-boxes", f"no usable box{cause}; there is nothing to {_PURPOSES[name]}", name)


def check_meaning(split: SplitContents) -> Iterator[Finding]:
    """Boxes that mean something else than x, y, width, height of what they enclose, judged by the whole file."""
    document, name = split.document, split.document.split
    raw = document.raw["annotations"]
    certain = {one.id for one in document.images if is_size_certain(one, split.facts.get(one.file_name))}
    rows = [entry for entry in document.annotations if entry.image_id in certain]
    evidence = [
        BoxEvidence(one.box, split.sizes[one.image_id], one.area, outline_bounds(raw[one.position].get("segmentation")))
        for one in some_of(rows)
    ]
    readings = fitting_readings(evidence)
    if readings[0] != "xywh":
        words = " or ".join(f"{READINGS[one].words} ({one})" for one in readings)
        options = " or ".join(f"--boxes {one}" for one in readings)
        yield Finding(
            "boxes-reading", f"the boxes fit as {words}, not as x, y, width, height; convert with {options}", name
        )
        return
    positions, what = disagreeing(evidence)
    if positions:
        first = some_of(rows)[positions[0]]
        message = f"{len(positions)} of {len(evidence)} boxes {what}"
        yield Finding("boxes-disagree", message, name, image_id=first.image_id, annotation_id=_plain_id(first))
        return
    yield from _areas(document)


def _areas(document: Document) -> Iterator[Finding]:
    raw, pictures = document.raw["annotations"], {one.id: one for one in document.images}
    for entry in document.annotations:
        given, (_, _, width, height) = raw[entry.position].get("area"), entry.box
        if given is None or min(width, height) <= 0:
            continue
        if entry.area is None:
            problem = "is not a positive number; the box's is taken"
        elif entry.area > _ALIKE * (width + ROUNDING) * (height + ROUNDING):
            problem = f"is larger than the box, {width * height:.6g}"
        else:
            continue
        yield _finding("area-wrong", f"area = {given!r} {problem}", document, pictures.get(entry.image_id), entry)


def check_turns(split: SplitContents) -> Iterator[Finding]:
    """Boxes that are turned by an angle beside them."""
    document, name = split.document, split.document.split
    raw = document.raw["annotations"]
    turned = [one for one in document.annotations if turn_of(raw[one.position])]
    if turned:
        first = turned[0]
        message = f"{len(turned)} boxes are turned, as by {turn_of(raw[first.position]):g} degrees"
        yield Finding("boxes-turned", message, name, image_id=first.image_id, annotation_id=_plain_id(first))


def check_category_ids(split: SplitContents) -> Iterator[Finding]:
    """Category ids used twice."""
    for number, count in Counter(entry.id for entry in split.document.categories).items():
        if count > 1:
            yield Finding("category-id-twice", f"category id {number} is used twice", split.document.split)


def check_class_names(folder: FolderContents) -> Iterator[Finding]:
    """Classes of the same name, or of names that look the same; a super-category that is not a class may share one."""
    for name, count in Counter(entry.name for entry in folder.classes).items():
        if count > 1:
            yield Finding("category-name-twice", f"category name {name!r} is used twice", "train")
    alike: dict[str, set[str]] = defaultdict(set)
    for entry in folder.classes:
        alike["".join(unicodedata.normalize("NFC", entry.name).casefold().split())].add(entry.name)
    for group in alike.values():
        if len(group) > 1:
            yield Finding("category-name-similar", f"{', '.join(map(repr, sorted(group)))} look the same", "train")


def check_categories(folder: FolderContents) -> Iterator[Finding]:
    """Splits whose categories are not those of train; super-categories that are not classes."""
    documents = folder.documents
    train = documents.get("train")
    if train is None:
        return
    expected: dict[int, list[str]] = defaultdict(list)
    for entry in train.categories:
        expected[entry.id].append(entry.name)
    unusable = train.listed["categories"]
    for split, document in documents.items():
        for entry in document.categories:
            names = expected.get(entry.id)
            if names is None and entry.id not in unusable:
                yield Finding("categories-differ", f"category {entry.id} ({entry.name!r}) is not in train", split)
            elif names is not None and entry.name not in names:
                message = f"category {entry.id} is {entry.name!r}, in train it is {names[0]!r}"
                yield Finding("categories-differ", message, split)
    used = {entry.category_id for document in documents.values() for entry in document.annotations}
    for split, document in documents.items():
        listed = {entry.id for entry in document.categories}
        for one in folder.classes:
            if one.id in used and one.id not in listed:
                yield Finding("category-unlisted", f"category {one.id} ({one.name!r}) is not listed here", split)
    kept = {one.id for one in folder.classes}
    for entry in train.categories:
        if entry.id not in kept:
            yield Finding("category-parent", f"category {entry.id} ({entry.name!r}) is a super-category, not a class")


def boxes_by_class(documents: Mapping[str, Document], classes: tuple[ClassEntry, ...]) -> dict[str, dict[str, int]]:
    """Boxes by split and class name, without crowds."""
    counts = {
        split: Counter(entry.category_id for entry in document.annotations if not entry.crowd)
        for split, document in documents.items()
    }
    return {split: {entry.name: number[entry.id] for entry in classes} for split, number in counts.items()}


def check_sizes(folder: FolderContents) -> Iterator[Finding]:
    """Boxes that vanish when large pictures are made as small as a canvas."""
    train = folder.documents.get("train")
    if train is None:
        return
    pictures = {one.id: max(one.width or 0, one.height or 0) for one in train.images}
    longest = statistics.median(pictures.values()) if pictures else 0
    sides = [
        math.sqrt(w * h) * min(CANVAS / pictures[one.image_id], 1.0)
        for one in train.annotations
        if one.image_id in pictures and pictures[one.image_id] and (w := one.box[2]) > 0 and (h := one.box[3]) > 0
    ]
    if not sides or longest < _LARGE * CANVAS:
        return
    small = sorted(sides)[int(_SHARE * len(sides))]
    if small < LEAST_SIDE:
        yield Finding(
            "boxes-small",
            f"a fifth of the boxes are under {small:.2g} pixels on a canvas of {CANVAS}; windows of {CANVAS} pixels "
            f"(--tile {CANVAS}) show them {longest / CANVAS:.1f} times as large",
            "train",
        )


def check_balance(folder: FolderContents) -> Iterator[Finding]:
    """Classes that are unused, absent from a split, rare, or far rarer than another."""
    boxes = boxes_by_class(folder.documents, folder.classes)
    for entry in folder.classes:
        counts = {split: numbers[entry.name] for split, numbers in boxes.items()}
        if not any(counts.values()):
            yield Finding("class-unused", f"class {entry.name!r} has no annotation in any split")
            continue
        text = ", ".join(f"{split} {count}" for split, count in counts.items())
        for split, count in counts.items():
            if count == 0:
                yield Finding("class-absent", f"class {entry.name!r} has no box here ({text})", split)
        if 0 < counts.get("train", 0) < FEW_BOXES:
            yield Finding("class-rare", f"class {entry.name!r} has few boxes ({text})", "train")
    used = {name: count for name, count in boxes.get("train", {}).items() if count}
    most, least = max(used, key=used.__getitem__, default=""), min(used, key=used.__getitem__, default="")
    if used and used[most] > IMBALANCE * used[least]:
        yield Finding("class-imbalance", f"{most!r} has {used[most]} boxes, {least!r} {used[least]}", "train")
