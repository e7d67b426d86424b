"""What is served comes from a folder, and changes while the server runs. No protocol is known here."""

from __future__ import annotations

import errno
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import unquote, urljoin, urlsplit
from weakref import WeakKeyDictionary

from boxwright.host.files import replacing
from boxwright.host.memory import return_freed_memory
from boxwright.runtime import ArchiveError, BoxwrightError, Bundle, Execution, open_bundle
from boxwright.runtime.bundle import MAX_ARCHIVE_BYTES, NAME_PATTERN

from .configuration import ModelChanges, read_model_config
from .engine import DefaultVersion, Engine, Registered
from .jobs import Loading, NotAnswered
from .model import ModelOptions, ServedModel, load_model
from .settings import ServerSettings
from .workers import WorkerDied

__all__ = ["NotRegistered", "Reason", "Registration", "Registry", "Rescan"]

_log = logging.getLogger(__name__)

_CHUNK = 1024**2
_REDIRECTS = 5
_SECONDS_TO_CONNECT = 10.0
_SECONDS_TO_FETCH = 600.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WEB = ("http", "https")
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):/")


class Reason(Enum):
    """Why an archive was not registered."""

    NOT_FOUND = auto()
    NAME = auto()
    INVALID = auto()
    DOWNLOAD = auto()
    SERVED = auto()
    FILE_EXISTS = auto()
    NOT_SAVED = auto()
    NO_ROOM = auto()
    NO_WORKERS = auto()
    OUT_OF_MEMORY = auto()


