"""Rows of a class head move from one network to another by the names of their classes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from .family import Architecture, ClassRows

__all__ = ["HeadStart", "pair_classes", "start_head"]

_SEPARATORS = re.compile(r"[\s_-]+")
_NO_NAME = re.compile(r"LABEL_\d+")  # what Hugging Face transformers writes for a class that nobody named


@dataclass(frozen=True)
class HeadStart:
    """Which of our classes start with rows of a file's class head.

    Attributes:
        kept: names of those that do.
        new: names of those whose rows keep their initial values.
        reading: how the file's head was read, in a few words.
        warning: what was assumed, a sentence; or empty.
    """

    kept: tuple[str, ...]
    new: tuple[str, ...]
    reading: str
    warning: str = ""


def start_head(
    row: Architecture,
    own: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    ours_and_their_names: tuple[Sequence[str], Sequence[str] | None],
) -> tuple[dict[str, Tensor], HeadStart | None]:
    """A network's class head with the rows of a file's.

    Args:
        row: the architecture.
        own: the network's tensors.
        theirs: the file's, by the names that they have in our network.
        ours_and_their_names: names of the network's classes, and of the file's or None if they are not known; by
            class index.

    Returns:
        Values of the head's tensors, and what was done; nothing and None if the file has no such tensor.
    """
    ours, names = ours_and_their_names
    layouts = {name: rows for name in own if (rows := row.rows_of(name))}
    head = {name: theirs[name] for name in layouts if name in theirs}
    if not head:
        return {}, None
    count = _classes_of(head, layouts)
    if count is None or set(head) != set(layouts) or any(head[name].shape[1:] != own[name].shape[1:] for name in head):
        return {}, HeadStart((), tuple(ours), "of another shape")
    if names is not None and (len(names) != count or all(_NO_NAME.fullmatch(name) for name in names)):
        names = None
    if names is None and count != len(ours):
        return {}, HeadStart((), tuple(ours), f"of {count} classes that have no names")
    pairs = pair_classes(ours, ours if names is None else names)
    values = {name: _with_rows_of(head[name], own[name], rows, pairs) for name, rows in layouts.items()}
    kept = tuple(name for index, name in enumerate(ours) if index in pairs)
    new = tuple(name for index, name in enumerate(ours) if index not in pairs)
    if names is not None:
        return values, HeadStart(kept, new, "by name")
    return values, HeadStart(kept, new, "by position", _assumption(ours))


def _assumption(names: Sequence[str]) -> str:
    return (
        f"nothing says what the classes of these weights are called: they are taken to be {', '.join(names)}, in this "
        "order. If they are others, keep the run's spec.json beside the file, or give its checkpoint."
    )


def pair_classes(ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Which class is which, by name.

    Equal names come first; of what is left, those that are equal but for letter case, and for blanks, underscores and
    hyphens. A name that occurs more than once among either is nobody's.

    Args:
        ours: names by class index.
        theirs: names by class index.

    Returns:
        Our index to theirs, each at most once.
    """
    if list(ours) == list(theirs):
        return {index: index for index in range(len(ours))}
    equal = _pair(dict(enumerate(ours)), dict(enumerate(theirs)))
    left = {index: _folded(name) for index, name in enumerate(ours) if index not in equal}
    free = {index: _folded(name) for index, name in enumerate(theirs) if index not in equal.values()}
    return {**equal, **_pair(left, free)}


def _pair(ours: Mapping[int, str], theirs: Mapping[int, str]) -> dict[int, int]:
    place = _once(theirs)
    return {index: place[name] for name, index in _once(ours).items() if name in place}


def _once(names: Mapping[int, str]) -> dict[str, int]:
    """Names that occur once, with their index."""
    texts = list(names.values())
    return {name: index for index, name in names.items() if texts.count(name) == 1}


def _folded(name: str) -> str:
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFC", name)).strip().casefold()


def _classes_of(head: Mapping[str, Tensor], layouts: Mapping[str, ClassRows]) -> int | None:
    """How many classes a head has; None if its tensors do not agree on it, or one has another layout."""
    counts = {layouts[name].classes(len(tensor)) if tensor.ndim else None for name, tensor in head.items()}
    return counts.pop() if len(counts) == 1 else None


def _with_rows_of(theirs: Tensor, ours: Tensor, rows: ClassRows, pairs: Mapping[int, int]) -> Tensor:
    """Our tensor with their rows for the classes that are paired, and for what is no class, as the background.

    Args:
        theirs: [R', ...], laid out as ``rows`` says, with any number of classes.
        ours: [R, ...], as well.
        rows: the layout of both.
        pairs: our class index to theirs.

    Returns:
        A new tensor of our shape and dtype.
    """
    target, source = (one.reshape(rows.outer, -1, rows.inner, *one.shape[1:]) for one in (ours.clone(), theirs))
    target[:, : rows.before] = source[:, : rows.before].to(ours.dtype)
    if rows.after:
        target[:, -rows.after :] = source[:, -rows.after :].to(ours.dtype)
    for own, other in pairs.items():
        target[:, rows.before + own] = source[:, rows.before + other].to(ours.dtype)
    return target.reshape(ours.shape)
