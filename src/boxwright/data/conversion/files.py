"""Finds and reads the files of a data set; whatever is wrong with one is a DataError that names it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from boxwright.data.documents import stays_inside
from boxwright.runtime import DataError, PictureError
from boxwright.runtime.picture import FORMATS, upright_size

__all__ = [
    "READABLE",
    "decodable",
    "decodes",
    "entry_path",
    "in_folder",
    "is_file",
    "is_folder",
    "measure",
    "pictures_in",
    "read_bytes",
    "read_text",
    "require_size",
]

READABLE = "JPEG, PNG, WebP or BMP"
"""``FORMATS``, as notes and errors say them."""


@cache
def _suffixes() -> dict[str, bool]:
    """Lower-case suffixes of all picture files, and whether boxwright decodes them."""
    return {suffix: name in FORMATS for suffix, name in Image.registered_extensions().items() if name != "PDF"}


def pictures_in(folder: Path, notes: list[str], deep: bool = True) -> list[Path]:
    """Picture files, sorted by path; hidden ones, and those in hidden folders, are none.

    Args:
        folder: to look in.
        notes: gets a sentence about pictures in formats that boxwright does not decode.
        deep: look into sub-folders too.

    Raises:
        DataError: the folder cannot be listed.
    """
    paths = sorted(folder.rglob("*")) if deep else in_folder(folder)
    return decodable([path for path in paths if _is_picture(path, folder)], folder, notes)


def _is_picture(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in _suffixes() and not hidden and is_file(path)


def decodes(path: Path) -> bool:
    """Whether a name is of a format that boxwright decodes; a suffix of no picture format says nothing."""
    return _suffixes().get(path.suffix.lower(), True)


def decodable(paths: Sequence[Path], where: Path, notes: list[str]) -> list[Path]:
    """Those that ``decodes`` lets pass.

    Args:
        paths: of pictures; need not exist.
        where: the folder they lie in or the file that lists them, for the note.
        notes: gets a sentence about those left out.
    """
    other = Counter(path.suffix.lower() for path in paths if not decodes(path))
    if other:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(other.items()))
        notes.append(f"{where}: left out pictures that are not {READABLE}: {kinds}.")
    return [path for path in paths if decodes(path)]


def in_folder(folder: Path) -> list[Path]:
    """What lies in a folder, sorted.

    Raises:
        DataError: it is no folder, or cannot be listed.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}.", "Give a folder.") from error


def is_file(path: Path) -> bool:
    """Whether it is a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether it is a folder; a name that no folder can have is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def entry_path(folder: Path, name: str, who: str) -> Path:
    """The path of a name that stands in an annotation file.

    Raises:
        DataError: the name leads out of ``folder``.
    """
    if not stays_inside(name):
        raise DataError(f"{who}: {name!r} lies outside {folder}.", "Move the picture inside and write its name.")
    return folder / name


def measure(path: Path) -> tuple[int, int]:
    """Width and height in pixels, upright.

    Raises:
        DataError: not a picture that boxwright decodes.
    """
    try:
        return upright_size(path)
    except PictureError as error:
        raise DataError(error.message, "Replace or remove it.") from error


def require_size(path: Path, size: tuple[int, int], said: tuple[object, object], who: str) -> None:
    """Hold a picture to the size that its annotations were drawn on.

    Args:
        path: the picture.
        size: width and height, pixels, upright.
        said: width and height in the annotation file.
        who: the annotation file and entry, for the error.

    Raises:
        DataError: they disagree.
    """
    if said != size:
        raise DataError(
            f"{who}: {path.name!r} is {size[0]} x {size[1]} pixels upright, the file says {said[0]} x {said[1]}.",
            "The boxes were drawn on another version of the picture (EXIF rotation?); export both again.",
        )


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error


def read_text(path: Path) -> str:
    """A file's content, UTF-8 with or without a byte order mark.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}).", "Save it as UTF-8.") from error