class NotRegistered(Exception):
    """An archive was not registered; what is served is as it was.

    Attributes:
        reason: of which kind it is.
        message: for people.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(frozen=True)
class Registration:
    """What is asked for.

    Attributes:
        url: path of an archive in the store, or a URL that is allowed.
        name: to serve it under; the archive's own if None.
        workers: None for what the archive's configuration says, else none at all.
        changes: to the options of the server and of the archive's configuration, see ``ModelOptions``.
        wait: whether to return when the workers are ready, else as soon as the archive was found good.
    """

    url: str
    name: str | None = None
    workers: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    wait: bool = True


@dataclass
class Rescan:
    """What a look into the store changed.

    Attributes:
        added: name and version of each archive that is served now and was not before.
        replaced: of each whose file had changed, as it is served now.
        faults: what is wrong with each archive that could not be used.
    """

    added: list[tuple[str, str]] = field(default_factory=list)
    replaced: list[tuple[str, str]] = field(default_factory=list)
    faults: dict[Path, str] = field(default_factory=dict)


_Stamp = tuple[int, int, int]
"""What differs when a file was written again."""


@dataclass(frozen=True)
class _Opened:
    """An archive that was found good, and how to serve it."""

    path: Path
    bundle: Bundle
    name: str
    options: ModelOptions
    config: ModelChanges
    stamp: _Stamp | None
    asked: Registration


class Registry:
    """Registers archives with an engine and takes them out again; may be used from any thread.

    A version is loaded and warmed up before it takes its first picture. Whatever fails leaves what is served as it was.

    Args:
        engine: that serves.
        settings: ``store``, ``models``, ``limits.workers`` and ``security.allowed_urls``.
        execution: how each runs, as far as it is settled.
        workers: of each archive of the store that does not say itself; by default one per session of its execution.
        models: what a configuration says of a name and a version; it wins over what the archive says.

    Attributes:
        engine: the same.
        store: folder of archives; None registers nothing.
    """

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings,
        execution: Execution = Execution(),
        workers: int | None = None,
        models: Mapping[tuple[str, str], ModelChanges] | None = None,
    ) -> None:
        self.engine, self.store = engine, settings.store
        self._options, self._execution = settings.models, execution
        self._workers, self._models = workers, models or {}
        self._most_workers = settings.limits.workers
        self._allowed = tuple(map(re.compile, settings.security.allowed_urls))
        self._lock = threading.Lock()
        self._loading = threading.Lock()  # two warm-ups at a time would disturb each other's measurements
        self._scanning = threading.Lock()
        self._underway: set[tuple[str, str] | Path] = set()
        self._fetched: set[Path] = set()
        self._stamps: WeakKeyDictionary[ServedModel, _Stamp | None] = WeakKeyDictionary()
        self._asked: WeakKeyDictionary[ServedModel, Registration] = WeakKeyDictionary()
        for model in self.served():
            self._stamps[model] = _stamp(model.path)

    # one archive

    def register(self, asked: Registration) -> ServedModel:
        """Serve an archive; the first version of a name is its default.

        Returns:
            The version. If it was not asked to ``wait``, its workers start by and by; should they fail, the version is
            taken out again.

        Raises:
            Loading: the server is still loading what it begins with; this one may be among it.
            NotRegistered: it cannot be; what is served is as it was.
        """
        self._require_loaded()
        with self._archive(asked.url) as path, _as_reasons(asked.url):
            opened = self._opened(path, asked)
            with self._reserved(opened.name, opened.bundle.version):
                model = self._loaded(opened)
                workers = opened.config.workers or 0 if asked.workers is None else asked.workers
                with _closed_on_failure(model):
                    if asked.wait:
                        _hire(model, workers)
                    self._add(model, opened)
        if workers and not asked.wait:
            model.least = model.most = workers
            threading.Thread(target=self._hire_later, args=(model, workers), daemon=True).start()
        return model

    def scale(self, model: ServedModel, least: int, most: int) -> None:
        """Have ``least`` workers; returns when it is so.

        Raises:
            NotRegistered: one cannot be started.
        """
        _hire(model, least, most)

    def scale_soon(self, model: ServedModel, least: int, most: int) -> None:
        """As ``scale``, but returns at once; a failure is logged."""

        def scale() -> None:
            try:
                _hire(model, least, most)
            except NotRegistered as failed:
                _log.error("%s", failed.message)

        threading.Thread(target=scale, daemon=True).start()

    def unregister(self, name: str, version: str | None = None, seconds: float = 60.0) -> None:
        """Serve a version no longer; what it accepted is answered first. A file that was fetched for it is removed.

        Raises:
            ModelNotFound: there is no such model.
            VersionNotFound: the model does not have that version.
            DefaultVersion: it is the default, and the model has others.
        """
        path = self.engine.find(name, version).path
        self.engine.remove(name, version, seconds)
        with self._lock:
            if path in self._fetched and all(model.path != path for model in self.served()):
                self._fetched.discard(path)
                path.unlink(missing_ok=True)

    def unregister_all(self, name: str, seconds: float = 60.0) -> None:
        """Serve no version of a model any longer; see ``unregister``.

        Raises:
            ModelNotFound: there is no such model.
        """
        for model in reversed(self.engine.versions(name)):  # the default last
            self.unregister(name, model.version, seconds)

    # the store

    def archives(self) -> list[Path]:
        """The archives that lie in the store now, by name."""
        return sorted(self.store.glob("*.mar")) if self.store is not None else []

    def rescan(self, at_startup: bool = False) -> Rescan:
        """Serve every archive of the store, with workers.

        A new file is loaded. One that has changed since it was loaded is loaded again and takes the place of what it
        was, under the same name, from one picture to the next. One that has gone is served on: ``unregister`` ends it.

        Args:
            at_startup: whether the server is starting, for whoever describes models.
        """
        found = Rescan()
        with self._scanning:
            for path in self.archives():
                self._look_at(path, found, at_startup)
        return found

    def load(self, file: str, name: str | None = None, at_startup: bool = False) -> ServedModel:
        """Serve one archive of the store with its usual workers, as ``rescan`` does.

        Args:
            file: its path in the store.
            name: to serve it under; the archive's own if None.
            at_startup: see ``rescan``.

        Raises:
            NotRegistered: it cannot be; what is served is as it was.
        """
        with _as_reasons(file):
            return self._serve(self._in_store(file), Registration(file, name), at_startup)

    def load_file(self, path: Path) -> ServedModel:
        """Serve an archive that was named when the server was started, wherever it lies, with its usual workers.

        Raises:
            ArchiveError, ConfigError, MissingDependency: it cannot be used, or not so.
            NotRegistered: its version is served already, or its workers cannot be started.
        """
        return self._serve(path, Registration(path.name), at_startup=True)

    def _serve(self, path: Path, asked: Registration, at_startup: bool) -> ServedModel:
        opened = self._opened(path, asked)
        with self._reserved(opened.name, opened.bundle.version):
            model = self._loaded(opened, at_startup)
            with _closed_on_failure(model):
                _hire(model, self._usual_workers(opened, model))
                self._add(model, opened)
        return model

    def _add(self, model: ServedModel, opened: _Opened) -> None:
        self.engine.add(model)
        if opened.config.default:
            self.engine.set_default(model.name, model.version)

    def _require_loaded(self) -> None:
        if self.engine.loading:
            raise Loading("The server is loading its models.", 1)

    def load_named(self, name: str) -> None:
        """Serve ``NAME.mar`` of the store; a model that is served already, anew from what its file holds now.

        Raises:
            Loading: see ``register``.
            NotRegistered: it cannot be; what is served is as it was.
        """
        self._require_loaded()
        served = [model for model in self.served() if model.name == name]
        if not served:
            self.load(f"{name}.mar", name)
        for model in served:
            self._renew(model.path, model)

    def _look_at(self, path: Path, found: Rescan, at_startup: bool) -> None:
        served = [model for model in self.served() if model.path.absolute() == path.absolute()]
        stamp = _stamp(path)
        try:
            if not served:
                found.added.append(_called(self.load(path.name, at_startup=at_startup)))
            for model in served:
                if self._stamps.get(model) != stamp:
                    found.replaced.append(_called(self._renew(path, model)))
        except NotRegistered as fault:
            found.faults[path] = fault.message
            named = fault.message if str(path) in fault.message else f"{path}: {fault.message}"
            _log.error("Not served: %s", named)

    def _renew(self, path: Path, old: ServedModel) -> ServedModel:
        """Serve what a file holds now in place of what it held, with as many workers and its configuration of now."""
        with _as_reasons(path.name):
            opened = self._opened(path, self._asked.get(old) or Registration(old.url, old.name))
            same = opened.bundle.version == old.version
            with self._reserved(old.name, opened.bundle.version, new=not same):
                model = self._loaded(opened, old.at_startup)
                with _closed_on_failure(model):
                    _hire(model, old.least, old.most)
                    if not same:
                        self.engine.add(model)
                if same:
                    self.engine.swap(model)
                else:
                    if self.engine.is_default(old) or opened.config.default:
                        self.engine.set_default(model.name, model.version)
                    self.engine.remove(old.name, old.version)
        return model

    # steps

    def served(self) -> list[ServedModel]:
        """All versions of all models, by name, the default first."""
        found: list[ServedModel] = []
        for name in self.engine.models:
            try:
                found += self.engine.versions(name)
            except NotAnswered:
                continue  # it was taken out in this moment
        return found

    def _opened(self, path: Path, asked: Registration) -> _Opened:
        stamp = _stamp(path)  # before it is read: what is written meanwhile is seen by the next rescan
        bundle = open_bundle(path)
        name = asked.name or bundle.spec.name
        if not NAME_PATTERN.fullmatch(name):
            raise NotRegistered(Reason.NAME, f"Model name {name!r} cannot stand in a URL.")
        said = self._models.get((name, bundle.version))
        config = said or read_model_config(path, bundle)
        if (config.workers or 0) > self._most_workers:
            message = f"{path}: asks for {config.workers} workers; there are at most {self._most_workers}."
            raise NotRegistered(Reason.INVALID, message)
        for note in config.notes if said is None else ():  # else whoever read the configuration has told them
            _log.warning("%s: %s", path, note)
        options = replace(self._options, **{**config.options, **asked.changes})
        return _Opened(path, bundle, name, options, config, stamp, asked)

    def _loaded(self, opened: _Opened, at_startup: bool = False) -> ServedModel:
        with self._loading:
            model = load_model(opened.path, opened.bundle, self._execution, opened.options, 0, opened.name)
            return_freed_memory()
        model.url, model.at_startup = opened.asked.url, at_startup
        self._stamps[model], self._asked[model] = opened.stamp, opened.asked
        return model

    def _usual_workers(self, opened: _Opened, model: ServedModel) -> int:
        said = self._workers if opened.config.workers is None else opened.config.workers
        return (model.choice.execution.sessions or 1) if said is None else said

    def _hire_later(self, model: ServedModel, workers: int) -> None:
        try:
            _hire(model, workers)
        except NotRegistered as failed:
            _log.error("%s", failed.message)
            try:
                if self.engine.find(model.name, model.version) is model:
                    self.unregister(model.name, model.version, 0.0)
            except (NotAnswered, DefaultVersion):
                return  # it is gone already, or other versions depend on its being the default

    @contextmanager
    def _reserved(self, name: str, version: str, new: bool = True) -> Iterator[None]:
        """Let nobody else register this version meanwhile: it would be loaded twice."""
        what = (name, version)
        with self._lock:
            served = {_called(model) for model in self.served()} if new else set()
            if what in self._underway | served:
                message = f"Model version {version} is already registered for model {name}"
                raise NotRegistered(Reason.SERVED, message)
            self._underway.add(what)
        try:
            yield
        finally:
            with self._lock:
                self._underway.discard(what)

    # where archives come from

    @contextmanager
    def _archive(self, url: str) -> Iterator[Path]:
        """The archive's file; one that was fetched is removed again if the block fails."""
        if not url:
            raise NotRegistered(Reason.NOT_FOUND, "empty url")
        if not _URL.match(url):
            yield self._in_store(url)
            return
        with self._fetch_to_store(url, *_parts(url)) as path:
            yield path

    def _in_store(self, url: str) -> Path:
        _require_straight(url)
        path = Path(url)
        try:
            if self.store is not None and not path.is_absolute() and not path.drive and (self.store / path).exists():
                return self.store / path
        except (OSError, ValueError):  # a name that no file can have
            pass
        hint = ". Archives are registered from a folder: start the server with --store." if self.store is None else ""
        raise NotRegistered(Reason.NOT_FOUND, f"Model not found at: {url}{hint}")

    @contextmanager
    def _fetch_to_store(self, url: str, scheme: str, file: str) -> Iterator[Path]:
        _require_straight(url)
        self._require_allowed(url)
        if self.store is None or not file.endswith(".mar") or not NAME_PATTERN.fullmatch(file):
            raise NotRegistered(Reason.NOT_FOUND, f"Model not found at: {url}")
        path = self.store / file
        with self._lock:
            if path in self._underway or path.exists():
                raise NotRegistered(Reason.FILE_EXISTS, f"Model file already exists {file}")
            self._underway.add(path)
        try:
            self._save(url, scheme, path)
            try:
                yield path
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            self._fetched.add(path)
        finally:
            with self._lock:
                self._underway.discard(path)

    def _require_allowed(self, url: str) -> None:
        if _parts(url)[0] not in (*_WEB, "file"):
            raise NotRegistered(Reason.NOT_FOUND, f"Model not found at: {url}")
        if not any(pattern.fullmatch(url) for pattern in self._allowed):
            raise NotRegistered(Reason.NOT_FOUND, f"Given URL {url} does not match any allowed URL(s)")

    def _save(self, url: str, scheme: str, path: Path) -> None:
        try:
            with replacing(path) as part, part.open("wb") as target:
                if scheme == "file":
                    _copy(url, target)
                else:
                    _download(url, target, self._require_allowed)
        except _FetchFailed as failed:
            _log.warning("%s: %s", url, failed)
            raise NotRegistered(Reason.DOWNLOAD, f"Failed to download archive from: {url}") from failed
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise NotRegistered(Reason.NO_ROOM, f"There is no room in the store to save model: {url}") from error
            _log.warning("%s: %s", path, error)
            raise NotRegistered(Reason.NOT_SAVED, f"Failed to save model: {url}") from error


