"""Folders in remote storage: what fsspec reaches (``s3://``, ``gs://``, …) is copied here, and kept in step.

A copy lies in ``stores/DIGEST/NAME`` of the user's cache folder. Beside it lie a lock, and a journal of which version
of each file is there: a file is put in its place whole, and then written down, so a process may end at any time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxwright.host.console import make_console, progress
from boxwright.host.dependencies import require_packages
from boxwright.host.files import cache_folder, replacing, write_text
from boxwright.host.places import HIDDEN, is_url, is_web, name_of, remember_copy, shown_place, without_secrets
from boxwright.runtime.errors import BoxwrightError, ConfigError, DataError, MissingDependency

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "EXTRA",
    "Sender",
    "changed_place",
    "local_copy",
    "local_place",
    "names_in",
    "naming_store",
    "open_store",
    "work_folder",
]

EXTRA = "boxwright[urls]"

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"}
"""Schemes of remote storage that shows an object only when it is whole."""

_AT_ONCE = 16  # files; remote storage answers one in tens of milliseconds
_SPARE = 256 * 2**20  # bytes of the disk that are left free
_DIGITS = 16  # of the digest of a URL
_SHOWN = 8  # names
_VERSIONS = (
    # of what is in it, first; else when it was written
    "ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "Digest", "CRC",
    "mtime", "LastModified", "Last-Modified", "last_modified", "updated", "created",
)  # fmt: skip
"""What the file systems of fsspec call that which changes when a file does."""


@dataclass(frozen=True)
class _Stored:
    """A file in remote storage.

    Attributes:
        name: of its copy, below the folder of copies, with slashes.
        path: in the remote storage.
        size: in bytes; None if the storage does not say.
        version: what changes when the file does; None if the storage does not say: it is then fetched each time.
    """

    name: str
    path: str
    size: int | None
    version: str | None


def local_place(place: str | Path, only: Sequence[str] = (), console: Console | None = None) -> Path:
    """A path as it is; of a URL its copy on this machine, see ``local_copy``."""
    return local_copy(str(place), only, console) if is_url(place) else Path(place)


def local_copy(url: str, only: Sequence[str] = (), console: Console | None = None) -> Path:
    """Bring a folder or a file of remote storage to this machine, or what has changed of it since.

    What is no longer there is removed from the copy, too. Several processes may ask for it at the same time: one
    fetches. A process that reads a copy while another one brings a newer version sees each file whole, old or new.

    Args:
        url: of a folder or a file, as fsspec has it; a web address is that of a file.
        only: of a folder, the folders in it that count; all of it by default.
        console: gets a line if something is fetched, and a bar on a terminal; standard error by default.

    Returns:
        Path of the copy, whose name is the last part of the URL.

    Raises:
        ConfigError: an unknown scheme, no access, no connection, no room on the disk, or a URL whose password or key
            was not kept.
        DataError: there is nothing, or a name in it that cannot be a file's here.
        MissingDependency: fsspec is not installed, or its part for this kind of storage.
    """
    require_packages(("fsspec", "filelock"), EXTRA)
    if HIDDEN in url:
        raise ConfigError(f"{url}: its password or key is not kept in files.", "Give the whole URL again: --data URL.")
    console = console or make_console(stderr=True)
    shown, (home, name) = shown_place(url), _home(url)
    with naming_store(url):
        files, root = open_store(url)
        folders, stored = _listed(files, root, name, only, shown)
    _require_names(stored, shown)
    copy = _Copy(home, [f"{name}/{one}" for one in only] or [name])
    with naming_store(url), _locked(home, shown, console):
        copy.bring(files, stored, shown, console)
        for one in folders:  # their names alone tell something: val/ in place of valid/
            (home / one).mkdir(parents=True, exist_ok=True)
    remember_copy(home / name, url)
    return home / name


@contextmanager
def changed_place(place: str | Path) -> Iterator[Path]:
    """A folder to change files in: a path as it is; of a URL its copy, of which what was changed is sent back.

    Nothing is sent if the block raises.

    Raises:
        BoxwrightError: see ``local_copy`` and ``Sender``.
    """
    local = local_place(place)
    sender = Sender(local, str(place), sent=True) if is_url(place) else None
    yield local
    if sender is not None:
        sender.send()


def open_store(place: str) -> tuple[Any, str]:
    """The file system of a URL or a path, as fsspec has it, and the place in it.

    Raises:
        ConfigError: an unknown scheme.
        MissingDependency: what reads it is not installed.
    """
    try:
        import fsspec

        files, root = fsspec.core.url_to_fs(place)
    except ImportError as error:
        s3 = place.lower().startswith(("s3://", "s3a://")) or error.name == "fsspec"
        raise MissingDependency(
            f"{shown_place(place)}: {error}.", f"pip install '{EXTRA}'" if s3 else "pip install what it names."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{shown_place(place)}: {error}", "Give a path, or a URL such as s3://bucket/folder."
        ) from error
    return files, str(root)


def names_in(url: str) -> set[str]:
    """Names of what is directly in a folder of remote storage; none if there is no such folder.

    Raises:
        ConfigError: see ``local_copy``.
        MissingDependency: see ``local_copy``.
    """
    require_packages(("fsspec", "filelock"), EXTRA)
    with naming_store(url):
        files, root = open_store(url)
        files.invalidate_cache()
        try:
            found = files.ls(root, detail=False)
        except FileNotFoundError:
            return set()
    return {str(one).rstrip("/").rpartition("/")[2] for one in found}


def work_folder(url: str) -> Path:
    """Where what is written to a folder of remote storage is made, on this machine."""
    home, name = _home(url, "runs")
    return home / name


class Sender:
    """Keeps a folder of remote storage in step with one of this machine. Each file appears there whole.

    Args:
        folder: of this machine.
        url: of the folder in remote storage.
        last: names of files that are sent after all others.
        sent: whether all that is in the folder now came from there.
    """

    def __init__(self, folder: Path, url: str, last: Sequence[str] = (), sent: bool = False) -> None:
        self._folder = folder
        self._url = url
        self._last = tuple(last)
        self._sent = self._stamps() if sent else {}

    def send(self) -> None:
        """Send what has changed since the last time; nothing is removed there.

        Raises:
            ConfigError: it cannot be reached or written.
            DataError: there is no such bucket.
        """
        stamps = self._stamps()
        changed = [name for name, stamp in stamps.items() if self._sent.get(name) != stamp]
        with naming_store(self._url):
            files, root = open_store(self._url)
            for name in sorted(changed, key=lambda one: (one in self._last, one)):
                try:
                    _put(files, self._folder / name, f"{root}/{name}")
                except FileNotFoundError:
                    if (self._folder / name).exists():  # else it was removed just now
                        raise
                    continue
                self._sent[name] = stamps[name]

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Time and size by name; without locks and what is being written just now."""
        found = {}
        for path in self._folder.rglob("*"):
            name = path.relative_to(self._folder).as_posix()
            with suppress(FileNotFoundError):  # trackers remove files of their own
                about = path.lstat()
                if stat.S_ISREG(about.st_mode) and not name.endswith(".part") and path.name != ".claim":
                    found[name] = (about.st_mtime_ns, about.st_size)
        return found


