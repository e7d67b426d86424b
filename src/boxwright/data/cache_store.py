"""Where canvas caches lie, and the room they need: asked for before a training starts, not in the middle of it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from boxwright.runtime import ConfigError, InputSpec

from .cache import HEAD, KEY_BYTES, CanvasCache, slot_bytes, slot_keys

__all__ = ["cache_folder", "disk_cache", "mib", "ram_cache", "require_calls"]

_SPARE = 256 * 1024**2  # bytes of disk or memory that a cache leaves to others
_CALLS = ("pread", "preadv", "pwrite")  # where these are, fcntl is too; Windows has none of them
_NO_RESERVING = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # what a file system says that cannot


def require_calls(kind: str) -> None:
    """Refuse a cache on a system that cannot read and write at a place in a file.

    Args:
        kind: ``ram`` or ``disk``.

    Raises:
        ConfigError: what is missing is named.
    """
    lacking = [name for name in _CALLS if not hasattr(os, name)]
    if lacking:
        raise ConfigError(f"cache = {kind!r}: this system has no {', '.join(lacking)}.", "Set cache to off.")


def cache_folder(setting: Path | None) -> Path:
    """Where caches lie on disk: the setting, else ``$XDG_CACHE_HOME/boxwright``, else ``~/.cache/boxwright``."""
    if setting is not None:
        return setting
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "boxwright"


def disk_cache(folder: Path, data: Path, split: str, digests: Sequence[bytes], spec: InputSpec) -> CanvasCache:
    """A cache that later trainings find again; its room is reserved before it returns.

    Pictures that are there already keep their slots, new ones are added. Once more than half of the
    slots show pictures that are gone, the file is replaced by an empty one.

    Args:
        folder: holds the files; made if need be.
        data: folder of the data set; with split and canvas it names the file.
        split: its name.
        digests: of the pictures, see ``content_digests``.
        spec: the canvas.

    Raises:
        ConfigError: the folder cannot be written to, or has too little room.
    """
    path = folder / _file_name(data, split, spec)
    keys = slot_keys(digests, spec)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
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
    """A cache in memory, without a name: it is gone with the last process that has it, however that ends.

    It lies in ``/dev/shm`` where there is room, else in the folder for temporary files, whose pages
    the system keeps in memory while it can.

    Raises:
        ConfigError: too little memory is free.
    """
    keys = slot_keys(digests, spec)
    needed = len(set(keys)) * slot_bytes(spec)
    free = _free_memory()
    if free is not None and needed + _SPARE > free:
        raise ConfigError(
            f"cache = 'ram': the canvases need {mib(needed)} MiB, {mib(free)} MiB of memory are free.",
            "Set cache to disk or off.",
        )
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and shutil.disk_usage(shared).free >= needed + _SPARE
    folder = shared if roomy else Path(tempfile.gettempdir())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            slots = _with_slots(file.fileno(), keys, spec, folder)
            return CanvasCache(os.dup(file.fileno()), slots, digests, spec)
    except OSError as error:
        raise ConfigError(f"cache = 'ram': {folder}: {error.strerror}.", "Set cache to disk or off.") from error


def _file_name(data: Path, split: str, spec: InputSpec) -> str:
    place = data.resolve()
    canvas = (spec.height, spec.width, spec.resize, spec.pad)
    told_apart = hashlib.sha256(repr((str(place), split, canvas)).encode()).hexdigest()[:12]
    return f"{place.name}-{split}-{spec.height}x{spec.width}-{told_apart}.canvases"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time opens caches of a folder."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _opened(path: Path, keys: set[bytes], spec: InputSpec) -> int:
    """The file there, or an empty one in its place if it holds more of the past than of the present."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    count = os.fstat(file).st_size // slot_bytes(spec)
    if count - len(keys & _slot_of(file, spec).keys()) <= len(keys):
        return file
    os.close(file)
    empty = path.with_suffix(".new")
    file = os.open(empty, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    empty.replace(path)  # who has the old one open keeps it
    return file


def _slot_of(file: int, spec: InputSpec) -> dict[bytes, int]:
    stride = slot_bytes(spec)
    count = os.fstat(file).st_size // stride
    return {os.pread(file, HEAD.size, slot * stride)[:KEY_BYTES]: slot for slot in range(count)}


def _with_slots(file: int, keys: Sequence[bytes], spec: InputSpec, folder: Path) -> list[int]:
    """The slot of each key; those without one get it at the end of the file."""
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
    """Lengthen the file by ``count`` bytes that are really there."""
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
    """Bytes that could be taken without swapping, also under a container's limit; None where it is not told."""
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
