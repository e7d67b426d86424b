"""The class contract: which category is which class index, decided once from the training split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from boxwright.runtime import ClassEntry, ContractError, DataError

__all__ = ["check_categories", "class_contract"]

Document = Mapping[str, Any]


def class_contract(documents: Mapping[str, Document]) -> tuple[tuple[ClassEntry, ...], tuple[str, ...]]:
    """Classes of a data set, from its training split, sorted by category id.

    A category without an annotation in any split that others name as their supercategory (Roboflow's
    id 0) is no class. Every other category is one, used or not.

    Args:
        documents: COCO documents by split name, ``train`` among them.

    Returns:
        The classes by index, and notes about unused ones.

    Raises:
        DataError: no classes, an id or a name used twice, a name that cannot stand in an answer, or
            splits that disagree.
    """
    entries = _entries(documents["train"], "train")
    used = Counter(number for one in documents.values() for number in _used_ids(one))
    parents = _parent_ids(documents["train"])
    classes = tuple(one for one in entries if used[one.id] or one.id not in parents)
    if not classes:
        raise DataError("train: there is no class to learn.", "List categories and annotate pictures.")
    _require_unique([one.name for one in classes], "name", "train")
    for split, document in documents.items():
        _require_agreement(_entries(document, split), entries, split)
    notes = tuple(f"class {one.name!r} has no annotation in any split" for one in classes if not used[one.id])
    return classes, notes


def _used_ids(document: Document) -> Iterator[float]:
    """Category ids of the annotations; what is no number is reported where annotations are read."""
    numbers = (annotation.get("category_id") for annotation in document["annotations"])
    return (number for number in numbers if isinstance(number, int | float))


def _entries(document: Document, split: str) -> tuple[ClassEntry, ...]:
    entries = sorted((_entry(category, split) for category in document["categories"]), key=lambda one: one.id)
    _require_unique([one.id for one in entries], "id", split)
    return tuple(entries)


def _require_unique(values: Sequence[int | str], what: str, split: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise DataError(f"{split}: category {what} {twice[0]!r} is used twice.", "Keep one.")


def _parent_ids(document: Document) -> set[int]:
    """Ids of categories that another category names as its supercategory.

    A project of one class may have the same name twice: as parent with id 0, as class with id 1.
    """
    named = [(one["id"], one["name"], one.get("supercategory")) for one in document["categories"]]
    return {
        number for number, name, _ in named if any(parent == name and child != number for child, _, parent in named)
    }


def _entry(category: Mapping[str, Any], split: str) -> ClassEntry:
    number, name = category.get("id"), category.get("name")
    if isinstance(number, bool) or not isinstance(number, int) or not isinstance(name, str) or not name:
        raise DataError(f"{split}: category {dict(category)!r} needs a whole id and a name.", "Export it again.")
    if name == "score":
        raise DataError(f"{split}: category {number} is named 'score', a key of the answer.", "Rename it.")
    if not name.isprintable():
        raise DataError(f"{split}: category {number} has the name {name!r}.", "Use letters that can be printed.")
    return ClassEntry(number, name)


def _require_agreement(entries: Sequence[ClassEntry], reference: Sequence[ClassEntry], split: str) -> None:
    expected = {one.id: one.name for one in reference}
    for one in entries:
        if one.id not in expected:
            raise DataError(f"{split}: category {one.id} ({one.name!r}) is not in train.", "Export all splits anew.")
        if expected[one.id] != one.name:
            raise DataError(
                f"{split}: category {one.id} is {one.name!r}, in train it is {expected[one.id]!r}.",
                "Export all splits anew.",
            )


def check_categories(document: Document, classes: Sequence[ClassEntry], source: str) -> None:
    """Refuse data whose categories are not the model's.

    Args:
        document: a COCO document.
        classes: the model's contract.
        source: the file, for errors.

    Raises:
        ContractError: a category in use whose id or name is not the model's.
    """
    expected = {one.id: one.name for one in classes}
    used = set(_used_ids(document))
    for one in _entries(document, source):
        if one.id in used and expected.get(one.id) != one.name:
            known = expected.get(one.id, "no class")
            raise ContractError(
                f"{source}: category {one.id} is {one.name!r}; in the model it is {known!r}.",
                "Evaluate on data with the classes the model was trained on.",
            )
