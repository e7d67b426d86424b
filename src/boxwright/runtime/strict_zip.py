"""Reads a zip as strictly as it can be read.

Only plain files are accepted, stored or deflated, and every byte of the zip belongs to exactly one of them or to the
directory at its end: nothing hides in a gap, nothing is counted twice, no two readers see different files. What a
header announces is held against what comes out. Zips of more than 2 GiB (zip64) are refused with the rest.
"""

from __future__ import annotations

import io
import stat
import struct
import unicodedata
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Dict, Iterator, List, NoReturn, Optional

from .errors import ArchiveError

__all__ = ["MAX_ARCHIVE_BYTES", "Entry", "StrictZip", "name_fault", "open_zip"]

MAX_ARCHIVE_BYTES = 4 * 1024**3
"""Largest accepted sum of the unpacked sizes that an archive's directory announces."""

_MAX_RATIO = 100
_MAX_MEMBERS = 1000
_MAX_DIRECTORY = 1024**2
_MAX_NAME = 255
_CHUNK = 1024**2

_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s4B4H3L5H2L")
_LOCAL = struct.Struct("<4s2B4H3L2H")
_STORED, _DEFLATED = 0, 8
_UTF8 = 0x0800
_PLAIN_FLAGS = _UTF8 | 0x0006  # 6: how hard deflate tried
_RENAMING = 0x7075  # an extra field that gives the member another name
_ZIP64 = 0x0001
_DOS_FOLDER_OR_LABEL = 0x18


@dataclass(frozen=True)
class Entry:
    """One member, as the directory announces it.

    Attributes:
        name: a relative path with ``/``, safe to use.
        size: unpacked, bytes.
        packed: bytes it takes in the zip.
        method: 0 stored, 8 deflated.
        crc: CRC-32 of the unpacked bytes.
        offset: of its header in the zip, bytes.
    """

    name: str
    size: int
    packed: int
    method: int
    crc: int
    offset: int