def _require_straight(url: str) -> None:
    if ".." in re.split(r"[/\\]", unquote(url)):
        raise NotRegistered(Reason.NOT_FOUND, f"Relative path is not allowed in url: {url}")


class _FetchFailed(Exception):
    """A URL gives no archive."""


@contextmanager
def _as_reasons(url: str) -> Iterator[None]:
    """Turn what can go wrong with an archive into ``NotRegistered``."""
    try:
        yield
    except ArchiveError as error:
        raise NotRegistered(Reason.INVALID, str(error)) from error
    except BoxwrightError as error:
        raise NotRegistered(Reason.NO_WORKERS, str(error)) from error
    except Registered as error:
        raise NotRegistered(Reason.SERVED, str(error)) from error
    except NotAnswered as error:  # what it was to replace was taken out in this moment
        raise NotRegistered(Reason.NOT_FOUND, str(error)) from error
    except MemoryError as error:
        raise NotRegistered(Reason.OUT_OF_MEMORY, f"There is not enough memory for model: {url}") from error


@contextmanager
def _closed_on_failure(model: ServedModel) -> Iterator[None]:
    """End the workers of a version that is not served in the end."""
    try:
        yield
    except BaseException:
        model.close(0.0)
        raise


def _hire(model: ServedModel, least: int, most: int | None = None) -> None:
    """Give a version its workers; if that fails it keeps those it has."""
    what = f"model {model.name} version: {model.version}"
    try:
        model.scale(least, most)
    except MemoryError as error:
        model.least = len(model.workers)
        raise NotRegistered(Reason.OUT_OF_MEMORY, f"There is not enough memory for the workers of {what}") from error
    except (BoxwrightError, WorkerDied, OSError, RuntimeError) as error:
        model.least = len(model.workers)
        _log.warning("%s: %s", what, error)
        raise NotRegistered(Reason.NO_WORKERS, f"Failed to start workers for {what}") from error