def _put(files: Any, path: Path, target: str) -> None:
    """Write a file to remote storage, where it appears whole."""
    kinds = {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)
    if kinds & OBJECT_STORES:
        files.put_file(str(path), target)
        return
    folder, _, name = target.rpartition("/")
    files.makedirs(folder, exist_ok=True)
    part = f"{folder}/.{name}.{os.getpid()}.part"
    files.put_file(str(path), part)
    files.mv(part, target)


@contextmanager
def naming_store(url: str) -> Iterator[None]:
    """Make one sentence of whatever remote storage raises: each of fsspec's has its own errors.

    Raises:
        ConfigError: no access, no connection, or no room on the disk.
        DataError: there is nothing.
    """
    try:
        yield
    except BoxwrightError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError):
            if not is_web(url):
                raise DataError(f"{url}: there is no such bucket or folder.", "Check the URL.") from error
            error = error.__cause__ if isinstance(error.__cause__, Exception) else error  # whatever a server answered
        reason, remedy = _why(shown_place(url), error)
        raise ConfigError(without_secrets(reason, url), remedy) from error


def _why(url: str, error: Exception) -> tuple[str, str]:
    """What is wrong, and what can be done."""
    kind, said = type(error).__name__, next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{url}: the disk is full.", "Make room, or set XDG_CACHE_HOME to a folder on another disk."
    if isinstance(error, OSError) and str(error.filename).startswith(str(cache_folder())):
        return f"{error.filename}: {error.strerror}.", "Set XDG_CACHE_HOME to a folder that can be written."
    if isinstance(error, PermissionError) or "credential" in f"{kind} {said}".lower():
        where = "For s3:// set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        remedy = f"Give credentials where its client looks for them. {where}"
        return f"{url}: access is refused: {said or kind}.", remedy
    reason = f"{kind}: {said}" if said else kind
    return (
        f"{url}: cannot be reached: {reason}.",
        "Check connection and address; the same command goes on with what is missing.",
    )


