"""Which pictures belong together."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["connected", "roboflow_source"]

_ROBOFLOW_COPY = re.compile(r"(?P<source>.+)\.rf\.[0-9A-Za-z_-]+\.[^.]+")


def roboflow_source(file_name: str) -> str | None:
    """Name of the picture that Roboflow made this copy of (``NAME.rf.HASH.jpg``); None if it made none."""
    match = _ROBOFLOW_COPY.fullmatch(file_name)
    return match["source"] if match else None


def connected(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Groups of the items 0..count-1 that pairs connect, in the order of their first item; each item once."""
    parent = list(range(count))
    for one, other in pairs:
        first, second = sorted((_root(parent, one), _root(parent, other)))
        parent[second] = first
    groups: dict[int, list[int]] = {}
    for item in range(count):
        groups.setdefault(_root(parent, item), []).append(item)
    return list(groups.values())


def _root(parent: list[int], item: int) -> int:
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item
