"""Decides which picture goes into which split: as in the source, or anew with a fair share of each class.

Copies of one picture and look-alikes stay together, for what is learnt on one would be measured on the other. What is
alike is decided as the data check decides it, which would report a leak.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from boxwright.data.checks.pictures import ListedPicture, related_pictures
from boxwright.data.checks.scan import scan_pictures
from boxwright.data.documents import SPLITS
from boxwright.runtime import ConfigError, DataError

from .source import Source, SourcePicture

__all__ = ["SplitPictures", "arrange", "group_copies", "require_shares", "stratify"]

_DEFAULT_SHARES = (0.8, 0.2)
_ROUNDING = 1e-9
_FAR_OFF = 0.05  # of all pictures, between the share asked for and the share got

Progress = Callable[[int, int], object]

SplitPictures = dict[str, tuple[list[SourcePicture], Mapping[str, Any]]]
"""By split, in the order of ``SPLITS``: its pictures, and the other keys of its document."""

Label = int | None  # None for pictures without objects
LabelCounts = Mapping[Label, int]


def require_shares(shares: Sequence[float]) -> None:
    """Refuse shares that do not describe splits.

    Raises:
        ConfigError: not two or three numbers above 0 whose sum is 1.
    """
    valid = len(shares) in (2, 3) and all(math.isfinite(share) and share > 0 for share in shares)
    if not valid or abs(sum(shares) - 1) > 1e-6:
        text = ",".join(f"{share:g}" for share in shares)
        raise ConfigError(f"Split {text!r} does not fit:", "give shares of train, valid and optionally test, sum 1.")


def arrange(
    source: Source,
    shares: Sequence[float] | None,
    seed: int | None,
    notes: list[str],
    advance: Progress | None = None,
) -> SplitPictures:
    """Keep the source's splits, or split its pictures anew.

    Args:
        source: the data set.
        shares: of train, valid and optionally test; None keeps the splits, and splits a source that has only one
            into 0.8 and 0.2.
        seed: of the new split; None for 0.
        notes: gets sentences about the splits for the user.
        advance: called with (pictures looked at, pictures in all) for new splits.

    Raises:
        ConfigError: a seed, where the splits are kept.
        DataError: too few pictures for so many splits.
    """
    names = [name for name in SPLITS if any(picture.split == name for picture in source.pictures)]
    _require_one_meaning(source.pictures)
    if shares is None and len(names) > 1:
        if seed is not None:
            kept = f"the splits of the source are kept: {', '.join(names)}."
            raise ConfigError(f"--seed {seed} decides nothing: {kept}", "Leave it out, or make new ones with --split.")
        return _kept(source, names, notes)
    if shares is None:
        notes.append("The source has one split; its pictures were split 0.8 train, 0.2 valid.")
    pictures = _distinct(source.pictures, notes)
    parts = _new_splits(pictures, shares or _DEFAULT_SHARES, seed or 0, notes, advance)
    document = _merged(source.documents, notes)
    return {name: (part, document) for name, part in zip(SPLITS, parts, strict=False)}


def _kept(source: Source, names: Sequence[str], notes: list[str]) -> SplitPictures:
    parts = {name: [picture for picture in source.pictures if picture.split == name] for name in names}
    shared = Counter(path for part in parts.values() for path in {picture.path for picture in part})
    repeated = sum(count > 1 for count in shared.values())
    if repeated:
        notes.append(f"Pictures in several splits: {repeated}. Figures measured on them say nothing.")
    missing = [name for name in ("train", "valid") if name not in names]
    notes += [f"There is no {name} split; training needs one. --split makes new splits." for name in missing]
    return {name: (part, source.documents.get(name, {})) for name, part in parts.items()}


def _require_one_meaning(pictures: Sequence[SourcePicture]) -> None:
    """Raise if one file has other objects in one split than in another: they belong to another picture of its name."""
    first: dict[Path, SourcePicture] = {}
    for picture in pictures:
        known = first.setdefault(picture.path, picture)
        if known.objects != picture.objects:
            raise DataError(
                f"{picture.path}: has other boxes in {picture.split} than in {known.split}.",
                "Give each split pictures of its own, in a folder of its own.",
            )


def _distinct(pictures: Sequence[SourcePicture], notes: list[str]) -> list[SourcePicture]:
    """Each picture once; in several splits it has the same objects, see ``_require_one_meaning``."""
    chosen: dict[Path, SourcePicture] = {}
    for picture in pictures:
        chosen.setdefault(picture.path, picture)
    left = len(pictures) - len(chosen)
    if left:
        notes.append(f"Pictures in several splits with the same objects: {left}. Each was taken once.")
    return list(chosen.values())


def _new_splits(
    pictures: Sequence[SourcePicture],
    shares: Sequence[float],
    seed: int,
    notes: list[str],
    advance: Progress | None,
) -> list[list[SourcePicture]]:
    groups = group_copies(pictures, advance)
    if len(groups) < len(shares):
        raise DataError(
            f"{len(pictures)} pictures in {len(groups)} groups of copies or look-alikes cannot make {len(shares)} "
            "splits.",
            "Those of one group stay together; add pictures, or lay out train/ and valid/ yourself.",
        )
    copies = sum(len(group) for group in groups if len(group) > 1)
    if copies:
        notes.append(
            f"{copies} pictures are copies of others, look like others or share their source; those that do went into "
            "the same split."
        )
    labels = [Counter(label for index in group for label in _labels(pictures[index])) for group in groups]
    chosen = stratify(labels, [len(group) for group in groups], shares, seed)
    split_by_index = {index: split for group, split in zip(groups, chosen, strict=True) for index in group}
    parts = [
        [picture for index, picture in enumerate(pictures) if split_by_index[index] == split]
        for split in range(len(shares))
    ]
    largest = max(map(len, groups))
    sizes = [len(part) / len(pictures) for part in parts]
    if largest > 1 and max(abs(size - share) for size, share in zip(sizes, shares, strict=True)) > _FAR_OFF:
        notes.append(
            f"The splits have {_listed(sizes)} of the pictures, not {_listed(shares)}: the largest group of copies or "
            f"look-alikes has {largest} of {len(pictures)}."
        )
    return parts


def _listed(shares: Sequence[float]) -> str:
    return ", ".join(f"{share:.2g}" for share in shares)


def _labels(picture: SourcePicture) -> set[Label]:
    return {item.category for item in picture.objects} or {None}


def _merged(documents: Mapping[str, Mapping[str, Any]], notes: list[str]) -> dict[str, Any]:
    """Other keys of all documents; the first split's value where they differ, licences joined."""
    merged: dict[str, Any] = {}
    for split, document in documents.items():
        for key, value in document.items():
            known = merged.setdefault(key, value)
            if known == value:
                continue
            if key == "licenses" and isinstance(known, list) and isinstance(value, list):
                merged[key] = [*known, *(entry for entry in value if entry not in known)]
            else:
                notes.append(f"{key!r} differs in {split}; the first split's was kept.")
    return merged


