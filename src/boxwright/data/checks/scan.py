"""Looks at the files of a data folder: which exist, and what each picture holds. Pictures are opened in parallel."""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from boxwright.data.documents import Document, ImageEntry, fits
from boxwright.runtime import ClassEntry, DataError, PictureError, decode
from boxwright.runtime.picture import (
    LARGEST_PIXELS,
    SIDEWAYS,
    as_grey,
    lacks_only_its_end,
    open_picture,
    open_picture_file,
    orientation,
    read_picture,
    require_few_parts,
)

__all__ = [
    "GREYS_SIDE",
    "FolderContents",
    "Listing",
    "PictureFacts",
    "SplitContents",
    "boxes_size",
    "is_size_certain",
    "list_split",
    "parents",
    "picture_folders",
    "scan_pictures",
]

GREYS_SIDE = 9  # a difference hash of 8 x 8 needs one more
_REDUCTION = 8  # libjpeg's smallest scale
_CHUNK = 16

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What opening one picture gave.

    Attributes:
        stored: (width, height) in pixels, before any EXIF turn; (0, 0) if it cannot be opened.
        turn: EXIF orientation, 1..8.
        mode: Pillow's, with ``+transparency`` if a palette or key colour is transparent.
        frames: how many it has, if it is animated; the first is taken.
        digest: SHA-256 of the file; None if only the header was read.
        greys: 81 bytes, the picture as 9 x 9 greys; None if only the header was read.
        cut: whether it is a JPEG that lacks its end marker, and nothing else.
        error: why it cannot be decoded.
        readable: whether the file could be read at all.
    """

    stored: tuple[int, int] = (0, 0)
    turn: int = 1
    mode: str = ""
    frames: int = 1
    digest: bytes | None = None
    greys: bytes | None = None
    cut: bool = False
    error: PictureError | None = None
    readable: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, upright."""
        return (self.stored[1], self.stored[0]) if self.turn in SIDEWAYS else self.stored


@dataclass(frozen=True)
class Listing:
    """What is in the folders of a split that hold its pictures; names are relative, with slashes.

    Attributes:
        files: names of files, links to files included.
        folders: names of folders.
        links: names of the symbolic links among them.
    """

    files: frozenset[str]
    folders: frozenset[str]
    links: frozenset[str]


@dataclass(frozen=True, eq=False)
class SplitContents:
    """All that a check of one split may look at.

    Attributes:
        document: its annotation file.
        listing: its files and folders.
        facts: of every listed picture that exists, by file name.
    """

    document: Document
    listing: Listing
    facts: Mapping[str, PictureFacts]

    @cached_property
    def sizes(self) -> dict[int, tuple[int, int]]:
        """(width, height) by picture id that boxes are judged by; pictures of unknown size are left out."""
        sized = ((entry.id, boxes_size(entry, self.facts.get(entry.file_name))) for entry in self.document.images)
        sizes = {number: size for number, size in sized if size is not None}
        return sizes | {number: size[::-1] for number, size in sizes.items() if number in self.drawn_as_stored}

    @cached_property
    def drawn_as_stored(self) -> frozenset[int]:
        """Ids of pictures without a size in the JSON that an EXIF tag turns, if their boxes fit only the stored ones.

        All such pictures of the split are judged together: each box fits its picture as stored, and one at least does
        not fit it upright.
        """
        turned = {
            entry.id: facts
            for entry in self.document.images
            if entry.size is None and (facts := self.facts.get(entry.file_name)) and facts.turn in SIDEWAYS
        }
        rows = [(one.box, turned[one.image_id]) for one in self.document.annotations if one.image_id in turned]
        stored = all(fits(box, facts.stored) for box, facts in rows)
        upright = all(fits(box, facts.size) for box, facts in rows)
        return frozenset(turned) if stored and not upright else frozenset()


def boxes_size(entry: ImageEntry, facts: PictureFacts | None) -> tuple[int, int] | None:
    """(width, height) of the picture that the boxes lie on; None if it is not known.

    It is the picture's own, upright, whatever the JSON says; as stored, if an EXIF tag turns the picture on its side
    and the JSON gives the stored size, for then the boxes were drawn on that. Without a picture it is the JSON's.
    """
    if facts is None or facts.error is not None:
        return entry.size
    return facts.stored if facts.turn in SIDEWAYS and entry.size == facts.stored else facts.size


def is_size_certain(entry: ImageEntry, facts: PictureFacts | None) -> bool:
    """Whether picture and JSON agree on what ``boxes_size`` says."""
    if facts is None or facts.error is not None:
        return False
    if entry.size is None:
        sides = zip((entry.width, entry.height), facts.size, strict=True)
        return facts.turn not in SIDEWAYS and all(side in (own, None) for side, own in sides)
    return entry.size == boxes_size(entry, facts)


