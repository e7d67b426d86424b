"""What the names of files and folders tell, before any file is opened.

To add a meaning (frames of one video, tiles of one picture, the copies of another tool): add a pattern to ``_COPIES``,
or a function beside ``copied_from``. Which file a name in an annotation file means is decided by ``FolderNames`` alone:
the data check, training, the repair and ``convert`` all ask here.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeGuard
from urllib.parse import parse_qs, unquote, urlsplit

from boxwright.runtime.picture import SUFFIXES

__all__ = [
    "FolderNames",
    "Found",
    "NamesAsWritten",
    "copied_from",
    "is_file_name",
    "is_hidden",
    "is_other_picture_name",
    "is_picture_name",
    "names_a_picture",
    "names_hidden",
    "split_of",
    "stays_inside",
    "without_hash",
]

_SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development", "eval", "evaluation"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_COPIES = (re.compile(r"(?P<source>.+)\.rf\.[0-9A-Za-z_-]+\.[^.]+"),)  # Roboflow: NAME.rf.HASH.jpg


_NO_PICTURES = ("PDF", "EPS", "MPEG", "PS", "GRIB", "HDF5", "BUFR", "FITS")
_OTHER_PICTURES = re.compile(r"\.(heic|heif|hif|avif|jxl|jp2|mpo|dng|cr2|cr3|nef|arw|orf|rw2|raf|svg)")
_JPEGS = (".jpg", ".jpeg", ".jpe", ".jfif")
_HASH = re.compile(r"^[0-9a-f]{8}[-_]+(?=.)")  # Label Studio puts it before the name of an uploaded picture
_OF_SYSTEMS = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")


def copied_from(file_name: str) -> str | None:
    """Name of the source picture that a tool made this copy of (Roboflow: ``NAME.rf.HASH.jpg``), or None."""
    return next((match["source"] for pattern in _COPIES if (match := pattern.fullmatch(file_name))), None)


def split_of(name: str) -> str | None:
    """The split (``train``, ``valid``, ``test``) that others call ``val`` or ``Train``; None if it is not a split."""
    return _SPLIT_OF.get(name.casefold())


def stays_inside(name: str) -> bool:
    """Whether a file name stays below its folder on any system, judged by its text alone."""
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    return not (windows.drive or windows.root or posix.is_absolute() or ".." in windows.parts or ".." in posix.parts)


def is_hidden(name: str) -> bool:
    """Whether a relative path is, or lies in, what systems keep for themselves: ``._a.jpg``, ``__MACOSX/``."""
    return any(part.startswith(".") or part.casefold() in _OF_SYSTEMS for part in PurePosixPath(name).parts)


def names_hidden(written: str) -> bool:
    """Whether the file that a written name means, in whatever spelling, is a hidden one."""
    parts = _parts(written)
    return bool(parts) and is_hidden(parts[-1])


def is_picture_name(name: str) -> bool:
    """Whether its suffix is that of a format that is read."""
    return name.lower().endswith(SUFFIXES)


def names_a_picture(name: str) -> bool:
    """Whether its suffix is that of a picture, in a format that is read or in another."""
    return is_picture_name(name) or is_other_picture_name(name)


def is_other_picture_name(name: str) -> bool:
    """Whether its suffix is that of a picture in another format, as HEIC, RAW or GIF."""
    suffix = PurePosixPath(name).suffix.lower()
    return not is_picture_name(name) and (bool(_OTHER_PICTURES.fullmatch(suffix)) or suffix in _pillow_suffixes())


@cache
def _pillow_suffixes() -> frozenset[str]:
    from PIL import Image

    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind not in _NO_PICTURES)


def without_hash(stem: str) -> str:
    """A file's name without the hash that Label Studio puts before it, if there is one."""
    return _HASH.sub("", stem, count=1)


def is_file_name(name: object) -> TypeGuard[str]:
    """Whether a value from an annotation file can be the name of a file on this system."""
    if not isinstance(name, str) or "\0" in name:
        return False
    try:
        return bool(os.fsencode(name.strip()))
    except UnicodeEncodeError:  # half a surrogate pair
        return False


@dataclass(frozen=True, slots=True)
class Found:
    """Which file of a folder a written name means.

    Attributes:
        name: of the file, relative to the folder, with slashes; None if there is none, or several fit.
        guessed: whether the file is not the one at exactly that path.
        candidates: the files that fit equally well, if these are several.
        outside: whether the name leads out of the folder, and no file in it fits.
    """

    name: str | None
    guessed: bool = False
    candidates: tuple[str, ...] = ()
    outside: bool = False


