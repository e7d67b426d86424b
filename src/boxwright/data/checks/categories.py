"""Checks of the categories: within a split, between splits, and how often each is used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from boxwright.data.contract import class_contract
from boxwright.data.documents import Document
from boxwright.data.findings import FEW_BOXES, IMBALANCE, Finding
from boxwright.runtime import ClassEntry

__all__ = [
    "boxes_by_class",
    "check_balance",
    "check_categories_between",
    "check_categories_within",
    "check_class_names",
]


def check_categories_within(document: Document) -> Iterator[Finding]:
    """Ids used twice."""
    for number, count in Counter(entry.id for entry in document.categories).items():
        if count > 1:
            yield Finding("category-id-twice", f"category id {number} is used twice", document.split)


def check_class_names(classes: tuple[ClassEntry, ...]) -> Iterator[Finding]:
    """Classes of the same name, or of names that look the same; super-categories that are no class may share one."""
    for name, count in Counter(one.name for one in classes).items():
        if count > 1:
            yield Finding("category-name-twice", f"category name {name!r} is used twice", "train")
    alike: dict[str, set[str]] = defaultdict(set)
    for one in classes:
        alike["".join(one.name.casefold().split())].add(one.name)
    for group in alike.values():
        if len(group) > 1:
            yield Finding("category-name-similar", f"{', '.join(map(repr, sorted(group)))} look the same", "train")


def check_categories_between(documents: Mapping[str, Document]) -> Iterator[Finding]:
    """Splits whose categories are not those of train; super-categories that are no class."""
    train = documents.get("train")
    if train is None:
        return
    expected: dict[int, list[str]] = defaultdict(list)
    for entry in train.categories:
        expected[entry.id].append(entry.name)
    unusable = {entry.get("id") for entry in train.raw["categories"] if isinstance(entry.get("id"), int)}
    for split, document in documents.items():
        for entry in document.categories:
            names = expected.get(entry.id)
            if names is None and entry.id not in unusable:
                yield Finding("categories-differ", f"category {entry.id} ({entry.name!r}) is not in train", split)
            elif names is not None and entry.name not in names:
                message = f"category {entry.id} is {entry.name!r}, in train it is {names[0]!r}"
                yield Finding("categories-differ", message, split)
    classes = class_contract(documents)
    used = {entry.category_id for document in documents.values() for entry in document.annotations}
    for split, document in documents.items():
        listed = {entry.id for entry in document.categories}
        for one in classes:
            if one.id in used and one.id not in listed:
                yield Finding("category-unlisted", f"category {one.id} ({one.name!r}) is not listed here", split)
    kept = {one.id for one in classes}
    for entry in train.categories:
        if entry.id not in kept:
            yield Finding("category-parent", f"category {entry.id} ({entry.name!r}) is a super-category, no class")


def boxes_by_class(documents: Mapping[str, Document], classes: tuple[ClassEntry, ...]) -> dict[str, dict[str, int]]:
    """Boxes by split and class name, crowds left out."""
    counts = {
        split: Counter(entry.category_id for entry in document.annotations if not entry.crowd)
        for split, document in documents.items()
    }
    return {split: {one.name: number[one.id] for one in classes} for split, number in counts.items()}


def check_balance(documents: Mapping[str, Document], classes: tuple[ClassEntry, ...]) -> Iterator[Finding]:
    """Classes that are unused, absent from a split, rare, or far rarer than another."""
    boxes = boxes_by_class(documents, classes)
    for one in classes:
        counts = {split: numbers[one.name] for split, numbers in boxes.items()}
        if not any(counts.values()):
            yield Finding("class-unused", f"class {one.name!r} has no annotation in any split")
            continue
        said = ", ".join(f"{split} {count}" for split, count in counts.items())
        for split, count in counts.items():
            if count == 0:
                yield Finding("class-absent", f"class {one.name!r} has no box here ({said})", split)
        if 0 < counts.get("train", 0) < FEW_BOXES:
            yield Finding("class-rare", f"class {one.name!r} has few boxes ({said})", "train")
    yield from _imbalance(boxes.get("train", {}))


def _imbalance(counts: Mapping[str, int]) -> Iterator[Finding]:
    used = {name: count for name, count in counts.items() if count}
    if not used:
        return
    most, least = max(used, key=lambda name: used[name]), min(used, key=lambda name: used[name])
    if used[most] > IMBALANCE * used[least]:
        yield Finding("class-imbalance", f"{most!r} has {used[most]} boxes, {least!r} {used[least]}", "train")
