"""Decides which picture goes into which split."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from boxwright.data.documents import SPLITS
from boxwright.runtime import ConfigError, DataError

from .grouping import kin
from .source import Source, SourcePicture
from .stratify import stratify

__all__ = ["Arrangement", "arrange", "require_shares"]

_USUAL = (0.8, 0.2)
_NO_OBJECT = None

Arrangement = dict[str, tuple[list[SourcePicture], Mapping[str, Any]]]
"""By split, in the order of ``SPLITS``: its pictures, and the other keys of its document."""


def require_shares(shares: Sequence[float]) -> None:
    """Refuse shares that are no split.

    Raises:
        ConfigError: not two or three numbers above 0 whose sum is 1.
    """
    sound = len(shares) in (2, 3) and all(math.isfinite(share) and share > 0 for share in shares)
    if not sound or abs(sum(shares) - 1) > 1e-6:
        said = ",".join(f"{share:g}" for share in shares)
        raise ConfigError(f"Split {said!r} does not fit:", "give shares of train, valid and perhaps test, sum 1.")


def arrange(source: Source, shares: Sequence[float] | None, seed: int, notes: list[str]) -> Arrangement:
    """Keep the source's splits, or deal its pictures out anew.

    Args:
        source: the data set.
        shares: of train, valid and perhaps test; None keeps what splits there are, and makes 0.8 and
            0.2 of a set that has only one.
        seed: of the new split.
        notes: gets what a person should know about the splits.

    Raises:
        DataError: too few pictures for so many splits.
    """
    names = [name for name in SPLITS if any(picture.split == name for picture in source.pictures)]
    if shares is None and len(names) > 1:
        return _kept(source, names, notes)
    if shares is None:
        notes.append("The source has one split; its pictures were split 0.8 train, 0.2 valid.")
    pictures = _distinct(source.pictures, notes)
    parts = _dealt(pictures, shares or _USUAL, seed, notes)
    document = _merged(source.documents, notes)
    return {name: (part, document) for name, part in zip(SPLITS, parts, strict=False)}


def _kept(source: Source, names: Sequence[str], notes: list[str]) -> Arrangement:
    parts = {name: [picture for picture in source.pictures if picture.split == name] for name in names}
    shared = Counter(path for part in parts.values() for path in {picture.path for picture in part})
    twice = sum(count > 1 for count in shared.values())
    if twice:
        notes.append(f"Pictures in several splits: {twice}. What is measured on those says nothing.")
    lacking = [name for name in ("train", "valid") if name not in names]
    notes += [f"There is no {name} split; training needs one. --split deals all pictures out anew." for name in lacking]
    return {name: (part, source.documents.get(name, {})) for name, part in parts.items()}


def _distinct(pictures: Sequence[SourcePicture], notes: list[str]) -> list[SourcePicture]:
    """Without those that stand in several splits with the same objects."""
    chosen: dict[Any, SourcePicture] = {}
    for index, picture in enumerate(pictures):
        known = chosen.setdefault(picture.path, picture)
        if known.objects != picture.objects:
            chosen[index] = picture
    left = len(pictures) - len(chosen)
    if left:
        notes.append(f"Pictures that stood in several splits with the same objects: {left}. Each was taken once.")
    return list(chosen.values())


def _dealt(
    pictures: Sequence[SourcePicture], shares: Sequence[float], seed: int, notes: list[str]
) -> list[list[SourcePicture]]:
    groups = kin(pictures)
    if len(groups) < len(shares):
        raise DataError(
            f"{len(pictures)} pictures that may be parted into {len(groups)} groups cannot make {len(shares)} splits.",
            "Copies of one picture stay together; add pictures.",
        )
    tied = sum(len(group) for group in groups if len(group) > 1)
    if tied:
        notes.append(f"{tied} pictures are copies of others or share their source; copies went into the same split.")
    labels = [Counter(label for index in group for label in _labels(pictures[index])) for group in groups]
    places = stratify(labels, [len(group) for group in groups], shares, seed)
    place_of = {index: place for group, place in zip(groups, places, strict=True) for index in group}
    return [[one for index, one in enumerate(pictures) if place_of[index] == place] for place in range(len(shares))]


def _labels(picture: SourcePicture) -> set[int | None]:
    """The classes in a picture; pictures without objects have one of their own."""
    return {one.category for one in picture.objects} or {_NO_OBJECT}


def _merged(documents: Mapping[str, Mapping[str, Any]], notes: list[str]) -> dict[str, Any]:
    """Other keys of all documents; the first split's value where they differ, licences joined."""
    merged: dict[str, Any] = {}
    for split, document in documents.items():
        for key, value in document.items():
            known = merged.setdefault(key, value)
            if known == value:
                continue
            if key == "licenses" and isinstance(known, list) and isinstance(value, list):
                merged[key] = [*known, *(one for one in value if one not in known)]
            else:
                notes.append(f"{key!r} differs in {split}; the first split's was kept.")
    return merged