class FolderNames:
    """The files of one folder, and which of them the names in an annotation file mean.

    Annotation files come from other systems. A name that is not there as it is written means the file that shares
    most of the path's end with it, whatever the spelling: backslashes, percent-encoding, Unicode normal form, letter
    case; folders may be missing or come on top, as in an absolute path of another machine. If there is none, it means
    the picture of that name in another format or behind Label Studio's hash, see ``_nearly``.

    Args:
        folder: where the names start; hidden files and folders in it are found only by their exact names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listed: dict[str, frozenset[str]] = {}

    def resolve(self, written: Iterable[str]) -> Mapping[str, Found]:
        """What each name means.

        A file belongs to the name that is exactly its own. Several different names that could only mean one same
        file, or a file that has its own entry, mean nothing.

        Args:
            written: names as in the annotation file, each a ``is_file_name``.
        """
        names = list(dict.fromkeys(written))
        found = {name: self.find(name) for name in names}
        owners: dict[str, list[str]] = defaultdict(list)
        for name, one in found.items():
            if one.name is not None and one.guessed:
                owners[one.name].append(name)
        exact = {one.name for one in found.values() if one.name is not None and not one.guessed}
        for file, claims in owners.items():
            paths = {_path_spelled(name) for name in claims} | ({_path_spelled(file)} if file in exact else set())
            if len(paths) > 1:
                found |= {name: Found(None, outside=not stays_inside(name)) for name in claims}
        return found

    def find(self, written: str) -> Found:
        """What one name means, whatever other names there are."""
        inside = stays_inside(written)
        name = posixpath.normpath(written)
        if inside and self.holds(name):
            return Found(name)
        own = None if inside else self._own(written)
        if own is not None:
            return Found(own, guessed=True)
        if not inside and _exists(self.folder / written):
            return Found(None, outside=True)  # a real file elsewhere: not the one of this name here
        parts = _parts(written)
        candidates = _nearest(self._by_base, parts) or self._nearly(parts)
        if len(candidates) == 1:
            return Found(candidates[0], guessed=True)
        return Found(None, candidates=tuple(candidates), outside=not inside and not candidates)

    def find_folder(self, written: str) -> Found:
        """Which folder with pictures in it a path means that is not there as it is written.

        Part of a path is worth less here than with files: ``valid/images`` is not ``train/images``, nor ``images``.
        So one path must be the end of the other, or both must end in two equal parts or in the name of a split.
        """
        parts = _parts(written)
        shared = [(_shared(own, parts), len(own), folder) for own, folder in self._folders.items()]
        fitting = [entry for entry in shared if _is_same_folder(parts, *entry[:2])]
        most = max((count for count, _, _ in fitting), default=0)
        best = [(length == count, folder) for count, length, folder in fitting if count == most]
        candidates = [folder for whole, folder in best if whole] or [folder for _, folder in best]
        if len(candidates) == 1:
            return Found(candidates[0], guessed=True)
        return Found(None, candidates=tuple(sorted(candidates)))

    @cached_property
    def _folders(self) -> Mapping[tuple[str, ...], str]:
        """Folders that hold pictures, at any depth."""
        pictures = (name for name in self.files if names_a_picture(name))
        folders = {parent.as_posix() for name in pictures for parent in PurePosixPath(name).parents}
        return {tuple(_spelled(folder).split("/")): folder for folder in sorted(folders - {"."})}

    def holds(self, name: str) -> bool:
        """Whether there is a file at exactly this relative path."""
        parent, base = posixpath.split(name)
        if parent not in self._listed:
            self._listed[parent] = frozenset(name for name, entry in _scan(self.folder / parent) if _is_file(entry))
        return base in self._listed[parent]

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Every file below the folder, relative with slashes, sorted; without hidden ones; links are not followed."""
        return tuple(sorted(_walk(self.folder, "")))

    @cached_property
    def _by_base(self) -> Mapping[str, list[tuple[tuple[str, ...], str]]]:
        by_base: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
        for file in self.files:
            parts = tuple(_spelled(file).split("/"))
            by_base[parts[-1]].append((parts, file))
        return by_base

    def _own(self, written: str) -> str | None:
        """The relative name of an absolute path into this very folder."""
        with suppress(OSError, ValueError):
            path = Path(os.path.abspath(self.folder / written))  # noqa: PTH100  # resolve() would follow links
            name = path.relative_to(os.path.abspath(self.folder)).as_posix()  # noqa: PTH100
            return name if self.holds(name) else None
        return None

    def _nearly(self, parts: tuple[str, ...]) -> list[str]:
        """The pictures whose names differ from the written one in their suffix, or in Label Studio's hash.

        A picture in another format is taken only if none here is in the written one: else ``a.jpg`` is missing, and
        ``a.png`` may be its mask.
        """
        if not parts or not _may_be_picture(parts[-1]):
            return []
        stem, suffix = _stem_and_suffix(parts[-1])
        stems = ((stem, self._by_stem), (without_hash(stem), self._by_stem), (stem, self._by_hashed_stem))
        found = (_nearest(by_stem, (*parts[:-1], one)) for one, by_stem in stems)
        nearest = next((files for files in found if files), [])
        return [file for file in nearest if self._is_converted(suffix, _stem_and_suffix(file.lower())[1])]

    def _is_converted(self, written: str, own: str) -> bool:
        """Whether a picture with its own suffix may be what a name with the written one means."""
        same = written in ("", own) or {written, own} <= set(_JPEGS)
        return same or written not in self._suffixes

    @cached_property
    def _suffixes(self) -> frozenset[str]:
        return frozenset(_stem_and_suffix(file.lower())[1] for file in self.files)

    @cached_property
    def _by_stem(self) -> Mapping[str, list[tuple[tuple[str, ...], str]]]:
        """Pictures by their names without suffix."""
        by_stem: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
        for files in self._by_base.values():
            for parts, file in files:
                if names_a_picture(file):
                    stem = _stem_and_suffix(parts[-1])[0]
                    by_stem[stem].append(((*parts[:-1], stem), file))
        return by_stem

    @cached_property
    def _by_hashed_stem(self) -> Mapping[str, list[tuple[tuple[str, ...], str]]]:
        """Pictures that have a hash before their names, by the names without it and without suffix."""
        by_stem: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
        for stem, files in self._by_stem.items():
            plain = without_hash(stem)
            if plain != stem:
                by_stem[plain] += [((*parts[:-1], plain), file) for parts, file in files]
        return by_stem


