"""Finds and reads the files of a data set; every problem is a DataError that names the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from boxwright.data.file_names import is_hidden, is_other_picture_name, names_a_picture, split_of, stays_inside
from boxwright.data.text import text_of
from boxwright.host.places import in_command
from boxwright.runtime import DataError, PictureError
from boxwright.runtime.picture import FORMATS, LARGEST_PIXELS, upright_size

__all__ = [
    "READABLE",
    "decodable",
    "decodes",
    "entry_path",
    "files_below",
    "guess_note",
    "in_folder",
    "is_file",
    "is_folder",
    "measure",
    "packed",
    "pictures_in",
    "read_bytes",
    "read_text",
    "unzip_command",
]

READABLE = "JPEG, PNG, WebP or BMP"
"""``FORMATS``, as notes and errors write them."""


_ARCHIVE = b"PK\x03\x04"
_JPEG_SERIES = ".mpo"  # begins with a JPEG picture, which is read as any other
_JPEG = b"\xff\xd8\xff"
_BRAND = slice(8, 12)  # of an ISO media file, behind "ftyp"
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "CR3"}
_STARTS = {
    b"GIF8": "GIF",
    b"II*\0": "TIFF or RAW",
    b"MM\0*": "TIFF or RAW",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
}
"""How pictures in other formats begin, which phones and tools also save under the names of JPEG files."""


@cache
def _read_suffixes() -> frozenset[str]:
    """Lower-case suffixes of the formats that are read, the rare ones (``.jfif``) included."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


def packed(folder: Path) -> list[Path]:
    """ZIP archives in a folder and below."""
    return [path for path in files_below(folder) if path.suffix.lower() == ".zip"]


def unzip_command(archive: Path) -> str:
    """What unpacks an archive: ``train.zip`` into ``train``, ``images.zip`` beside it."""
    target = archive.with_suffix("") if split_of(archive.stem) else archive.parent
    return f"unzip {in_command(archive)} -d {in_command(target)}"


def files_below(folder: Path, deep: bool = True) -> list[Path]:
    """Files in a folder, sorted by path, without hidden ones and what lies in hidden folders.

    Args:
        folder: to look in.
        deep: also look into sub-folders.

    Raises:
        DataError: the folder cannot be listed.
    """
    paths = sorted(folder.rglob("*")) if deep else in_folder(folder)
    return [path for path in paths if not is_hidden(path.relative_to(folder).as_posix()) and is_file(path)]


def pictures_in(folder: Path, notes: list[str], deep: bool = True) -> list[Path]:
    """Picture files, sorted by path, without hidden files and folders.

    Args:
        folder: to look in.
        notes: gets a sentence about pictures in formats that boxwright does not decode.
        deep: also look into sub-folders.

    Raises:
        DataError: the folder cannot be listed.
    """
    return decodable([path for path in files_below(folder, deep) if names_a_picture(path.name)], folder, notes)


def decodes(path: Path) -> bool:
    """Whether boxwright decodes the format that the suffix stands for; True for a suffix of no picture format."""
    suffix = path.suffix.lower()
    return suffix == _JPEG_SERIES or suffix in _read_suffixes() or not is_other_picture_name(path.name)


def decodable(paths: Sequence[Path], where: Path, notes: list[str]) -> list[Path]:
    """The paths whose suffix, and whose content where there is a file, are not those of another format.

    Args:
        paths: of pictures; need not exist.
        where: their folder or the file that lists them, for the note.
        notes: gets a sentence about the pictures left out.
    """
    kinds = [(path, _other_kind(path)) for path in paths]
    left_out = [(path, kind) for path, kind in kinds if kind is not None]
    if left_out:
        counts = Counter(kind for _, kind in left_out)
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        notes.append(
            f"{where}: left out pictures that are not {READABLE}: {listed}; the first is {left_out[0][0].name!r}. "
            "Save them as JPEG to keep them and their labels."
        )
    return [path for path, kind in kinds if kind is None]


def _other_kind(path: Path) -> str | None:
    """The suffix of a picture in another format, also what it is if its suffix hides that; None if it may be read."""
    suffix = path.suffix.lower()
    if not decodes(path):
        return suffix
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except (OSError, ValueError):  # said where it is read
        return None
    if suffix == _JPEG_SERIES and not start.startswith(_JPEG):
        return suffix
    kind = next((name for mark, name in _STARTS.items() if start.startswith(mark)), None)
    if kind is None and start[4:8] == b"ftyp":
        kind = _BRANDS.get(start[_BRAND], "HEIC")
    return f"{suffix} that is {kind}" if kind else None


def guess_note(what: str, guesses: Sequence[tuple[str, str]]) -> list[str]:
    """One sentence about names that are not there as they are written, with the first as the example; none without any.

    Args:
        what: the file or folder that has the names, and what they name.
        guesses: each name as written, and as it was read.
    """
    if not guesses:
        return []
    written, read = guesses[0]
    return [f"{what} not there as written: {len(guesses)}; the first, {written!r}, was read as {read!r}."]


def in_folder(folder: Path) -> list[Path]:
    """Files and folders in a folder, sorted.

    Raises:
        DataError: not a folder, or it cannot be listed.
    """
    try:
        return sorted(folder.iterdir())
    except NotADirectoryError as error:
        if read_bytes(folder).startswith(_ARCHIVE):
            raise DataError(f"{folder}: this is a ZIP archive; unzip it.", "Give the unzipped folder.") from error
        raise DataError(f"{folder}: cannot be listed: {error.strerror}.", "Give a folder.") from error
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
        return upright_size(path, LARGEST_PIXELS)
    except PictureError as error:
        raise DataError(error.message, "Replace or remove it.") from error


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.", "Make it readable.") from error


def read_text(path: Path, may_be_empty: bool = False) -> str:
    """A file's content, UTF-8 with or without a byte order mark.

    Args:
        path: of the file.
        may_be_empty: whether a file without anything in it is sound.

    Raises:
        DataError: it cannot be read, is empty, or is not UTF-8; what it is instead is said.
    """
    content = read_bytes(path)
    if may_be_empty and not content.strip():
        return ""
    try:
        return text_of(content)
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from error