def group_copies(pictures: Sequence[SourcePicture], advance: Progress | None = None) -> list[list[int]]:
    """Groups of pictures that must be in the same split, as indices; each index once.

    These are files of the same content, copies of one source picture by their names, and look-alikes, see
    ``checks.pictures.compare_pictures``. Groups are in the order of their first picture. Every picture is decoded once.

    Args:
        pictures: existing files.
        advance: called with (pictures looked at, pictures in all).

    Raises:
        DataError: a file cannot be read.
    """
    facts = scan_pictures([str(picture.path) for picture in pictures], pixels=True, advance=advance)
    unreadable = next((one.error for one in facts if one.error is not None and not one.readable), None)
    if unreadable is not None:
        raise DataError(unreadable.message, "Make it readable.")
    # a picture that cannot be decoded has no likeness; its copies are found by its bytes
    digests = [one.digest or _digest(picture.path) for one, picture in zip(facts, pictures, strict=True)]
    listed = [
        ListedPicture(str(index), picture.path.name, replace(one, digest=digest))
        for index, (picture, one, digest) in enumerate(zip(pictures, facts, digests, strict=True))
    ]
    groups = (group for kind in related_pictures(listed) for group in kind)
    return _connected(
        len(pictures), [(int(group[0].split), int(other.split)) for group in groups for other in group[1:]]
    )


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _connected(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Groups of the items 0..count-1 that pairs connect, in the order of their first item; each item once."""
    parent = list(range(count))
    for pair in pairs:
        first, second = sorted(_root(parent, item) for item in pair)
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


def stratify(groups: Sequence[LabelCounts], sizes: Sequence[int], shares: Sequence[float], seed: int) -> list[int]:
    """Choose a split for each group by iterative stratification.

    Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data, ECML PKDD 2011, algorithm 1: the rarest
    label is assigned first, each time to the split that still needs most of it. Groups of several pictures are kept
    whole, the largest first. Where no split needs a whole group any more, the splits that need a part of one count as
    equal, and the emptiest gets it; without that, all pictures of small classes would go to the largest split.

    With w the most pictures of a label in one group, and s its pictures in groups that also have other labels, each
    split gets its share of the label's pictures to within max(w, s): less than one group for labels that come alone.
    Only a split that would stay empty is given a group beyond that.

    Args:
        groups: by label, how many of a group's pictures have it; each group has at least one label.
        sizes: pictures by group.
        shares: of the splits, each above 0, with the sum 1.
        seed: decides between equals.

    Returns:
        The index of the split, by group.
    """
    state = _Stratification(groups, sizes, shares)
    generator = random.Random(seed)
    keys = [generator.random() for _ in groups]
    groups_of: dict[Label, list[int]] = {label: [] for label in state.left}
    for index in sorted(range(len(groups)), key=keys.__getitem__):
        for label in groups[index]:
            groups_of[label].append(index)
    while state.left:
        label = min(state.left, key=lambda key: (state.left[key], str(key)))
        waiting = [index for index in groups_of[label] if state.splits[index] < 0]
        for index in sorted(waiting, key=lambda group: -groups[group][label]):
            state.assign(index, state.choose(label))
    return _without_empty(state.splits, sizes, len(shares))


class _Stratification:
    """How many pictures each split still needs.

    Attributes:
        left: pictures by label that have no split yet; labels that are done are removed.
        splits: split by group, -1 before it is chosen.
    """

    def __init__(self, groups: Sequence[LabelCounts], sizes: Sequence[int], shares: Sequence[float]) -> None:
        self._groups = groups
        self._sizes = sizes
        self._shares = shares
        self.left: Counter[Label] = Counter()
        self._largest: Counter[Label] = Counter()
        for group in groups:
            self.left.update(group)
            self._largest |= Counter(group)
        self.splits = [-1] * len(groups)
        self._needed = {label: [count * share for share in shares] for label, count in self.left.items()}
        self._filled = [0.0] * len(shares)

    def choose(self, label: Label) -> int:
        needed = self._needed[label]
        splits = range(len(needed))
        most = max(needed)
        if most >= self._largest[label] - _ROUNDING:
            return max(splits, key=lambda split: (needed[split], -self._filled[split]))
        tied = [split for split in splits if needed[split] > _ROUNDING] or [needed.index(most)]
        return min(tied, key=lambda split: (self._filled[split], -needed[split]))

    def assign(self, index: int, split: int) -> None:
        self.splits[index] = split
        self._filled[split] += self._sizes[index] / self._shares[split]
        for label, count in self._groups[index].items():
            self._needed[label][split] -= count
            self.left[label] -= count
            if not self.left[label]:
                del self.left[label]


def _without_empty(splits: list[int], sizes: Sequence[int], count: int) -> list[int]:
    """Give each empty split the smallest group of the split that has the most groups."""
    for split in range(count):
        groups = Counter(splits)
        largest, most = max(groups.items(), key=lambda item: (item[1], -item[0]), default=(0, 0))
        if not groups[split] and most > 1:
            own = [index for index, chosen in enumerate(splits) if chosen == largest]
            splits[min(own, key=lambda index: (sizes[index], index))] = split
    return splits
