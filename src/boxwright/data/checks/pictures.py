"""Checks of the files: what is listed against what is there."""

from __future__ import annotations

import os
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from boxwright.data.documents import Document, ImageEntry
from boxwright.data.findings import Finding
from boxwright.runtime import PictureTooLarge, UnsupportedPicture
from boxwright.runtime.picture import SIDEWAYS, SUFFIXES

from .scan import PictureFacts

__all__ = ["Listing", "check_listing", "check_pictures", "list_split", "some"]

_MOST_NAMES = 3


@dataclass(frozen=True)
class Listing:
    """What lies in the folders of a split that its pictures lie in; names are relative, with slashes.

    Attributes:
        files: names of files, links to files included.
        folders: names of folders.
        links: names of those that are symbolic links.
    """

    files: frozenset[str]
    folders: frozenset[str]
    links: frozenset[str]

    def holds(self, name: str) -> bool:
        """Whether a picture is there."""
        return posixpath.normpath(name) in self.files


def list_split(document: Document, folder: Path) -> Listing:
    """Look into the split's folder and the sub-folders that its file names point into."""
    entries = [entry for parent in _folders_of(document) for entry in _entries(folder, parent)]
    return Listing(
        frozenset(name for name, entry in entries if entry.is_file()),
        frozenset(name for name, entry in entries if entry.is_dir()),
        frozenset(name for name, entry in entries if entry.is_symlink()),
    )


def _folders_of(document: Document) -> list[str]:
    """Every folder on the way to a picture, the split's own, "", first."""
    folders = {posixpath.dirname(posixpath.normpath(entry.file_name)) for entry in document.images} | {""}
    return sorted({part for folder in folders for part in (folder, *_parents(folder))})


def _parents(name: str) -> Iterator[str]:
    while name:
        name = posixpath.dirname(name)
        yield name


def _entries(folder: Path, parent: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder / parent) as found:
            yield from ((posixpath.join(parent, entry.name), entry) for entry in found)
    except (OSError, ValueError):  # no such folder, or a name longer than the system takes
        return


def check_listing(document: Document, listing: Listing) -> Iterator[Finding]:
    """Ids and names used twice, pictures missing, unlisted or linked, folders without a purpose."""
    split, images = document.split, document.images
    if not document.raw["images"]:
        yield Finding("split-empty", "the split is empty, it lists no pictures", split)
    for number, count in Counter(entry.id for entry in images).items():
        if count > 1:
            yield Finding("picture-id-twice", f"picture id {number} is used twice", split, image_id=number)
    for name, count in Counter(entry.file_name for entry in images).items():
        if count > 1:
            yield Finding("file-name-twice", f"is listed {count} times", split, name)
    for entry in images:
        name = posixpath.normpath(entry.file_name)
        if name not in listing.files:
            yield Finding(
                "picture-missing", f"picture {entry.file_name!r} is missing", split, entry.file_name, entry.id
            )
        if not listing.links.isdisjoint((name, *_parents(name))):
            message = "is a symbolic link, or lies behind one"
            yield Finding("symbolic-link", message, split, entry.file_name, entry.id)
    yield from _unlisted(document, listing)


def _unlisted(document: Document, listing: Listing) -> Iterator[Finding]:
    used = _folders_of(document)
    for name in sorted(listing.folders.difference(used)):
        if not posixpath.basename(name).startswith("."):
            yield Finding("stray-folder", "no file_name points into this folder", document.split, f"{name}/")
    names = (entry.get("file_name") for entry in document.raw["images"])
    listed = {posixpath.normpath(name) for name in names if isinstance(name, str)}
    for name in sorted(listing.files - listed):
        if name.lower().endswith(SUFFIXES):
            yield Finding("picture-unlisted", "is there, but not listed", document.split, name)


def check_pictures(document: Document, facts: Mapping[str, PictureFacts]) -> Iterator[Finding]:
    """Pictures that cannot be decoded, sizes that disagree, and what is good to know about the rest.

    Args:
        document: of the split.
        facts: by file name.
    """
    modes: dict[str, list[str]] = defaultdict(list)
    turned: list[str] = []
    for entry in document.images:
        seen = facts.get(entry.file_name)
        if seen is None:
            continue  # missing, and said so
        if seen.error is not None:
            yield _undecodable(entry, document.split, seen)
            continue
        yield from _size(entry, document.split, seen)
        if seen.mode != "RGB":
            modes[seen.mode].append(entry.file_name)
        if seen.turn != 1 and seen.size == seen.stored:
            turned.append(entry.file_name)
    for mode, names in sorted(modes.items()):
        yield Finding("colour-mode", f"{some(names)}: mode {mode}, converted to RGB", document.split)
    if turned:
        yield Finding("exif-orientation", f"{some(turned)}: turned or mirrored by an EXIF tag", document.split)


def _undecodable(entry: ImageEntry, split: str, seen: PictureFacts) -> Finding:
    code = "picture-broken"
    if isinstance(seen.error, UnsupportedPicture):
        code = "picture-unsupported"
    if isinstance(seen.error, PictureTooLarge):
        code = "picture-too-large"
    assert seen.error is not None, "asked for only with an error"
    return Finding(code, seen.error.message.rstrip("."), split, entry.file_name, entry.id)


def _size(entry: ImageEntry, split: str, seen: PictureFacts) -> Iterator[Finding]:
    if entry.size is None or entry.size == seen.size:
        return
    upright = f"{seen.size[0]} x {seen.size[1]} pixels"
    said = f"{entry.size[0]} x {entry.size[1]}"
    if seen.turn in SIDEWAYS and entry.size == seen.stored:
        message = f"is {upright} upright, as its EXIF tag turns it; the JSON has it as stored, {said}"
        yield Finding("picture-rotated", message, split, entry.file_name, entry.id)
    else:
        yield Finding("picture-size", f"is {upright} upright, the JSON says {said}", split, entry.file_name, entry.id)


def some(names: list[str]) -> str:
    """How many pictures, and the first few of them, for a sentence."""
    count = "1 picture" if len(names) == 1 else f"{len(names)} pictures"
    rest = ", …" if len(names) > _MOST_NAMES else ""
    return f"{count} ({', '.join(repr(name) for name in names[:_MOST_NAMES])}{rest})"
