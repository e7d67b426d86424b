"""Finds and reads the files of a data set; every problem is a DataError that names the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from boxwright.data.file_names import stays_inside
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
"""``FORMATS``, as notes and errors write them."""


@cache
def _suffixes() -> dict[str, bool]:
    """Lower-case suffixes of all picture formats, and whether boxwright decodes them."""
    return {suffix: name in FORMATS for suffix, name in Image.registered_extensions().items() if name != "PDF"}


def pictures_in(folder: Path, notes: list[str], deep: bool = True) -> list[Path]:
    """Picture files, sorted by path, without hidden files and folders.

    Args:
        folder: to look in.
        notes: gets a sentence about pictures in formats that boxwright does not decode.
        deep: also look into sub-folders.

    Raises:
        DataError: the folder cannot be listed.
    """
    paths = sorted(folder.rglob("*")) if deep else in_folder(folder)
    return decodable([path for path in paths if _is_picture(path, folder)], folder, notes)


def _is_picture(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in _suffixes() and not hidden and is_file(path)


def decodes(path: Path) -> bool:
    """Whether boxwright decodes the format that the suffix stands for; True for a suffix of no picture format."""
    return _suffixes().get(path.suffix.lower(), True)


def decodable(paths: Sequence[Path], where: Path, notes: list[str]) -> list[Path]:
    """The paths for which ``decodes`` is True.

    Args:
        paths: of pictures; need not exist.
        where: their folder or the file that lists them, for the note.
        notes: gets a sentence about the pictures left out.
    """
    left_out = Counter(path.suffix.lower() for path in paths if not decodes(path))
    if left_out:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(left_out.items()))
        notes.append(f"{where}: left out pictures that are not {READABLE}: {kinds}.")
    return [path for path in paths if decodes(path)]


def in_folder(folder: Path) -> list[Path]:
    """Files and folders in a folder, sorted.

    Raises:
        DataError: not a folder, or it cannot be listed.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}.", "Give a folder.") from error


def is_file(path: Path) -> bool:
    """Whether it is a file; False for a name that the system does not allow."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether it is a folder; False for a name that the system does not allow."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def entry_path(folder: Path, name: str, where: str) -> Path:
    """The path of a name in an annotation file.

    Raises:
        DataError: the name leads out of ``folder``.
    """
    if not stays_inside(name):
        raise DataError(f"{where}: {name!r} lies outside {folder}.", "Move the picture inside and write its name.")
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


def require_size(path: Path, size: tuple[int, int], stated: tuple[object, object], where: str) -> None:
    """Refuse a picture whose size differs from the size its annotations were drawn on.

    Args:
        path: the picture.
        size: width and height, pixels, upright.
        stated: width and height in the annotation file.
        where: the annotation file and entry, for the error.

    Raises:
        DataError: the sizes differ.
    """
    if stated != size:
        raise DataError(
            f"{where}: {path.name!r} is {size[0]} x {size[1]} pixels upright, the file says {stated[0]} x {stated[1]}.",
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
