"""Checks of the files: what is listed against what is there."""

from __future__ import annotations

import os
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from boxwright.data.documents import Document, ImageEntry
from boxwright.data.findings import Finding
from boxwright.runtime import DataError, PictureTooLarge, UnsupportedPicture
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
        return name in self.files


def list_split(document: Document, folder: Path) -> Listing:
    """Look into the split's folder and the sub-folders that its file names point into.

    Raises:
        DataError: a folder that must not be listed; its pictures would all seem to be missing.
    """
    files: set[str] = set()
    folders: set[str] = set()
    links: set[str] = set()
    for name, entry in (found for parent in _folders_of(document) for found in _entries(folder, parent)):
        if entry.is_symlink():
            links.add(name)
        with suppress(OSError):  # a link that leads to itself
            if entry.is_file():
                files.add(name)
            elif entry.is_dir():
                folders.add(name)
    return Listing(frozenset(files), frozenset(folders), frozenset(links))


def _folders_of(document: Document) -> list[str]:
    """Every folder on the way to a picture, the split's own, "", first."""
    folders = {posixpath.dirname(entry.file_name) for entry in document.images} | {""}
    return sorted({part for folder in folders for part in (folder, *_parents(folder))})


def _parents(name: str) -> Iterator[str]:
    while name:
        name = posixpath.dirname(name)
        yield name


def _entries(folder: Path, parent: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder / parent) as found:
            yield from ((posixpath.join(parent, entry.name), entry) for entry in found)
    except PermissionError as error:
        raise DataError(f"{folder / parent}: cannot be listed: {error.strerror}.", "Make it readable.") from error
    except OSError:  # no such folder, or a name longer than the system takes
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
        name = entry.file_name
        if name not in listing.files:
            message = f"picture {name!r} is missing"
            yield Finding("picture-missing", message, split, name, entry.id, position=entry.position)
        if not listing.links.isdisjoint((name, *_parents(name))):
            yield Finding("symbolic-link", "is a symbolic link, or lies behind one", split, name, entry.id)
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
        if seen.turn != 1 and (seen.turn not in SIDEWAYS or entry.size is None or entry.width == entry.height):
            turned.append(entry.file_name)
    for mode, names in sorted(modes.items()):
        yield Finding("colour-mode", f"{some(names)}: mode {mode}, converted to RGB", document.split)
    if turned:
        yield Finding("exif-orientation", f"{some(turned)}: turned or mirrored by an EXIF tag", document.split)


def _undecodable(entry: ImageEntry, split: str, seen: PictureFacts) -> Finding:
    assert seen.error is not None, "asked for only with an error"
    code = "picture-broken" if seen.readable else "picture-unreadable"
    if isinstance(seen.error, UnsupportedPicture):
        code = "picture-unsupported"
    if isinstance(seen.error, PictureTooLarge):
        code = "picture-too-large"
    return Finding(code, seen.error.message.rstrip("."), split, entry.file_name, entry.id, position=entry.position)


def _size(entry: ImageEntry, split: str, seen: PictureFacts) -> Iterator[Finding]:
    said = (entry.width, entry.height)
    if all(side in (own, None) for side, own in zip(said, seen.size, strict=True)):
        return
    upright = f"is {seen.size[0]} x {seen.size[1]} pixels upright"
    shown = " x ".join("?" if side is None else str(side) for side in said)
    code, message = "picture-size", f"{upright}, the JSON says {shown}"
    if seen.turn in SIDEWAYS and said == seen.stored:
        code, message = "picture-rotated", f"{upright}, as its EXIF tag turns it; the JSON has it as stored, {shown}"
    yield Finding(code, message, split, entry.file_name, entry.id, position=entry.position)


def some(names: list[str]) -> str:
    """How many pictures, and the first few of them, for a sentence."""
    count = "1 picture" if len(names) == 1 else f"{len(names)} pictures"
    rest = ", …" if len(names) > _MOST_NAMES else ""
    return f"{count} ({', '.join(repr(name) for name in names[:_MOST_NAMES])}{rest})"