def _home(url: str, kind: str = "stores") -> tuple[Path, str]:
    """Where the copy of a URL lies with its lock and journal, and the copy's name there."""
    cache = cache_folder()
    if cache is None:
        raise ConfigError(
            f"{shown_place(url)}: no folder for its copy: the home folder is unknown.", "Set XDG_CACHE_HOME."
        )
    digest = hashlib.sha256(url.rstrip("/").encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
    return cache / kind / digest, re.sub(r"[^\w.-]+", "-", name_of(url)).lstrip(".-") or "copy"


@contextmanager
def _locked(home: Path, url: str, console: Console) -> Iterator[None]:
    """Keep a copy for this process alone; the system frees it when the process ends, however it ends."""
    from filelock import FileLock, Timeout

    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.print(f"{url}: another process is fetching it; waiting.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _listed(files: Any, root: str, name: str, only: Sequence[str], url: str) -> tuple[list[str], list[_Stored]]:
    """The folders directly in a folder, and the files below it; of a file that alone. Names begin with ``name``.

    Raises:
        DataError: there is nothing.
    """
    files.invalidate_cache()  # a listing of minutes ago would hide what has changed
    if is_web(root):
        return [], [_stored(_web_file(files.info(root), url), name)]
    top = {_below(str(one["name"]), root): one for one in files.ls(root, detail=True)}
    if set(top) == {""} and top[""]["type"] != "directory" and not str(top[""]["name"]).endswith("/"):
        return [], [_stored(top[""], name)]
    folders = [one for one, info in top.items() if info["type"] == "directory" and one]
    inside = only or [""]
    found: dict[str, Any] = {}
    for one in inside:
        if not one or one in folders:
            found |= files.find(f"{root}/{one}" if one else root, detail=True)
    stored = [
        _stored(info, f"{name}/{_below(path, root)}")
        for path, info in found.items()
        if not path.endswith("/")  # what remote storage shows folders by
    ]
    if not stored:
        held = ", ".join(sorted(filter(None, top))[:_SHOWN]) or "nothing"
        wanted = f"no files in {', '.join(f'{one}/' for one in only)}" if only else "no files"
        raise DataError(f"{url}: holds {wanted}; there is {held}.", "Check the URL.")
    return [f"{name}/{one}" for one in folders if _is_safe(one)], sorted(stored, key=_order)


def _web_file(about: dict[str, Any], url: str) -> dict[str, Any]:
    """What a web server says of a file.

    Raises:
        DataError: it is a page for people.
    """
    if about.get("mimetype") == "text/html":
        raise DataError(f"{url}: is a web page, not a file.", "Give the address of the archive that it offers.")
    return about


def _below(path: str, root: str) -> str:
    """The rest of a path; empty for the root itself. File systems do not agree on whether paths begin with a slash."""
    path, root = path.removeprefix("/"), root.strip("/")
    if not root:
        return path
    return "" if path.rstrip("/") == root else path.removeprefix(f"{root}/")


def _stored(info: Mapping[str, Any], name: str) -> _Stored:
    size = info.get("size")
    version = next((f"{key} {info[key]}" for key in _VERSIONS if info.get(key) is not None), None)
    return _Stored(name, str(info["name"]), size, None if version is None else f"{size} {version}")


def _order(one: _Stored) -> tuple[bool, str]:
    """Annotation files first: what is wrong with them is found before hours are spent."""
    return not one.name.endswith(".json"), one.name


def _require_names(stored: Sequence[_Stored], url: str) -> None:
    """Raise unless all names can be those of files below one folder.

    Raises:
        DataError: they cannot; one is named.
    """
    names = {one.name for one in stored}
    for name in names:
        if not _is_safe(name):
            raise DataError(f"{url}: {name!r} in it cannot be the name of a file here.", "Rename it there.")
        parent = next((one for one in _parents(name) if one in names), None)
        if parent is not None:
            raise DataError(f"{url}: {parent!r} in it is a file and a folder.", "Rename one of them there.")


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    yield from ("/".join(parts[:count]) for count in range(1, len(parts)))


def _is_safe(name: str) -> bool:
    """Whether a name with slashes stays below its folder, whatever is there already."""
    parts = name.split("/")
    odd = any(part in ("", ".", "..") or "\0" in part for part in parts)
    return not odd and (os.name != "nt" or not set(name) & set('\\:*?"<>|'))


class _Copy:
    """The copy of a folder or a file.

    Args:
        home: holds it, its lock and its journal.
        parts: what is brought of it: names below ``home``.
    """

    def __init__(self, home: Path, parts: Sequence[str]) -> None:
        self._home = home
        self._parts = parts
        self._journal = home / ".journal"

    def bring(self, files: Any, stored: Sequence[_Stored], url: str, console: Console) -> None:
        """Fetch what is missing or has changed, and remove what is no longer there.

        Raises:
            ConfigError: there is no room.
            DataError: a file comes with another size than it was listed with.
        """
        known = self._read_journal()
        missing = [one for one in stored if not self._has(one, known)]
        gone = self._gone(stored)
        if not missing and not gone:
            return
        for name in {one.name for one in missing} | gone:
            known.pop(name, None)
        self._write_journal(known)  # before anything changes: no entry is ever wrong
        self._remove(gone)
        if gone:
            console.print(f"{url}: {len(gone)} files are no longer there, and were removed from {self._home}.")
        if missing:
            self._announce(missing, len(stored), url, console)
            with progress(console, "fetch") as advance:
                self._fetch_all(files, missing, advance)

    def _has(self, one: _Stored, known: Mapping[str, str]) -> bool:
        if one.version is None or known.get(one.name) != one.version:
            return False
        path = self._home / one.name
        return path.is_file() and one.size in (None, path.stat().st_size)

    def _gone(self, stored: Sequence[_Stored]) -> set[str]:
        """Names of files that are here and not there; what a killed process was writing is among them."""
        names = {one.name for one in stored}
        here: set[str] = set()
        for part in self._parts:
            if (self._home / part).is_file():
                here.add(part)
            for folder, _, files in os.walk(self._home / part):
                here |= {(Path(folder) / file).relative_to(self._home).as_posix() for file in files}
        return here - names

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            path = self._home / name
            path.unlink()
            for parent in path.parents[: len(path.relative_to(self._home).parts) - 1]:
                if any(parent.iterdir()):
                    break
                parent.rmdir()

    def _announce(self, missing: Sequence[_Stored], count: int, url: str, console: Console) -> None:
        """Say how much will come, and that there is room.

        Raises:
            ConfigError: there is none.
        """
        needed = sum(one.size or 0 for one in missing)
        free = shutil.disk_usage(self._home).free
        much = f"{len(missing)} of {count} files, {needed / 1e6:,.1f} MB"
        if needed + _SPARE > free:
            raise ConfigError(
                f"{url}: {much} do not fit on the disk of {self._home}, where {free / 1e6:,.1f} MB are free.",
                "Make room, or set XDG_CACHE_HOME to a folder on another disk.",
            )
        console.print(f"Fetching {url}: {much}, to {self._home}")

    def _fetch_all(self, files: Any, missing: Sequence[_Stored], advance: Callable[[int, int], object]) -> None:
        with self._journal.open("a", encoding="utf-8") as journal, ThreadPoolExecutor(_AT_ONCE) as threads:
            coming = {threads.submit(self._fetch, files, one): one for one in missing}
            try:
                for number, done in enumerate(as_completed(coming), start=1):
                    done.result()
                    if coming[done].version is not None:
                        journal.write(json.dumps([coming[done].name, coming[done].version]) + "\n")
                        journal.flush()
                    advance(number, len(missing))
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def _fetch(self, files: Any, one: _Stored) -> None:
        with replacing(self._home / one.name) as part:
            files.get_file(one.path, str(part))
            came = part.stat().st_size
            if one.size not in (None, came):
                raise DataError(
                    f"{one.path}: {came} bytes came of {one.size}: the connection was lost, or the file has changed.",
                    "The same command goes on with what is missing.",
                )

    def _read_journal(self) -> dict[str, str]:
        """Version by name; a line that a killed process did not finish counts for nothing."""
        known = {}
        try:
            lines = self._journal.read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            return {}
        for line in lines:
            try:
                name, version = json.loads(line)
            except (ValueError, TypeError):
                continue
            known[name] = version
        return known

    def _write_journal(self, known: Mapping[str, str]) -> None:
        write_text(self._journal, "".join(json.dumps(list(entry)) + "\n" for entry in known.items()))
