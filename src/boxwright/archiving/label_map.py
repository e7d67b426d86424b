"""Class maps made by hand, read whichever way they count."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from boxwright.runtime import ArchiveError, ClassEntry
from boxwright.runtime.bundle import class_names_fault

__all__ = ["classes_of_map"]

_BACKGROUND = re.compile(r"[\W_]*(background|bg)?[\W_]*", re.IGNORECASE)
_ZERO_BASED = "it counts from 0, without the background; TorchServe showed each class by its neighbour's name"
_IN_ORDER = "its order is that of the labels, without the background"
_REMEDY = "Give --classes FILE: a text with one class a line, in the order of the labels, without background."


def classes_of_map(document: Any, labels: int, source: str) -> tuple[tuple[ClassEntry, ...], str]:
    """The classes of a map, by the number of labels the network has.

    A map with a name for every label counts as torchvision does, 0 is the background. One that lacks a single name
    lacks the background's, whether it counts from 0 or from 1.

    Args:
        document: ``index_to_name.json`` parsed: a list, or names by label.
        labels: of the network, the background included.
        source: name of the file, for errors.

    Returns:
        Classes in the order of the network's labels 1 and up, which are their ids; and a sentence on how the map was
        read.

    Raises:
        ArchiveError: it is no map, or it cannot be told which name belongs to which label.
    """
    names = _names_by_number(document, source)
    numbers = sorted(names)
    if numbers == list(range(labels)):
        read = f"it counts from 0, and 0 ({names.pop(0)!r}) is the background"
    elif numbers == list(range(1, labels)):
        read = "it counts from 1, without the background"
    elif numbers == list(range(labels - 1)) and not _BACKGROUND.fullmatch(names[0]):
        names = {number + 1: name for number, name in names.items()}
        read = _ZERO_BASED if isinstance(document, Mapping) else _IN_ORDER
    else:
        raise ArchiveError(
            f"{source}: {len(names)} names, from {min(numbers, default=0)} to {max(numbers, default=0)}, for a network "
            f"of {labels} labels, the background one of them: which belongs to which cannot be told.",
            _REMEDY,
        )
    fault = class_names_fault([names[number] for number in sorted(names)])
    if fault:
        raise ArchiveError(f"{source}: {fault}.", _REMEDY)
    return tuple(ClassEntry(number, names[number]) for number in sorted(names)), f"{source}: {read}."


def _names_by_number(document: Any, source: str) -> dict[int, str]:
    if isinstance(document, Mapping) and isinstance(document.get("object_type_names"), Sequence):
        document = document["object_type_names"]  # of TorchServe's older examples
    pairs = list(document.items()) if isinstance(document, Mapping) else None
    if isinstance(document, list):
        pairs = list(enumerate(document))
    if pairs is None:
        raise ArchiveError(f"{source}: neither a list nor names by label.", _REMEDY)
    return dict(_pair(number, name, source) for number, name in pairs)


def _pair(number: int | str, name: Any, source: str) -> tuple[int, str]:
    name = name[-1] if isinstance(name, list) and name else name  # [id, name], as TorchServe reads it
    if not re.fullmatch(r"0|[1-9]\d{0,6}", str(number)) or not isinstance(name, str):
        raise ArchiveError(f"{source}: {number!r}: {name!r} is no label and name.", _REMEDY)
    return int(number), name
