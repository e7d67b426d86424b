"""Canvases kept from one epoch to the next, on disk or in memory, shared by all loader processes.

A cache is one file of equal slots: a head (key, state, CRC) and the pixels. The key is a hash of the
picture's bytes and of everything that decides its canvas, so only the picture that a slot shows can find it.
A slot keeps its key as long as the file exists: files only grow, or are replaced whole. Processes that
run at the same time can therefore only write the same bytes to the same place. Room is reserved when a
cache is opened: a training does not find out in the middle that the disk is full.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import struct
import tempfile
import weakref
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import __version__ as pillow_version
from PIL import features
from torch import Tensor

from boxwright.host import files
from boxwright.runtime import ConfigError, DataError, InputSpec
from boxwright.runtime.preprocess import PIXELS

__all__ = [
    "HEAD",
    "CanvasCache",
    "cache_place",
    "content_digests",
    "disk_cache",
    "mib",
    "ram_cache",
    "require_calls",
    "slot_bytes",
]

HEAD = struct.Struct("<32sII24x")
"""Of a slot, 64 bytes: key; 1 if the pixels are written, else 0; CRC-32 of the pixels. The pixels follow."""

_KEY_BYTES = 32
_STATE = struct.Struct("<II")
_SPARE = 256 * 1024**2  # bytes of disk or memory that a cache leaves free
_CALLS = ("pread", "preadv", "pwrite")  # a system that has these has fcntl too; Windows has none of them
_NO_RESERVING = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # errors of file systems that cannot reserve


class CanvasCache:
    """The canvases of one split; the first process that needs a canvas writes it.

    A slot's state is written after its pixels, so a process killed in between leaves an empty
    slot. A power cut may leave a state without its pixels: each opening therefore checks the CRC of a
    slot before its first use. Nothing is mapped into memory, so no process grows by what it reads, and a
    file cut short by others is a miss, not a bus error. It stays a miss: key and state are read
    with the pixels each time, and nothing is written if the key is gone, so that the file does
    not grow back with holes that would be read as black pictures.

    Args:
        file: descriptor, open for reading and writing; closed with the cache.
        slots: slot of each picture, by index in its split.
        digests: SHA-256 of each picture's bytes, by index in its split.
        spec: the canvas.
        proven: uint8 [slots], shared; 1 if the CRC was right. All zeros by default.
    """

    def __init__(
        self, file: int, slots: Sequence[int], digests: Sequence[bytes], spec: InputSpec, proven: Tensor | None = None
    ) -> None:
        self._file = file
        self._slots = list(slots)
        self._digests = list(digests)
        self._spec = spec
        self._keys = _slot_keys(digests, spec)
        self._stride = slot_bytes(spec)
        if proven is None:
            proven = torch.zeros(max(self._slots, default=-1) + 1, dtype=torch.uint8)
            proven.share_memory_()  # type: ignore[no-untyped-call]
        self._proven = proven
        self._close = weakref.finalize(self, os.close, file)

    def __len__(self) -> int:
        return len(self._slots)

    def __reduce__(self) -> tuple[Any, ...]:
        """For a new process: it inherits the open file, whether or not its name still exists."""
        from multiprocessing.reduction import DupFd

        return _inherited, (DupFd(self._file), self._slots, self._digests, self._spec, self._proven)

    def close(self) -> None:
        """Close the file; an unnamed one is gone when every process has closed it."""
        self._close()

    @property
    def size(self) -> int:
        """Bytes of this split's slots."""
        return len(set(self._slots)) * self._stride

    @property
    def filled(self) -> int:
        """How many pictures have their canvas here; CRCs are not checked."""
        return sum(self._state(index, self._head(index))[0] for index in range(len(self)))

    def read(self, index: int, canvas: Tensor) -> bool:
        """Fill ``canvas`` with a picture's.

        Args:
            index: of the picture.
            canvas: uint8 [3, H, W], contiguous.

        Returns:
            Whether it was found; if not, the content of ``canvas`` is undefined.
        """
        slot = self._slots[index]
        head, pixels = bytearray(HEAD.size), _bytes_of(canvas)
        if os.preadv(self._file, [head, pixels], slot * self._stride) != self._stride:
            return False
        full, crc = self._state(index, head)
        if not full:
            return False
        if not self._proven[slot]:
            if zlib.crc32(pixels) != crc:
                return False
            self._proven[slot] = 1
        return True

    def write(self, index: int, canvas: Tensor, path: Path) -> bool:
        """Keep a picture's canvas.

        Args:
            index: of the picture.
            canvas: uint8 [3, H, W], contiguous.
            path: of the file it was decoded from.

        Returns:
            Whether it was kept: False if the picture's file has changed since the cache was opened, if there
            is no room after all, or if the cache was cut short.
        """
        try:
            kept = _content_digest(path) == self._digests[index] and self._put(index, canvas)
        except (OSError, DataError):  # a cache must not stop a training; the picture itself was read
            return False
        if kept:
            self._proven[self._slots[index]] = 1
        return kept

    def _put(self, index: int, canvas: Tensor) -> bool:
        if self._head(index)[:_KEY_BYTES] != self._keys[index]:
            return False
        start = self._slots[index] * self._stride
        pixels = _bytes_of(canvas)
        if os.pwrite(self._file, pixels, start + HEAD.size) != pixels.nbytes:
            return False
        state = _STATE.pack(1, zlib.crc32(pixels))
        return os.pwrite(self._file, state, start + _KEY_BYTES) == len(state)

    def _head(self, index: int) -> bytes:
        return os.pread(self._file, HEAD.size, self._slots[index] * self._stride)

    def _state(self, index: int, head: bytes | bytearray) -> tuple[bool, int]:
        """Whether a slot with this head holds this picture's canvas, and its CRC."""
        if len(head) < HEAD.size:
            return False, 0
        key, full, crc = HEAD.unpack(head)
        return full == 1 and key == self._keys[index], crc


