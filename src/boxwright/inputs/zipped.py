"""Data sets as they are downloaded: a ZIP archive is unpacked once, into the cache, and never beyond it."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from boxwright.host.files import cache_folder, new_folder
from boxwright.host.places import in_command, remember_copy
from boxwright.runtime import ConfigError, DataError

__all__ = ["is_zip", "refuse_packed", "starts_packed", "unzipped"]

_MARGIN = 2**28  # bytes that are left on the disk
_SMALL = 2**27  # bytes up to which a ratio says nothing
_MOST_RATIO = 50  # times its packed size that a data set may be: pictures hardly shrink, annotations do by ten or so
_MOST_MEMBERS = 2_000_000
_CHUNK = 2**20
_ENCRYPTED, _UTF8 = 0x1, 0x800
_HEAD = 512  # bytes, the first block of a tar archive
_TAR = slice(257, 262)
_PACKED = {
    b"PK\x03\x04": ("is a ZIP archive whose end is missing", "Download it again."),
    b"\x1f\x8b": ("is packed by gzip", "Unpack it, as by tar -xzf, and give the folder."),
    b"BZh": ("is packed by bzip2", "Unpack it, as by tar -xjf, and give the folder."),
    b"\xfd7zXZ\0": ("is packed by xz", "Unpack it, as by tar -xJf, and give the folder."),
    b"7z\xbc\xaf\x27\x1c": ("is a 7z archive", "Unpack it, as by 7z x, and give the folder."),
    b"Rar!\x1a\x07": ("is a RAR archive", "Unpack it, as by unrar x, and give the folder."),
}
"""How packed files begin that are not read, what they are, and what to do."""

_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, UnicodeDecodeError, OSError)
"""What reading a damaged member raises; of bzip2 it is an ``OSError``."""

_UNSAFE = set('<>:"|?*') | {chr(code) for code in range(32)}  # not in a file name of some system


def is_zip(path: Path) -> bool:
    """Whether a path is a ZIP archive, whatever it is called."""
    return path.is_file() and zipfile.is_zipfile(path)


def starts_packed(path: Path) -> tuple[str, str] | None:
    """What a file is that is packed, and what to do; None if it is not. Of ZIP archives, those alone that are cut."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            said = _packed(file.read(_HEAD))
            return None if said is None or zipfile.is_zipfile(file) else said  # its end is read of packed files alone
    except OSError:  # said where it is read
        return None


def _packed(head: bytes) -> tuple[str, str] | None:
    """What a file is that begins so, and what to do; None if it is not packed."""
    if head[_TAR] == b"ustar":
        return "is a tar archive", "Unpack it, as by tar -xf, and give the folder."
    return next((said for mark, said in _PACKED.items() if head.startswith(mark)), None)


def refuse_packed(path: Path) -> None:
    """Refuse a packed file that is not read.

    Raises:
        DataError: it is one; what it is, and how to unpack it, is said.
    """
    if (said := starts_packed(path)) is not None:
        what, remedy = said
        raise DataError(f"{path}: {what}; of archives, whole ZIP files are read.", remedy)


def unzipped(path: Path, advance: Callable[[int, int], object] | None = None) -> Path:
    """The folder of the data set in a ZIP archive, unpacked into the cache if it is not there yet.

    Where everything lies in one folder of the archive, it is that folder. The same archive is unpacked once, wherever
    it lies.

    Args:
        path: of the archive.
        advance: called with (bytes unpacked, bytes in all).

    Raises:
        DataError: it cannot be read, is encrypted, or holds what must not be unpacked: names that lead elsewhere,
            links, two files of one name, a file that is a folder, too, or far more bytes than a data set would.
        ConfigError: there is no cache folder, or no room in it.
    """
    cache = cache_folder()
    if cache is None:
        remedy = f"Name one in XDG_CACHE_HOME. Or: {_by_hand(path)}"
        raise ConfigError(f"{path}: there is no home folder to unpack it to.", remedy)
    try:
        with zipfile.ZipFile(path) as archive:
            members = list(_sound(archive, path))
            place = cache / "zips" / _digest(members)[:16] / path.stem
            if not place.is_dir():
                _require_room(members, cache, path)
                _unpack(archive, members, place, advance)
    except UnicodeDecodeError as error:
        remedy = f"Pack it again with another program. {_by_hand(path)}"
        raise DataError(f"{path}: the name of member {error.object!r} is not UTF-8, as it says.", remedy) from error
    except NotImplementedError as error:
        raise DataError(f"{path}: cannot be unpacked here: {error}.", _by_hand(path)) from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: cannot be unpacked: {error}.", "Download it again.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.", "Check the path.") from error
    root = _root(place)
    remember_copy(root, path)
    return root


