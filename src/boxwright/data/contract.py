"""The class contract: which category is which class index, decided once from the training split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from boxwright.runtime import ClassEntry, ContractError

from .documents import CategoryEntry, Document

__all__ = ["class_contract", "parent_ids", "require_classes"]


def class_contract(documents: Mapping[str, Document]) -> tuple[ClassEntry, ...]:
    """Classes of a data set, from its training split, sorted by category id.

    A category that has no annotation in any split and is the supercategory of others (Roboflow's
    id 0) is not a class. Every other category is a class, used or not.

    Args:
        documents: by split name. Without ``train`` the result is empty.
    """
    if "train" not in documents:
        return ()
    categories = documents["train"].categories
    used = {entry.category_id for document in documents.values() for entry in document.annotations}
    parents = parent_ids(categories)
    named = {entry.id: entry.name for entry in reversed(categories) if entry.id in used or entry.id not in parents}
    return tuple(ClassEntry(number, named[number]) for number in sorted(named))


def parent_ids(categories: Iterable[CategoryEntry]) -> set[int]:
    """Ids of categories that another category names as its supercategory.

    A project of one class may have the same name twice: as parent with id 0, as class with id 1.
    """
    entries = list(categories)
    children: dict[str | None, set[int]] = defaultdict(set)
    for entry in entries:
        children[entry.parent].add(entry.id)
    return {entry.id for entry in entries if children.get(entry.name, set()) - {entry.id}}


def require_classes(document: Document, classes: Sequence[ClassEntry], source: str) -> None:
    """Refuse data whose categories are not the model's.

    Args:
        document: of a split.
        classes: the model's contract.
        source: the file, for errors.

    Raises:
        ContractError: the id or name of a used category is not the model's.
    """
    expected = {entry.id: entry.name for entry in classes}
    used = {entry.category_id for entry in document.annotations}
    for entry in document.categories:
        if entry.id in used and expected.get(entry.id) != entry.name:
            known = expected.get(entry.id, "no class")
            raise ContractError(
                f"{source}: category {entry.id} is {entry.name!r}; in the model it is {known!r}.",
                "Evaluate on data with the classes the model was trained on.",
            )
