"""The classes of several COCO documents, joined by name; ids become whole numbers."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from boxwright.data.contract import parent_ids
from boxwright.data.documents import CategoryEntry, Entry, is_odd_id, name_of, whole_id
from boxwright.runtime import DataError

__all__ = ["Classes", "Key", "by_number", "key_of", "linked", "odd_ids"]

Key = int | str
"""An id: a whole number of 64 bits, or a text; of a larger number its digits."""

Role = tuple[str, bool]  # a class's name in one Unicode form, and whether it is a super-category beside that class

_SPELLED = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)
_PADDED = re.compile(r"0*[0-9]{1,18}", re.ASCII)
_MOST_SHOWN = 5


def key_of(entry: Mapping[str, Any], key: str, where: str) -> Key:
    """The id under a key; the text of a whole number is that number.

    Raises:
        DataError: it is neither a whole number nor a text.
    """
    value = entry.get(key)
    if is_odd_id(value):
        value = str(value)
    if isinstance(value, str) and value.strip():
        text = value.strip()
        return int(text) if _SPELLED.fullmatch(text) else text
    number = whole_id(value)
    if number is None:
        raise DataError(f"{where}: {key} = {value!r} is neither a whole number nor a text.", "Export the file again.")
    return number


def odd_ids(document: Entry) -> list[str | int | float]:
    """Those ids of pictures, categories and annotations that are text or too large."""
    keys = {"images": ("id",), "categories": ("id",), "annotations": ("id", "image_id", "category_id")}
    rows = ((entry, names) for part, names in keys.items() for entry in document[part])
    return [value for entry, names in rows for name in names if is_odd_id(value := entry.get(name))]


def by_number(keys: Iterable[Key]) -> Mapping[int, Key]:
    """By number the id that means it, with zeros in front or without; not if several do."""
    numbers = [(number, key) for key in keys if (number := _number(key)) is not None]
    count = Counter(number for number, _ in numbers)
    return {number: key for number, key in numbers if count[number] == 1}


def linked(key: Key, known: Container[Key], numbers: Mapping[int, Key]) -> Key:
    """The id that a link means: of its own spelling, else the one of its number, as "001" for 1.

    Args:
        key: the link.
        known: all ids.
        numbers: the same, see ``by_number``.
    """
    number = None if key in known else _number(key)
    return key if number is None else numbers.get(number, key)


def _number(key: Key) -> int | None:
    if isinstance(key, int):
        return key
    return int(key) if _PADDED.fullmatch(key) else None


class Classes:
    """The categories of all documents that were joined so far.

    Attributes:
        entries: COCO entries by id, in order; an id is that of the first document which has the name.
    """

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self._ids: dict[Role, int] = {}
        self._first: Path | None = None

    def join(self, path: Path, document: Entry, notes: list[str]) -> Mapping[Key, int]:
        """Add a document's categories.

        Args:
            path: of the document.
            document: with its lists.
            notes: gets sentences about what differs from the documents before it.

        Returns:
            The id in ``entries`` by the document's own.

        Raises:
            DataError: an id or a name is missing or used twice; only a super-category without objects may have the
                name of its class.
        """
        keys = [_key(entry, path) for entry in document["categories"]]
        _require_once(keys, path)
        numbered = any(is_odd_id(entry["id"]) for entry in document["categories"])
        numbers = [position if numbered else int(key) for position, key in enumerate(keys, start=1)]
        roles = list(_roles(path, document, keys))
        joined: dict[Key, int] = {}
        moved: list[str] = []
        added: list[str] = []
        for key, number, role, entry in zip(keys, numbers, roles, document["categories"], strict=True):
            name = str(name_of(entry["name"]))
            if role not in self._ids:
                added.append(name)
                self._add(role, number, {**entry, "name": name}, numbers)
            elif self._ids[role] != number and not numbered:
                moved.append(f"{name!r} {self._ids[role]}, not {number}")
            joined[key] = self._ids[role]
            notes += self._difference(path, joined[key], entry)
        if self._first is None:
            self._first = path
        else:
            notes += self._sentences(path, moved, added)
        return joined

    def _add(self, role: Role, number: int, entry: Entry, own: Sequence[int]) -> None:
        free = number if number not in self.entries else max(*self.entries, *own) + 1
        self._ids[role] = free
        self.entries[free] = {**entry, "id": free}

    def _difference(self, path: Path, number: int, entry: Entry) -> Iterator[str]:
        known = self.entries[number]
        if any(known.get(key) != entry.get(key) for key in (known.keys() | entry.keys()) - {"id", "name"}):
            yield f"{path}: category {number} differs from the first split's; the first split's was kept."

    def _sentences(self, path: Path, moved: Sequence[str], added: Sequence[str]) -> Iterator[str]:
        if moved:
            yield (
                f"{path}: {len(moved)} classes have other ids than in {self._first}; they were joined by name: "
                f"{_some(moved)}."
            )
        if added:
            names = _some([repr(name) for name in added])
            yield f"{path}: {len(added)} classes are not in {self._first}; they were added for all splits: {names}."


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_MOST_SHOWN]) + (", …" if len(texts) > _MOST_SHOWN else "")


def _key(entry: Entry, path: Path) -> Key:
    key = key_of(entry, "id", f"{path}: category {entry.get('name')!r}")
    if name_of(entry.get("name")) is None:
        raise DataError(f"{path}: category {key!r} has no name: {entry.get('name')!r}.", "Give it one.")
    return key


def _require_once(keys: Sequence[Key], path: Path) -> None:
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise DataError(f"{path}: category id {twice[0]!r} is used twice.", "Keep one.")


def _roles(path: Path, document: Entry, keys: Sequence[Key]) -> Iterator[Role]:
    """Of each category its name, and whether it is an unused super-category of a class of that name."""
    written = [str(name_of(entry["name"])) for entry in document["categories"]]
    names = [unicodedata.normalize("NFC", name) for name in written]
    links = {key_of(one, "category_id", f"{path}: annotation id {one.get('id')!r}") for one in document["annotations"]}
    numbers = by_number(keys)
    used = {linked(key, keys, numbers) for key in links}
    entries = zip(names, document["categories"], strict=True)
    rows = [CategoryEntry(number, name, _parent(entry)) for number, (name, entry) in enumerate(entries)]
    parents = {keys[number] for number in parent_ids(rows)} - used
    count = Counter(names)
    first: dict[Role, Key] = {}
    for key, name in zip(keys, names, strict=True):
        role = (name, count[name] > 1 and key in parents)
        other = first.setdefault(role, key)
        if other != key:
            spelled = dict(zip(keys, written, strict=True))
            form = "" if spelled[key] == spelled[other] else ", in another Unicode form of the same letters"
            raise DataError(
                f"{path}: category {key!r} is {name!r}, and so is {other!r}{form}.",
                "Give the class one id in all documents, or rename one.",
            )
        yield role


def _parent(entry: Entry) -> str | None:
    parent = entry.get("supercategory")
    return unicodedata.normalize("NFC", parent) if isinstance(parent, str) else None
