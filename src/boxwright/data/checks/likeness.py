"""Pictures that are the same, look the same, or were made from the same one: inside a split and across."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

import dhash
import numpy as np
from numpy.typing import NDArray

from boxwright.data.findings import Finding
from boxwright.data.groups import roboflow_source

from .scan import GREYS_SIDE, PictureFacts

__all__ = ["ListedPicture", "check_likeness"]

_HASH_SIDE = GREYS_SIDE - 1
_MOST_BITS = 10  # of the 128 of a row and column difference hash
_MOST_GREY_LEVELS = 12.0  # mean difference of the 81 greys
_LEAST_CONTRAST = 16  # between the darkest and the lightest of the greys: a blank picture resembles all blank ones
_MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class ListedPicture:
    """A picture of a split that could be decoded."""

    split: str
    name: str
    facts: PictureFacts


def check_likeness(pictures: list[ListedPicture]) -> Iterator[Finding]:
    """The same file, look-alikes, and Roboflow's copies of one source.

    Look-alikes have difference hashes (D. Krawetz, 2013) at most 10 of 128 bits apart and greys that
    agree; they are gathered into groups through each other. Of a file that a split has several times
    one is compared. Roboflow's copies are left out where they are in such a group as a whole.
    """
    looked_at = [one for one in pictures if one.facts.digest is not None]
    same = _groups((one.facts.digest, one) for one in looked_at)
    alike = _look_alikes(_first_of_each(looked_at))
    copies = _groups((source, one) for one in looked_at if (source := roboflow_source(one.name)))
    yield from (_finding(group, "same-picture", "leak", "is the same file as") for group in same)
    yield from (_finding(group, "similar-pictures", "leak-similar", "looks like") for group in alike)
    reported = [{(one.split, one.name) for one in group} for group in (*same, *alike)]
    for group in copies:
        if len({one.split for one in group}) > 1 and not any(
            {(one.split, one.name) for one in group} <= larger for larger in reported
        ):
            yield _finding(group, "leak-source", "leak-source", "was made from the same picture as")


def _groups(keyed: Iterable[tuple[Hashable, ListedPicture]]) -> list[list[ListedPicture]]:
    """Pictures that share a key, where more than one does."""
    groups: dict[Hashable, list[ListedPicture]] = defaultdict(list)
    for key, picture in keyed:
        groups[key].append(picture)
    return [group for group in groups.values() if len(group) > 1]


def _first_of_each(pictures: list[ListedPicture]) -> list[ListedPicture]:
    """One picture for each file content and split, so that copies are not reported as look-alikes too."""
    seen: dict[tuple[bytes | None, str], ListedPicture] = {}
    for picture in pictures:
        seen.setdefault((picture.facts.digest, picture.split), picture)
    return list(seen.values())


def _finding(group: list[ListedPicture], inside: str, across: str, what: str) -> Finding:
    first, others = group[0], group[1:]
    shown = ", ".join(f"{one.name!r} ({one.split})" for one in others[:_MOST_NAMES])
    by_split = Counter(one.split for one in group)
    counts = ", ".join(f"{split} {count}" for split, count in by_split.items())
    rest = f" and {len(others) - _MOST_NAMES} more ({counts})" if len(others) > _MOST_NAMES else ""
    code = across if len(by_split) > 1 else inside
    return Finding(code, f"{what} {shown}{rest}", first.split, first.name)


def _look_alikes(pictures: list[ListedPicture]) -> list[list[ListedPicture]]:
    with_contrast = [one for one in pictures if _contrast(one.facts) >= _LEAST_CONTRAST]
    if not with_contrast:
        return []
    greys = np.array([list(one.facts.greys or b"") for one in with_contrast], dtype=np.int16)
    hashes = np.array([_hash(row.tolist()) for row in greys], dtype=np.uint64)
    groups = _groups(zip(_labels(hashes, greys), with_contrast, strict=True))
    return [group for group in groups if len({one.facts.digest for one in group}) > 1]


def _contrast(facts: PictureFacts) -> int:
    return max(facts.greys) - min(facts.greys) if facts.greys else 0


def _hash(greys: list[int]) -> tuple[int, int]:
    rows, columns = dhash.dhash_row_col(greys, size=_HASH_SIDE)
    return int(rows), int(columns)


def _labels(hashes: NDArray[np.uint64], greys: NDArray[np.int16]) -> list[int]:
    """For hashes [n, 2] and greys [n, 81] the group of each, look-alikes of look-alikes included.

    Only pairs that would join two groups are looked at closely: a fixed camera gives n * n of them.
    """
    label = np.arange(len(hashes))
    for one in range(len(hashes)):
        bits = np.bitwise_count(hashes[one] ^ hashes[one + 1 :]).sum(axis=1)
        others = one + 1 + np.flatnonzero(bits <= _MOST_BITS)
        others = others[label[others] != label[one]]
        near = np.abs(greys[others] - greys[one]).mean(axis=1) <= _MOST_GREY_LEVELS
        joined = np.append(label[others[near]], label[one])
        if len(joined) > 1:
            label[np.isin(label, joined)] = joined.min()
    return [int(number) for number in label]
