"""What can be told of a data set without its pictures: it travels with the model, for its model card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .records import DataFolder

__all__ = ["describe_data"]

_MOST = 20  # licences of a file that lists one per picture
_LONGEST = 300  # characters of a text from a file
_ADDRESS = re.compile(r"https?://\S+")


def describe_data(folder: DataFolder) -> dict[str, Any]:
    """Name, licences, sources and boxes of a data set, for JSON; of its place on this machine the last name alone.

    Args:
        folder: the data.

    Returns:
        ``name``; ``licences`` and ``sources``, as the annotation files of the splits give them (``licenses`` and the
        address in ``info``); ``boxes``: by split and class name, without crowds; ``smallest_box``: width and height
        of the training box with the least area, pixels of its picture, None without boxes.
    """
    documents = [document.raw for document in folder.inspection.documents.values()]
    return {
        "name": folder.root.resolve().name,
        "licences": list(dict.fromkeys(text for raw in documents for text in _licences(raw)))[:_MOST],
        "sources": list(dict.fromkeys(text for raw in documents for text in _sources(raw)))[:_MOST],
        "boxes": {split.name: _boxes(folder, split.name) for split in folder.splits.values()},
        "smallest_box": _smallest_box(folder),
    }


def _licences(raw: Mapping[str, Any]) -> Iterator[str]:
    listed = raw.get("licenses")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict):
            name, url = (_text(entry.get(key)) for key in ("name", "url"))
            if name or url:
                yield f"{name} ({url})" if name and url else name or url


def _sources(raw: Mapping[str, Any]) -> Iterator[str]:
    info = raw.get("info")
    url = _text(info.get("url")) if isinstance(info, dict) else ""
    if _ADDRESS.fullmatch(url):
        yield url


def _text(value: object) -> str:
    """A text on one line; empty if it is none."""
    return " ".join(value.split())[:_LONGEST] if isinstance(value, str) else ""


def _boxes(folder: DataFolder, split: str) -> dict[str, int]:
    counts = np.zeros(len(folder.classes), np.int64)
    for record in folder.splits[split].pictures:
        counts += np.bincount(record.labels[~record.crowd], minlength=len(counts))
    return {entry.name: count for entry, count in zip(folder.classes, counts.tolist(), strict=True)}


def _smallest_box(folder: DataFolder) -> list[float] | None:
    train = folder.splits["train"].pictures
    sides = np.concatenate(
        [np.zeros((0, 2)), *(one.boxes[~one.crowd, 2:] - one.boxes[~one.crowd, :2] for one in train)]
    )
    if not len(sides):
        return None
    smallest: list[float] = sides[sides.prod(axis=1).argmin()].round(1).tolist()
    return smallest