def _by_hand(path: Path) -> str:
    return f"Unpack it yourself, and give the folder: unzip {in_command(path)} -d FOLDER"


def _sound(archive: zipfile.ZipFile, path: Path) -> Iterator[zipfile.ZipInfo]:
    """The files of an archive; raise for what must not be unpacked, before anything is."""
    infos = archive.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise DataError(f"{path}: lists {len(infos):,} files.", _by_hand(path))
    seen: dict[str, str] = {}
    folders: set[str] = set()
    for info in infos:
        info.filename = _name(info)
        if fault := _fault(info):
            raise DataError(f"{path}: member {info.filename!r} {fault}.", "It is not a data set as Roboflow packs it.")
        if info.is_dir():
            continue
        place = PurePosixPath(info.filename.casefold())
        if str(place) in seen:
            raise DataError(f"{path}: member {info.filename!r} is there twice.", "Names must differ, capitals aside.")
        seen[str(place)] = info.filename
        folders.update(map(str, place.parents))
        yield info
    if both := sorted(seen.keys() & folders):
        remedy = "Pack it again without one of them."
        raise DataError(f"{path}: member {seen[both[0]]!r} is a file and a folder, too.", remedy)
    size, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    if packed > path.stat().st_size:
        raise DataError(f"{path}: its members overlap.", "Download it again.")
    if size > max(_SMALL, _MOST_RATIO * packed):
        raise DataError(f"{path}: {packed:,} bytes would become {size:,}.", f"If you trust it: {_by_hand(path)}")


def _name(info: zipfile.ZipInfo) -> str:
    """A member's name: in UTF-8, as macOS writes it without saying so, where it can be that."""
    if info.flag_bits & _UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _fault(info: zipfile.ZipInfo) -> str | None:
    """Why a member must not be unpacked, or None."""
    name, mode = info.filename, info.external_attr >> 16
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or ".." in parts or _UNSAFE & set(name):
        return "has a name that leads elsewhere, or that not every system can write"
    if any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts):
        return "has a name that is too long"
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    return "is encrypted" if info.flag_bits & _ENCRYPTED else None


def _digest(members: list[zipfile.ZipInfo]) -> str:
    """SHA-256 (hex) of names, sizes and checksums: the same for the same content, however it was packed."""
    lines = sorted(f"{info.CRC:08x} {info.file_size} {info.filename}\n" for info in members)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _require_room(members: list[zipfile.ZipInfo], cache: Path, path: Path) -> None:
    there = next(one for one in (cache, *cache.absolute().parents) if one.exists())
    needed, free = sum(info.file_size for info in members), shutil.disk_usage(there).free
    if needed + _MARGIN > free:
        raise ConfigError(
            f"{path}: unpacked it takes {needed:,} bytes, and the disk of {cache} has {free:,} left.",
            "Make room, or name another folder in XDG_CACHE_HOME.",
        )


def _unpack(
    archive: zipfile.ZipFile,
    members: list[zipfile.ZipInfo],
    place: Path,
    advance: Callable[[int, int], object] | None,
) -> None:
    """Write all files, or none."""
    done, total = 0, sum(info.file_size for info in members)
    with new_folder(place.parent) as folder:
        for info in members:
            target = folder.joinpath(place.name, *PurePosixPath(info.filename).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                for piece in _pieces(archive, info):
                    file.write(piece)
                    done += len(piece)
                    if advance:
                        advance(done, total)


def _pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of a member.

    Raises:
        DataError: it is damaged.
    """
    try:
        with archive.open(info) as packed:
            while piece := packed.read(_CHUNK):
                yield piece
    except _DAMAGE as error:
        problem = f"{archive.filename}: member {info.filename!r} cannot be unpacked: {error}."
        raise DataError(problem, "Download it again.") from error


def _root(place: Path) -> Path:
    """The data set's own folder: the archive's, or the only one in it, as far as that has one that could be it."""
    if any((place / name).is_dir() for name in ("train", "valid", "test")):
        return place
    inside = [one for one in place.iterdir() if (one / "train").is_dir()]
    return inside[0] if len(inside) == 1 else place