def _bytes_of(canvas: Tensor) -> memoryview:
    return canvas.numpy().data.cast("B")


def _inherited(file: Any, *parts: Any) -> CanvasCache:
    return CanvasCache(file.detach(), *parts)


def slot_bytes(spec: InputSpec) -> int:
    """Bytes of one slot."""
    return HEAD.size + 3 * spec.height * spec.width


def _slot_keys(digests: Sequence[bytes], spec: InputSpec) -> list[bytes]:
    """Key of each picture on a canvas, 32 bytes: of its content, the canvas, and the versions that decode it."""
    decoders = (pillow_version, features.version("jpg"), features.version("zlib"), features.version("webp"))
    canvas = repr((PIXELS, spec.height, spec.width, spec.resize, spec.pad, decoders)).encode()
    return [hashlib.sha256(digest + canvas).digest() for digest in digests]


def content_digests(paths: Sequence[Path]) -> list[bytes]:
    """SHA-256 of each file's bytes; several files are read at a time.

    Raises:
        DataError: a file cannot be read.
    """
    with ThreadPoolExecutor() as threads:
        return list(threads.map(_content_digest, paths))


def _content_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.", "Check the file.") from error


def require_calls(kind: str) -> None:
    """Refuse a cache on a system that cannot read and write at a position in a file.

    Args:
        kind: ``ram`` or ``disk``.

    Raises:
        ConfigError: the missing calls are named.
    """
    missing = [name for name in _CALLS if not hasattr(os, name)]
    if missing:
        raise ConfigError(f"cache = {kind!r}: this system has no {', '.join(missing)}.", "Set cache to off.")


def cache_place(setting: Path | None) -> Path:
    """The folder of caches on disk: the setting, else the user's cache folder.

    Raises:
        ConfigError: no setting, and the user has no home folder.
    """
    place = setting or files.cache_folder()
    if place is None:
        raise ConfigError("No folder for caches: the home folder is unknown.", "Set cache_dir, or cache to off.")
    return place


def disk_cache(folder: Path, data: Path, split: str, digests: Sequence[bytes], spec: InputSpec) -> CanvasCache:
    """A cache that later trainings use again; its room is reserved before this returns.

    Pictures that it holds already keep their slots, new ones are added. If more than half of the
    slots show pictures that are no longer used, the file is replaced by an empty one.

    Args:
        folder: of the cache files; made if it is missing.
        data: folder of the data set; with split and canvas it gives the file's name.
        split: its name.
        digests: of the pictures, see ``content_digests``.
        spec: the canvas.

    Raises:
        ConfigError: the folder cannot be written to, or has too little room.
    """
    path = folder / _file_name(data, split, spec)
    keys = _slot_keys(digests, spec)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            file = _opened(path, set(keys), spec)
            try:
                slots = _with_slots(file, keys, spec, folder)
            except BaseException:
                os.close(file)
                raise
    except OSError as error:
        reason = f"{folder}: cannot hold a cache: {error.strerror}."
        raise ConfigError(reason, "Set cache_dir to another folder, or cache to off.") from error
    return CanvasCache(file, slots, digests, spec)