def _parts(url: str) -> tuple[str, str]:
    """Scheme and file name of a URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.scheme.lower(), PurePosixPath(unquote(parts.path)).name


def _copy(url: str, target: BinaryIO) -> None:
    path = Path(unquote(urlsplit(url).path))
    try:
        if not path.is_file():  # a pipe would never end
            raise _FetchFailed("it is not a file")
        source = path.open("rb")
    except (OSError, ValueError) as error:
        raise _FetchFailed(str(error)) from error
    with source:
        _receive(True, iter(lambda: source.read(_CHUNK), b""), target, time.monotonic() + _SECONDS_TO_FETCH)


def _download(url: str, target: BinaryIO, require_allowed: Callable[[str], None]) -> None:
    """Write what a web server sends; where a redirect leads must be allowed, too."""
    import ssl

    import httpx

    end = time.monotonic() + _SECONDS_TO_FETCH
    headers = {"User-Agent": "boxwright", "Accept-Encoding": "identity"}
    try:
        with httpx.Client(verify=ssl.create_default_context(), timeout=_SECONDS_TO_CONNECT, headers=headers) as client:
            for _ in range(_REDIRECTS + 1):
                with client.stream("GET", url) as response:
                    if not response.has_redirect_location:
                        _receive(response.is_success, response.iter_raw(_CHUNK), target, end)
                        return
                    url = urljoin(url, response.headers["location"])
                require_allowed(url)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise _FetchFailed(str(error) or type(error).__name__) from error
    raise _FetchFailed(f"more than {_REDIRECTS} redirects")


def _receive(success: bool, chunks: Iterator[bytes], target: BinaryIO, end: float) -> None:
    if not success:
        raise _FetchFailed("the server has no such file")
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_ARCHIVE_BYTES:
            raise _FetchFailed(f"it is larger than {MAX_ARCHIVE_BYTES:,} bytes")
        if time.monotonic() > end:
            raise _FetchFailed(f"it takes more than {_SECONDS_TO_FETCH:.0f} s")
        target.write(chunk)


def _called(model: ServedModel) -> tuple[str, str]:
    return model.name, model.version


def _stamp(path: Path) -> _Stamp | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino
