"""Checks of the pictures: listed against existing files, what each holds, and which are too much alike."""

from __future__ import annotations

import posixpath
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

import dhash
import numpy as np
from numpy.typing import NDArray

from boxwright.data.documents import Box, ImageEntry
from boxwright.data.file_names import copied_from, is_hidden, is_other_picture_name, is_picture_name
from boxwright.data.findings import Finding, some_pictures
from boxwright.runtime import PictureTooLarge, UnsupportedPicture
from boxwright.runtime.errors import PointerFile
from boxwright.runtime.picture import SIDEWAYS

from .scan import GREYS_SIDE, FolderContents, PictureFacts, SplitContents, parents, picture_folders

__all__ = ["ListedPicture", "check_likeness", "check_listing", "check_pictures", "compare_pictures", "related_pictures"]

_HASH_SIDE = GREYS_SIDE - 1
_MOST_BITS = 10  # of the 128 of a row and column difference hash
_MOST_GREY_LEVELS = 12.0  # mean difference of the 81 greys
_LEAST_CONTRAST = 16  # between the darkest and the lightest grey: all blank pictures look alike
_MOST_NAMES = 3


def check_listing(split: SplitContents) -> Iterator[Finding]:
    """Ids and names used twice, pictures missing, unlisted or linked, folders without a purpose."""
    name, images = split.document.split, split.document.images
    if not split.document.raw["images"]:
        yield Finding("split-empty", "the split is empty, it lists no pictures", name)
    for number, count in Counter(entry.id for entry in images).items():
        if count > 1:
            yield Finding("picture-id-twice", f"picture id {number} is used twice", name, image_id=number)
    for file, count in Counter(entry.file_name for entry in images).items():
        if count > 1:
            yield Finding("file-name-twice", f"is listed {count} times", name, file)
    yield from _absent(split)
    for entry in images:
        file = entry.file_name
        if not split.listing.links.isdisjoint((file, *parents(file))):
            yield Finding("symbolic-link", "is a symbolic link, or is in a linked folder", name, file, entry.id)
    yield from _unlisted(split)


def _absent(split: SplitContents) -> Iterator[Finding]:
    """Each picture that is not there; if most are not, their number."""
    name, images = split.document.split, split.document.images
    absent = [entry for entry in images if entry.file_name not in split.listing.files]
    if 2 * len(absent) > len(images):
        here = sum(is_picture_name(file) for file in split.listing.files)
        message = (
            f"{len(absent)} of {len(images)} listed pictures are missing, as {absent[0].file_name!r}; here are {here}"
        )
        yield Finding("pictures-absent", message, name)
        return
    for entry in absent:
        message = f"picture {entry.file_name!r} is missing"
        yield Finding("picture-missing", message, name, entry.file_name, entry.id, position=entry.position)


def _unlisted(split: SplitContents) -> Iterator[Finding]:
    document, listing = split.document, split.listing
    for name in sorted(listing.folders.difference(picture_folders(document))):
        if not is_hidden(name):
            yield Finding("stray-folder", "no file_name points into this folder", document.split, f"{name}/")
    names = (entry.get("file_name") for entry in document.raw["images"])
    listed = {posixpath.normpath(name) for name in names if isinstance(name, str)}
    listed.update(entry.file_name for entry in document.images)
    unlisted = [name for name in sorted(listing.files - listed) if not is_hidden(name)]
    for name in unlisted:
        if is_picture_name(name):
            yield Finding("picture-unlisted", "exists, but is not listed", document.split, name)
    others = [name for name in unlisted if is_other_picture_name(name)]
    if others:
        kinds = Counter(posixpath.splitext(name)[1].lower() for name in others)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        yield Finding("picture-format", f"pictures that are not read: {counts}, as {others[0]!r}", document.split)


def check_pictures(split: SplitContents) -> Iterator[Finding]:
    """Pictures that cannot be decoded, sizes that differ, and notes about the rest."""
    name = split.document.split
    modes: dict[str, list[str]] = defaultdict(list)
    turned: list[str] = []
    animated: list[str] = []
    for entry in split.document.images:
        facts = split.facts.get(entry.file_name)
        if facts is None:
            continue  # missing, and reported by check_listing
        if facts.error is not None:
            yield _undecodable(entry, name, facts)
            continue
        yield from _size(entry, name, facts, entry.id in split.drawn_as_stored)
        if facts.cut:
            message = "lacks its end marker; all of its pixels are there"
            yield Finding("picture-end", message, name, entry.file_name, entry.id)
        if facts.mode != "RGB":
            modes[facts.mode].append(entry.file_name)
        if facts.frames > 1:
            animated.append(entry.file_name)
        if facts.turn != 1 and (facts.turn not in SIDEWAYS or entry.size is None or entry.width == entry.height):
            turned.append(entry.file_name)
    for mode, names in sorted(modes.items()):
        yield Finding("colour-mode", f"{some_pictures(names)}: mode {mode}, converted to RGB", name)
    if animated:
        yield Finding("animated", f"{some_pictures(animated)}: animated; the first frame is taken", name)
    if turned:
        yield Finding("exif-orientation", f"{some_pictures(turned)}: turned or mirrored by an EXIF tag", name)


def _undecodable(entry: ImageEntry, split: str, facts: PictureFacts) -> Finding:
    assert facts.error is not None, "called only with an error"
    code = "picture-broken" if facts.readable else "picture-unreadable"
    if isinstance(facts.error, PointerFile):
        code = "picture-pointer"
    elif isinstance(facts.error, UnsupportedPicture):
        code = "picture-unsupported"
    if isinstance(facts.error, PictureTooLarge):
        code = "picture-too-large"
    return Finding(code, facts.error.message.rstrip("."), split, entry.file_name, entry.id, position=entry.position)


def _size(entry: ImageEntry, split: str, facts: PictureFacts, drawn_as_stored: bool) -> Iterator[Finding]:
    stated = (entry.width, entry.height)
    if drawn_as_stored:
        message = (
            f"is {facts.size[0]} x {facts.size[1]} pixels upright, turned by its EXIF tag; the boxes fit it as stored"
        )
        yield Finding("picture-rotated", message, split, entry.file_name, entry.id, position=entry.position)
        return
    if all(side in (own, None) for side, own in zip(stated, facts.size, strict=True)):
        return
    upright = f"is {facts.size[0]} x {facts.size[1]} pixels upright"
    shown = " x ".join("?" if side is None else str(side) for side in stated)
    code, message = "picture-size", f"{upright}, the JSON says {shown}"
    if facts.turn in SIDEWAYS and stated == facts.stored:
        code, message = "picture-rotated", f"{upright}, turned by its EXIF tag; the JSON gives the stored size, {shown}"
    yield Finding(code, message, split, entry.file_name, entry.id, position=entry.position)


@dataclass(frozen=True, slots=True)
class ListedPicture:
    """A picture of a split that could be decoded."""

    split: str
    name: str
    facts: PictureFacts


def check_likeness(folder: FolderContents) -> Iterator[Finding]:
    """See ``compare_pictures``."""
    pictures = [
        ListedPicture(name, file, facts)
        for name, split in folder.splits.items()
        for file, facts in split.facts.items()
        if facts.digest is not None and facts.error is None
    ]
    yield from compare_pictures(pictures)
    yield from _differently_annotated(folder, pictures)
    yield from _copied(folder)


def _differently_annotated(folder: FolderContents, pictures: list[ListedPicture]) -> Iterator[Finding]:
    """The same file with different boxes, in one split or several."""
    boxes: dict[tuple[str, str], set[tuple[int, Box]]] = defaultdict(set)
    for name, document in folder.documents.items():
        files = {entry.id: entry.file_name for entry in document.images}
        for one in document.annotations:
            if one.image_id in files:
                boxes[name, files[one.image_id]].add((one.category_id, one.box))
    for group in _groups((picture.facts.digest, picture) for picture in pictures):
        first, *others = group
        differing = [one for one in others if boxes[one.split, one.name] != boxes[first.split, first.name]]
        if differing:
            message = f"is the same file as {differing[0].name!r} ({differing[0].split}), with other boxes"
            yield Finding("same-picture-boxes", message, first.split, first.name)


def _copied(folder: FolderContents) -> Iterator[Finding]:
    for name, document in folder.documents.items():
        sources = Counter(
            source for entry in document.images if (source := copied_from(posixpath.basename(entry.file_name)))
        )
        if sources.total() > len(sources):
            message = f"{sources.total()} pictures are copies, from {len(sources)} originals"
            yield Finding("copies", message, name)