def ram_cache(digests: Sequence[bytes], spec: InputSpec) -> CanvasCache:
    """A cache in memory, without a name: it is gone with the last process that uses it, however that ends.

    It lies in ``/dev/shm`` if there is room, else in the folder for temporary files, whose pages
    the system keeps in memory as long as it can.

    Raises:
        ConfigError: too little memory is free.
    """
    keys = _slot_keys(digests, spec)
    needed = len(set(keys)) * slot_bytes(spec)
    free = _free_memory()
    if free is not None and needed + _SPARE > free:
        raise ConfigError(
            f"cache = 'ram': the canvases need {mib(needed)} MiB, {mib(free)} MiB of memory are free.",
            "Set cache to disk or off.",
        )
    shared = Path("/dev/shm")
    has_room = shared.is_dir() and shutil.disk_usage(shared).free >= needed + _SPARE
    folder = shared if has_room else Path(tempfile.gettempdir())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            slots = _with_slots(file.fileno(), keys, spec, folder)
            return CanvasCache(os.dup(file.fileno()), slots, digests, spec)
    except OSError as error:
        raise ConfigError(f"cache = 'ram': {folder}: {error.strerror}.", "Set cache to disk or off.") from error


def _file_name(data: Path, split: str, spec: InputSpec) -> str:
    place = data.resolve()
    canvas = (spec.height, spec.width, spec.resize, spec.pad)
    digest = hashlib.sha256(repr((str(place), split, canvas)).encode()).hexdigest()[:12]
    return f"{place.name}-{split}-{spec.height}x{spec.width}-{digest}.canvases"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one process at a time opens caches of a folder."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _opened(path: Path, keys: set[bytes], spec: InputSpec) -> int:
    """The existing file, or an empty one in its place if most of its slots are no longer used."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    count = os.fstat(file).st_size // slot_bytes(spec)
    if count - len(keys & _slot_of(file, spec).keys()) <= len(keys):
        return file
    os.close(file)
    empty = path.with_suffix(".new")
    file = os.open(empty, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    empty.replace(path)  # a process that has the old one open keeps it
    return file


def _slot_of(file: int, spec: InputSpec) -> dict[bytes, int]:
    stride = slot_bytes(spec)
    count = os.fstat(file).st_size // stride
    return {os.pread(file, HEAD.size, slot * stride)[:_KEY_BYTES]: slot for slot in range(count)}


def _with_slots(file: int, keys: Sequence[bytes], spec: InputSpec, folder: Path) -> list[int]:
    """The slot of each key; new keys get slots at the end of the file."""
    stride = slot_bytes(spec)
    slots = _slot_of(file, spec)
    missing = [key for key in dict.fromkeys(keys) if key not in slots]
    first = os.fstat(file).st_size // stride
    _reserve(file, first * stride, len(missing) * stride, folder)
    for slot, key in enumerate(missing, start=first):
        os.pwrite(file, HEAD.pack(key, 0, 0), slot * stride)
        slots[key] = slot
    return [slots[key] for key in keys]


def _reserve(file: int, start: int, count: int, folder: Path) -> None:
    """Make the file ``count`` bytes longer, with the disk space for them."""
    free = shutil.disk_usage(folder).free
    if count and count + _SPARE > free:
        raise ConfigError(
            f"{folder}: the cache needs {mib(count)} MiB more, {mib(free)} MiB are free.",
            "Set cache_dir to a larger disk, or cache to off.",
        )
    try:
        if count:
            os.posix_fallocate(file, start, count)
    except AttributeError:  # macOS
        os.ftruncate(file, start + count)
    except OSError as error:
        if error.errno not in _NO_RESERVING:
            raise
        os.ftruncate(file, start + count)


def _free_memory() -> int | None:
    """Bytes that can be used without swapping, within a container's limit; None if the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        return min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return free


def mib(count: int) -> int:
    """Bytes in MiB, rounded up."""
    return -(-count // 1024**2)
