"""Finds a network among the tensors of a file, whatever stands before their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .family import Family

__all__ = ["COUNTER", "FoundNetwork", "find_network", "prefers"]

COUNTER = "num_batches_tracked"
"""End of the names of BatchNorm's counters, which change nothing once a network is trained."""


@dataclass(frozen=True)
class FoundNetwork:
    """Where a file holds a network.

    Attributes:
        place: what stands before its tensors' names in the file, with its last dot; may be empty.
        names: our names to theirs, of the tensors that both have.
    """

    place: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


def find_network(theirs: Iterable[str], ours: Collection[str], family: Family | None = None) -> FoundNetwork:
    """The place of a file that holds most of a network's tensors.

    Of places that hold equally many an average of weights (``ema``) is preferred, then the first.

    Args:
        theirs: names of the tensors of a file, those of nested mappings joined with dots.
        ours: names of the tensors of a network.
        family: of the network: knows what older releases, and backbones of their own, call the same tensors.
    """
    found: dict[tuple[str, bool], dict[str, str]] = {}
    for name in theirs:
        for place, rest in _endings(name):
            for spelling, is_backbone in _spellings(rest, family):
                if spelling in ours:
                    found.setdefault((place, is_backbone), {}).setdefault(spelling, name)
    places = [FoundNetwork(place, names) for (place, _), names in found.items()]
    return max(places, key=lambda one: (_weight(one.names), prefers(one.place)), default=FoundNetwork())


def _endings(name: str) -> Iterator[tuple[str, str]]:
    """Every way to take a name apart at a dot, the whole name first."""
    yield "", name
    for dot in re.finditer(r"\.", name):
        yield name[: dot.end()], name[dot.end() :]


def _spellings(name: str, family: Family | None) -> Iterator[tuple[str, bool]]:
    """What a tensor may be called in our network, and whether that reads it as one of a backbone alone."""
    yield name, False
    if family is not None:
        yield family.name_today(name), False
        yield family.name_in_detector(name), True


def _weight(names: Iterable[str]) -> int:
    return sum(not name.endswith(COUNTER) for name in names)


def prefers(place: str) -> bool:
    """Whether a place of a file says that it holds an average of weights."""
    return "ema" in re.split(r"[._]", place.lower())