def compare_pictures(pictures: list[ListedPicture]) -> Iterator[Finding]:
    """The same file, look-alikes, and copies of one source: inside a split and across splits.

    Look-alikes have difference hashes (D. Krawetz, 2013) at most 10 of 128 bits apart and similar
    greys; a look-alike of a look-alike is in the same group. Of several equal files in a split only
    one is compared. Copies of one source are not reported if all of them are in one of those groups.

    Args:
        pictures: with digests.
    """
    same, alike, copies = related_pictures(pictures)
    yield from (_finding(group, "same-picture", "leak", "is the same file as") for group in same)
    yield from (_finding(group, "similar-pictures", "leak-similar", "looks like") for group in alike)
    reported = [{(picture.split, picture.name) for picture in group} for group in (*same, *alike)]
    for group in copies:
        members = {(picture.split, picture.name) for picture in group}
        if len({split for split, _ in members}) > 1 and not any(members <= larger for larger in reported):
            yield _finding(group, "leak-source", "leak-source", "was made from the same picture as")


def related_pictures(pictures: list[ListedPicture]) -> tuple[list[list[ListedPicture]], ...]:
    """Groups of the same file, of look-alikes, and of copies of one source; see ``compare_pictures``.

    Args:
        pictures: with digests.
    """
    same = _groups((picture.facts.digest, picture) for picture in pictures)
    alike = _look_alikes(_first_of_each(pictures))
    copies = _groups((source, picture) for picture in pictures if (source := copied_from(picture.name)))
    return same, alike, copies


def _groups(keyed: Iterable[tuple[Hashable, ListedPicture]]) -> list[list[ListedPicture]]:
    """Pictures that share a key, in groups of at least two."""
    groups: dict[Hashable, list[ListedPicture]] = defaultdict(list)
    for key, picture in keyed:
        groups[key].append(picture)
    return [group for group in groups.values() if len(group) > 1]


def _first_of_each(pictures: list[ListedPicture]) -> list[ListedPicture]:
    """One picture for each file content and split, so that copies are not reported as look-alikes too."""
    first: dict[tuple[bytes | None, str], ListedPicture] = {}
    for picture in pictures:
        first.setdefault((picture.facts.digest, picture.split), picture)
    return list(first.values())


def _finding(group: list[ListedPicture], inside: str, across: str, relation: str) -> Finding:
    first, others = group[0], group[1:]
    shown = ", ".join(f"{picture.name!r} ({picture.split})" for picture in others[:_MOST_NAMES])
    by_split = Counter(picture.split for picture in group)
    counts = ", ".join(f"{split} {count}" for split, count in by_split.items())
    rest = f" and {len(others) - _MOST_NAMES} more ({counts})" if len(others) > _MOST_NAMES else ""
    code = across if len(by_split) > 1 else inside
    return Finding(code, f"{relation} {shown}{rest}", first.split, first.name)


def _look_alikes(pictures: list[ListedPicture]) -> list[list[ListedPicture]]:
    with_contrast = [picture for picture in pictures if _contrast(picture.facts) >= _LEAST_CONTRAST]
    if not with_contrast:
        return []
    greys = np.array([list(picture.facts.greys or b"") for picture in with_contrast], dtype=np.int16)
    hashes = np.array([dhash.dhash_row_col(row.tolist(), size=_HASH_SIDE) for row in greys], dtype=np.uint64)
    groups = _groups(zip(_labels(hashes, greys), with_contrast, strict=True))
    return [group for group in groups if len({picture.facts.digest for picture in group}) > 1]


def _contrast(facts: PictureFacts) -> int:
    return max(facts.greys) - min(facts.greys) if facts.greys else 0


def _labels(hashes: NDArray[np.uint64], greys: NDArray[np.int16]) -> list[int]:
    """For hashes [n, 2] and greys [n, 81] the group of each, look-alikes of look-alikes included.

    Only pairs that would join two groups are compared closely: a fixed camera gives n * n pairs.
    """
    label = np.arange(len(hashes))
    for index in range(len(hashes)):
        bits = np.bitwise_count(hashes[index] ^ hashes[index + 1 :]).sum(axis=1)
        others = index + 1 + np.flatnonzero(bits <= _MOST_BITS)
        others = others[label[others] != label[index]]
        near = np.abs(greys[others] - greys[index]).mean(axis=1) <= _MOST_GREY_LEVELS
        joined = np.append(label[others[near]], label[index])
        if len(joined) > 1:
            label[np.isin(label, joined)] = joined.min()
    return [int(number) for number in label]