@contextmanager
def open_zip(path: Path) -> Iterator[StrictZip]:
    """Open a zip and check its directory.

    Raises:
        ArchiveError: it cannot be opened, is not a zip, or not a plain one.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror}.", "Make it readable.") from error
    with file:
        yield StrictZip(file, str(path))


class StrictZip:
    """A zip whose directory has been checked.

    Args:
        file: the zip, seekable.
        source: its name, for errors.

    Attributes:
        entries: members by name.

    Raises:
        ArchiveError: not a zip, truncated, or not a plain one.
    """

    def __init__(self, file: BinaryIO, source: str) -> None:
        self._file = file
        self._source = source
        listed = self._directory()
        self.entries: Dict[str, Entry] = {entry.name: entry for entry in listed}
        self._refuse_likenesses(listed)
        self._refuse_bombs(listed)
        self._starts = self._data_starts(listed)

    def read(self, name: str, limit: Optional[int] = None) -> bytes:
        """All bytes of a member.

        Args:
            name: one of ``entries``.
            limit: most bytes accepted.

        Raises:
            ArchiveError: see ``chunks``; or it is larger than that.
        """
        if limit is not None and self.entries[name].size > limit:
            self._refuse(f"member {name!r} is larger than {limit:,} bytes")
        content = io.BytesIO()  # unlike a list of pieces it needs no second copy in the end
        for piece in self.chunks(name):
            content.write(piece)
        return content.getvalue()

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a member, at most a MiB at a time.

        Args:
            name: one of ``entries``.

        Raises:
            ArchiveError: it cannot be unpacked, or is not what the directory announces.
        """
        entry = self.entries[name]
        total, crc = 0, 0
        for piece in self._stored(entry) if entry.method == _STORED else self._inflated(entry):
            total += len(piece)
            if total > entry.size:
                self._refuse(f"member {name!r} is longer than it announces")
            crc = zlib.crc32(piece, crc)
            yield piece
        if total != entry.size or crc != entry.crc:
            self._broken(f"member {name!r} is not what it announces")

    def _stored(self, entry: Entry) -> Iterator[bytes]:
        left = entry.packed
        self._file.seek(self._starts[entry.name])
        while left:
            piece = self._file.read(min(left, _CHUNK))
            if not piece:
                self._broken(f"member {entry.name!r} ends early")
            left -= len(piece)
            yield piece

    def _inflated(self, entry: Entry) -> Iterator[bytes]:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        packed = self._stored(entry)
        waiting = b""
        while not inflater.eof:
            waiting = waiting or next(packed, b"")
            ended = not waiting
            try:
                piece = inflater.decompress(waiting, _CHUNK)
            except zlib.error as error:
                self._broken(f"member {entry.name!r} cannot be unpacked: {error}")
            waiting = inflater.unconsumed_tail
            if piece:
                yield piece
            elif ended:
                self._broken(f"member {entry.name!r} ends early")
        if inflater.unused_data or next(packed, b""):
            self._refuse(f"member {entry.name!r} is longer than it announces")

    def _directory(self) -> List[Entry]:
        size = self._file.seek(0, 2)
        end = self._bytes(max(size - _END.size, 0), _END.size)
        if len(end) < _END.size or end[:4] != b"PK\x05\x06":
            self._broken("not a zip, or truncated")
        _, disk, first_disk, here, count, length, self._end, comment = _END.unpack(end)
        if disk or first_disk or comment or here != count or self._end + length + _END.size != size:
            self._broken("not a plain zip")
        if count > _MAX_MEMBERS or length > _MAX_DIRECTORY:
            self._refuse("too many members")
        return self._listed(self._bytes(self._end, length), count)

    def _listed(self, directory: bytes, count: int) -> List[Entry]:
        entries, place = [], 0
        while place < len(directory):
            head = directory[place : place + _CENTRAL.size]
            if len(head) < _CENTRAL.size or head[:4] != b"PK\x01\x02":
                self._broken("its directory is malformed")
            fields = _CENTRAL.unpack(head)
            name_end = place + _CENTRAL.size + fields[12]
            extra_end = name_end + fields[13]
            name = self._name(directory[place + _CENTRAL.size : name_end], fields[5])
            self._refuse_special(name, fields, directory[name_end:extra_end])
            entries.append(Entry(name, fields[11], fields[10], fields[6], fields[9], fields[18]))
            place = extra_end + fields[14]
        if len(entries) != count or place != len(directory):
            self._broken("its directory is malformed")
        return entries

    def _name(self, raw: bytes, flags: int) -> str:
        try:
            name = raw.decode("utf-8" if flags & _UTF8 else "ascii")
        except UnicodeDecodeError:
            self._refuse(f"member {raw!r} has a name in an unknown encoding")
        fault = name_fault(name)
        if fault:
            self._refuse(f"member {name!r} is unsafe: {fault}")
        return name

    def _refuse_special(self, name: str, fields: tuple[int, ...], extra: bytes) -> None:
        flags, method, attributes = fields[5], fields[6], fields[17]
        mode = attributes >> 16
        if flags & 1:
            self._refuse(f"member {name!r} is encrypted")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or mode & 0o7000 or attributes & _DOS_FOLDER_OR_LABEL:
            self._refuse(f"member {name!r} is unsafe: a link, a folder or a special file")
        if flags & ~_PLAIN_FLAGS or method not in (_STORED, _DEFLATED) or fields[15] or fields[14]:
            self._refuse(f"member {name!r} is not plainly stored or deflated")
        if {_RENAMING, _ZIP64} & set(_extra_fields(extra)):
            self._refuse(f"member {name!r} has a second name or size")

    def _refuse_likenesses(self, entries: List[Entry]) -> None:
        """One name twice, or names that are one on another file system; a file that is a folder, too."""
        seen: Dict[str, str] = {}
        for entry in entries:
            key = _folded(entry.name)
            if key in seen:
                self._refuse(f"members {seen[key]!r} and {entry.name!r} have one name")
            seen[key] = entry.name
        for key, name in seen.items():
            parts = key.split("/")
            if any("/".join(parts[:depth]) in seen for depth in range(1, len(parts))):
                self._refuse(f"member {name!r} lies in a file")

    def _refuse_bombs(self, entries: List[Entry]) -> None:
        if sum(entry.size for entry in entries) > MAX_ARCHIVE_BYTES:
            self._refuse(f"unpacks to more than {MAX_ARCHIVE_BYTES:,} bytes")
        for entry in entries:
            if entry.size > _MAX_RATIO * max(entry.packed, 1):
                self._refuse(f"member {entry.name!r} is unsafe: it unpacks to {_MAX_RATIO} times its size and more")

    def _data_starts(self, entries: List[Entry]) -> Dict[str, int]:
        """Where each member's bytes begin; the members must follow each other without overlap or gap."""
        starts, place = {}, 0
        for entry in sorted(entries, key=lambda one: one.offset):
            if entry.offset != place:
                self._refuse(f"member {entry.name!r} overlaps another, or follows a gap")
            starts[entry.name] = self._checked_start(entry)
            place = starts[entry.name] + entry.packed
        if place != self._end:
            self._refuse("a member overlaps the directory, or bytes lie before it that belong to none")
        return starts

    def _checked_start(self, entry: Entry) -> int:
        """The local header must say what the directory says."""
        head = self._bytes(entry.offset, _LOCAL.size)
        if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
            self._broken(f"member {entry.name!r} has no header")
        _, _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(head)
        name = self._bytes(entry.offset + _LOCAL.size, name_length)
        extra = self._bytes(entry.offset + _LOCAL.size + name_length, extra_length)
        same = (method, crc, packed, size) == (entry.method, entry.crc, entry.packed, entry.size)
        if not same or name != entry.name.encode("utf-8") or flags & ~_PLAIN_FLAGS:
            self._refuse(f"member {entry.name!r} has two headers that differ")
        if {_RENAMING, _ZIP64} & set(_extra_fields(extra)):
            self._refuse(f"member {entry.name!r} has a second name or size")
        start: int = entry.offset + _LOCAL.size + name_length + extra_length
        return start

    def _bytes(self, place: int, count: int) -> bytes:
        self._file.seek(place)
        return self._file.read(count)

    def _refuse(self, fault: str) -> NoReturn:
        raise ArchiveError(f"{self._source}: {fault}.", "Do not use it.")

    def _broken(self, fault: str) -> NoReturn:
        raise ArchiveError(f"{self._source}: not a readable archive: {fault}.", "Write it again.")


def name_fault(name: str) -> Optional[str]:
    """What is wrong with a member's name; None for a relative path that means one file on any system."""
    if not 0 < len(name) <= _MAX_NAME:
        return "its name is empty or too long"
    if name.startswith("/") or "\\" in name or ":" in name:
        return "its path is absolute, or another system's"
    if any(unicodedata.category(character)[0] == "C" or character in "\u2028\u2029" for character in name):
        return "its name has control characters"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "its path leaves its folder, or is one"
    if any(part[-1] in ". " for part in parts):
        return "its name ends in a dot or a space"
    return None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _extra_fields(extra: bytes) -> Iterator[int]:
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        yield kind
        place += 4 + length