class NamesAsWritten:
    """In place of ``FolderNames`` where the pictures need not be there: no file is looked for."""

    def resolve(self, written: Iterable[str]) -> Mapping[str, Found]:
        """Nothing is found, and nothing is wrong with that."""
        return {name: Found(None) for name in written}


def _slashed(written: str) -> str:
    return written.replace("\\", "/")


def _spelled(name: str) -> str:
    """The same for every spelling of a name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", unquote(name)).casefold())


def _path_spelled(written: str) -> str:
    return posixpath.normpath(_slashed(_spelled(_slashed(written))))


def _parts(written: str) -> tuple[str, ...]:
    """The path's parts, spelled alike, from behind its last way up."""
    if "?" in written or "://" in written:  # http://host/a.jpg?key=…; Label Studio's /data/local-files/?d=a.jpg
        with suppress(ValueError):
            address = urlsplit(written)
            written = parse_qs(address.query).get("d", [address.path])[0]
    path = posixpath.normpath(_slashed(_spelled(_slashed(written.strip()))))
    parts = PurePosixPath(path.removeprefix(PureWindowsPath(path).drive.replace("\\", "/"))).parts
    ups = max((position for position, part in enumerate(parts) if part == ".."), default=-1)
    return tuple(part for part in parts[ups + 1 :] if part != "/")


def _may_be_picture(base: str) -> bool:
    """Whether a name is that of a picture, by its suffix or for want of one."""
    return names_a_picture(base) or "." not in base


def _stem_and_suffix(name: str) -> tuple[str, str]:
    """A picture's name, and its suffix in lower case; the suffix is empty where the name has none of a picture's."""
    stem, suffix = posixpath.splitext(name)
    return (stem, suffix.lower()) if names_a_picture(name) else (name, "")


def _nearest(by_base: Mapping[str, list[tuple[tuple[str, ...], str]]], parts: tuple[str, ...]) -> list[str]:
    """The files that share most of the path's end; those alone whose whole path is in it, if there are any."""
    if not parts:
        return []
    shared = [(_shared(own, parts), len(own), file) for own, file in by_base.get(parts[-1], ())]
    most = max((count for count, _, _ in shared), default=0)
    best = [(length == count, file) for count, length, file in shared if count == most]
    return [file for whole, file in best if whole] or [file for _, file in best]


def _shared(own: tuple[str, ...], written: tuple[str, ...]) -> int:
    """How many parts at the end of two paths are equal."""
    pairs = enumerate(zip(reversed(own), reversed(written), strict=False))
    return next((count for count, (one, other) in pairs if one != other), min(len(own), len(written)))


def _is_same_folder(written: tuple[str, ...], shared: int, own: int) -> bool:
    """Whether a folder of ``own`` parts, ``shared`` of which are the end of the written path, may be what it means."""
    rest = written[: len(written) - shared]
    if not shared or (rest and split_of(rest[-1])):
        return False
    return shared >= 2 or shared in (own, len(written)) or split_of(written[-1]) is not None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _scan(folder: Path) -> list[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, entry) for entry in entries]
    except (OSError, ValueError):  # no such folder, or a name that the system does not allow
        return []


def _is_file(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link to itself
        return entry.is_file()
    return False


def _walk(folder: Path, parent: str) -> Iterator[str]:
    for name, entry in _scan(folder / parent):
        if is_hidden(name):
            continue
        if _is_file(entry):
            yield posixpath.join(parent, name)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(folder, posixpath.join(parent, name))
