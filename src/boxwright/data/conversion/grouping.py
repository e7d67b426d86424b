"""Finds pictures that must not be parted by a split: what is learnt on one would be measured on its twin."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from boxwright.data.groups import connected, roboflow_source
from boxwright.runtime import DataError

from .source import SourcePicture

__all__ = ["kin"]


def kin(pictures: Sequence[SourcePicture]) -> list[list[int]]:
    """Groups of pictures that belong together, as indices.

    Together belong files of the same content (SHA-256), and the copies that Roboflow made of one
    source picture (``NAME.rf.HASH.jpg``). Groups are in the order of their first picture.

    Args:
        pictures: files are read where sizes in bytes are equal.

    Returns:
        Each index once.

    Raises:
        DataError: a file cannot be read.
    """
    first: dict[str, int] = {}
    pairs = [(first.setdefault(key, index), index) for index, keys in enumerate(_keys(pictures)) for key in keys]
    return connected(len(pictures), pairs)


def _keys(pictures: Sequence[SourcePicture]) -> list[list[str]]:
    """What each picture shares with its kin."""
    try:
        sizes = [picture.path.stat().st_size for picture in pictures]
        common = Counter(sizes)
        return [
            [*_source_name(picture.path), *([_digest(picture.path)] if common[size] > 1 else [])]
            for picture, size in zip(pictures, sizes, strict=True)
        ]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}.") from error


def _source_name(path: Path) -> list[str]:
    source = roboflow_source(path.name)
    return [f"name {source}"] if source else []


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"content {hashlib.file_digest(file, 'sha256').hexdigest()}"