@dataclass(frozen=True, eq=False)
class FolderContents:
    """All that a check between splits may look at.

    Attributes:
        splits: by name, those whose annotation file could be read.
        classes: the class contract by class index.
    """

    splits: Mapping[str, SplitContents]
    classes: tuple[ClassEntry, ...]

    @property
    def documents(self) -> dict[str, Document]:
        """Annotation files by split."""
        return {name: split.document for name, split in self.splits.items()}


def list_split(document: Document, folder: Path) -> Listing:
    """List the split's folder and the sub-folders that its file names point into.

    Raises:
        DataError: a folder cannot be listed; all its pictures would seem to be missing.
    """
    files: set[str] = set()
    folders: set[str] = set()
    links: set[str] = set()
    for name, entry in (pair for parent in picture_folders(document) for pair in _entries(folder, parent)):
        if entry.is_symlink():
            links.add(name)
        with suppress(OSError):  # a link to itself
            if entry.is_file():
                files.add(name)
            elif entry.is_dir():
                folders.add(name)
    return Listing(frozenset(files), frozenset(folders), frozenset(links))


def picture_folders(document: Document) -> list[str]:
    """Every folder on the way to a picture, beginning with the split's own, ""."""
    folders = {posixpath.dirname(entry.file_name) for entry in document.images} | {""}
    return sorted({part for folder in folders for part in (folder, *parents(folder))})


def parents(name: str) -> Iterator[str]:
    """The folders that a relative name lies in, from the inside; the last is ""."""
    while name not in ("", "/"):
        name = posixpath.dirname(name)
        yield name


def _entries(folder: Path, parent: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder / parent) as entries:
            yield from ((posixpath.join(parent, entry.name), entry) for entry in entries)
    except PermissionError as error:
        raise DataError(f"{folder / parent}: cannot be listed: {error.strerror}.", "Make it readable.") from error
    except OSError:  # no such folder, or a name longer than the system allows
        return


def scan_pictures(
    paths: Sequence[str],
    *,
    pixels: bool,
    max_pixels: int = LARGEST_PIXELS,
    workers: int | None = None,
    advance: Progress | None = None,
) -> list[PictureFacts]:
    """Open every picture once, in order.

    Threads, not processes: Pillow decodes and hashlib hashes without holding the interpreter's lock.

    Args:
        paths: existing files.
        pixels: decode them, else read only their headers.
        max_pixels: largest accepted width x height.
        workers: threads; one per processor by default.
        advance: called with (pictures done, pictures in all).
    """
    # passing single pictures costs a tenth of a small picture's decoding
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    facts: list[PictureFacts] = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for chunk in pool.map(lambda part: [_open(path, pixels, max_pixels) for path in part], chunks):
            facts += chunk
            if advance:
                advance(len(facts), len(paths))
    return facts


def _open(path: str, pixels: bool, max_pixels: int) -> PictureFacts:
    try:
        with open_picture_file(path) as file:
            return (_decoded if pixels else _header)(file, path, max_pixels)
    except PictureError as error:
        return PictureFacts(error=error)
    except OSError as error:
        reason = PictureError(f"Picture {path!r} cannot be read: {error.strerror}.")
        return PictureFacts(error=reason, readable=False)


def _header(file: BinaryIO, path: str, max_pixels: int) -> PictureFacts:
    image = open_picture(file, repr(path), max_pixels)
    return PictureFacts(image.size, orientation(image), _mode(image), frames=_frames(image))


def _decoded(file: BinaryIO, path: str, max_pixels: int) -> PictureFacts:
    encoded = read_picture(file, repr(path))
    if not encoded:
        raise PictureError(f"Picture {path!r} is empty.")
    require_few_parts(encoded, repr(path))
    digest = hashlib.sha256(encoded).digest()
    image = open_picture(io.BytesIO(encoded), repr(path), max_pixels)
    stored, turn, mode, frames = image.size, orientation(image), _mode(image), _frames(image)
    # a JPEG at an eighth of its size: all of its data is read, and a missing end is noticed, as at full size
    image.draft("L", (stored[0] // _REDUCTION, stored[1] // _REDUCTION))
    cut = False
    try:
        greys = _greys(image)
    except Exception:  # Pillow's plugins raise many kinds of errors
        whole = decode(encoded, max_pixels, repr(path))  # the decoder that counts decides, and its message is used
        greys, cut = _greys(whole), lacks_only_its_end(encoded, max_pixels)
    return PictureFacts(stored, turn, mode, frames, digest, greys, cut)


def _greys(image: Image.Image) -> bytes:
    return as_grey(image).resize((GREYS_SIDE, GREYS_SIDE), Image.Resampling.BOX).tobytes()


def _frames(image: Image.Image) -> int:
    """Of an animation; the further pictures in a camera's JPEG are previews and depths, not frames."""
    return int(getattr(image, "n_frames", 1)) if image.format in ("PNG", "WEBP") else 1


def _mode(image: Image.Image) -> str:
    return f"{image.mode}+transparency" if "transparency" in image.info else image.mode
