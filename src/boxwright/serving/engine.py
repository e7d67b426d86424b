"""The served models, by name and version, and the way of a picture through them. No protocol is known here."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from boxwright.host.machine import cores
from boxwright.host.memory import return_freed_memory
from boxwright.runtime import Execution, ServingError, open_bundle

from .jobs import Answer, Draining, Job, Loading, ModelNotFound, NotAnswered, Picture, VersionNotFound
from .model import ModelOptions, ServedModel, load_model

__all__ = ["DefaultVersion", "Engine", "Observer", "Registered", "load_models"]

_LATE = 0.001  # seconds: what has a deadline is given up after it, not at it
_LONGEST = 3600.0  # seconds that the thread for deadlines sleeps

Observer = Callable[[ServedModel, "Answer | BaseException"], None]
"""Is told what became of each picture that was accepted or refused, on the thread that found out."""


class Registered(Exception):
    """This version of this model is served already."""


def load_models(
    archives: Iterable[str | os.PathLike[str]],
    asked: Execution = Execution(),
    options: ModelOptions = ModelOptions(),
    workers: int | None = None,
) -> dict[str, ServedModel]:
    """Load archives by model name; nothing in them is executed.

    Args:
        archives: ``.mar`` files.
        asked: how they run, as far as it is settled; see ``load_model``.
        options: how each is served.
        workers: how many of each; by default as many as its execution has sessions.

    Raises:
        ArchiveError: one of them cannot be used.
        ConfigError: an unknown backend or precision.
        MissingDependency: the backend is not installed.
        ServingError: none were given, or two have the same name.
    """
    models: dict[str, ServedModel] = {}
    for path in map(Path, archives):
        bundle = open_bundle(path)
        if bundle.spec.name in models:
            raise ServingError(f"{path}: a model named {bundle.spec.name!r} is given twice.", "Serve one of them.")
        models[bundle.spec.name] = load_model(path, bundle, asked, options, workers)
    return_freed_memory()
    if not models:
        raise ServingError("There is nothing to serve.", "Give one or more .mar archives.")
    return models


class Engine:
    """Answers pictures with detections, on threads of its own; may be used from any thread.

    Args:
        models: to begin with, by name; each is its name's only version.
        observer: told of each picture, e.g. for metrics.

    Attributes:
        observers: told of each picture; add to it before the first one.
        ready: whether to send it pictures; False from the moment the server is told to end. Those that come all the
            same are answered as long as it runs.
        loading: whether the first models are still being loaded, so that one that is missing may come.
    """

    def __init__(self, models: Mapping[str, ServedModel] | None = None, observer: Observer | None = None) -> None:
        self.observers: list[Observer] = [observer] if observer else []
        self.ready = True
        self.loading = False
        self._lock = threading.Lock()
        self._versions: dict[str, dict[str, ServedModel]] = {}
        self._defaults: dict[str, str] = {}
        self._decoders = ThreadPoolExecutor(cores(), thread_name_prefix="decode")
        self._clock = _Clock(self._all)
        for model in (models or {}).values():
            self.add(model)

    # the registry

    @property
    def models(self) -> dict[str, ServedModel]:
        """The default version of each model, by name."""
        with self._lock:
            return {name: self._versions[name][version] for name, version in sorted(self._defaults.items())}

    def versions(self, name: str) -> list[ServedModel]:
        """All versions of a model, the default first.

        Raises:
            ModelNotFound: there is no such model.
            Loading: it is not known yet.
        """
        with self._lock:
            known = self._known(name)
            return sorted(known.values(), key=lambda one: (one.version != self._defaults[name], one.version))

    def find(self, name: str, version: str | None = None) -> ServedModel:
        """A version of a model; the default unless one is named.

        Raises:
            ModelNotFound: there is no such model.
            VersionNotFound: the model does not have that version.
            Loading: neither is known yet.
        """
        with self._lock:
            return self._looked_up(name, version)

    def _known(self, name: str) -> dict[str, ServedModel]:
        known = self._versions.get(name)
        if known is None:
            self._require_loaded()
            raise ModelNotFound(f"Model not found: {name}")
        return known

    def _looked_up(self, name: str, version: str | None) -> ServedModel:
        known = self._known(name)
        model = known.get(self._defaults[name] if version is None else version)
        if model is None:
            self._require_loaded()
            raise VersionNotFound(f"Model version: {version} does not exist for model: {name}")
        return model

    def _require_loaded(self) -> None:
        if self.loading:
            raise Loading("The server is loading its models.", 1)

    def add(self, model: ServedModel) -> None:
        """Serve a version that is ready; the first one of a name is its default.

        Raises:
            Registered: the name has that version already.
        """
        with self._lock:
            known = self._versions.setdefault(model.name, {})
            if model.version in known:
                raise Registered(f"Model version {model.version} is already registered for model {model.name}")
            known[model.version] = model
            self._defaults.setdefault(model.name, model.version)

    def is_default(self, model: ServedModel) -> bool:
        """Whether a version answers where none is named."""
        return self._defaults.get(model.name) == model.version

    def set_default(self, name: str, version: str) -> None:
        """Let another version answer from the next picture on; what was accepted is answered by the one that took it.

        Raises:
            ModelNotFound: there is no such model.
            VersionNotFound: the model does not have that version.
            Loading: neither is known yet.
        """
        with self._lock:  # for both steps: a version that is taken out between them must not become the default
            self._defaults[name] = self._looked_up(name, version).version

    def remove(self, name: str, version: str | None = None, seconds: float = 60.0) -> None:
        """Serve a version no longer; what it accepted is answered first, for at most ``seconds``.

        Raises:
            ModelNotFound: there is no such model.
            VersionNotFound: the model does not have that version.
            DefaultVersion: it is the default, and the model has others.
        """
        with self._lock:
            model = self._taken_out(name, version)
        model.close(seconds)

    def replace(self, model: ServedModel, seconds: float = 60.0) -> None:
        """Serve a version as its name's only one, from one picture to the next; the others end as in ``remove``."""
        with self._lock:
            others = self._versions.pop(model.name, {})
            self._versions[model.name] = {model.version: model}
            self._defaults[model.name] = model.version
        for other in others.values():
            other.close(seconds)

    def swap(self, model: ServedModel, seconds: float = 60.0) -> None:
        """Serve a version in place of the one of its name and version, from one picture to the next.

        The other ends as in ``remove``. Where there is none, it is as ``add``.
        """
        with self._lock:
            known = self._versions.setdefault(model.name, {})
            old = known.get(model.version)
            known[model.version] = model
            self._defaults.setdefault(model.name, model.version)
        if old is not None:
            old.close(seconds)

    def _taken_out(self, name: str, version: str | None) -> ServedModel:
        model = self._looked_up(name, version)
        known = self._versions[name]
        if model.version == self._defaults[name] and len(known) > 1:
            raise DefaultVersion(f"Cannot remove default version for model {name}")
        del known[model.version]
        if not known:
            del self._versions[name], self._defaults[name]
        return model

    # answering

    def require_room(self, name: str, version: str | None = None) -> ServedModel:
        """The version, if a picture for it would be accepted now: what to ask before a body is read.

        Raises:
            NotAnswered: see ``submit``.
        """
        model = self.find(name, version)
        try:
            model.require_room(time.monotonic() + model.options.timeout)
        except NotAnswered as refused:
            self._tell(model, refused)
            raise
        return model

    def submit(self, name: str, picture: Picture, version: str | None = None) -> tuple[ServedModel, Future[Answer]]:
        """Accept a complete picture.

        Args:
            name: of the model.
            picture: its encoded bytes; released when they are decoded, or not accepted.
            version: of the model; the default one if None.

        Returns:
            Who answers, and the answer to come. Cancelling it takes the picture out of the queue. It ends with an
            ``Answer``, a ``PictureError`` or a ``NotAnswered``.

        Raises:
            NotAnswered: it was not accepted: ModelNotFound, VersionNotFound, NoWorkers, Busy, Draining.
        """
        try:
            while True:
                model = self.find(name, version)
                job = Job(picture, time.monotonic() + model.options.timeout)
                try:
                    future = model.submit(job, self._decoders)
                except Draining:
                    if model is not self._found(name, version):
                        continue  # it was taken out or replaced in this moment
                    raise
                except NotAnswered as refused:
                    self._tell(model, refused)
                    raise
                break
        except NotAnswered:
            picture.release()
            raise
        self._clock.expect(job.deadline)
        future.add_done_callback(lambda done: self._told(model, done))
        return model, future

    def _found(self, name: str, version: str | None) -> ServedModel | None:
        try:
            return self.find(name, version)
        except NotAnswered:
            return None

    def _told(self, model: ServedModel, done: Future[Answer]) -> None:
        if not done.cancelled():
            self._tell(model, done.exception() or done.result())

    def _tell(self, model: ServedModel, outcome: Answer | BaseException) -> None:
        for observer in self.observers:
            observer(model, outcome)

    # the end

    @property
    def pending(self) -> int:
        """Accepted pictures that were not answered yet."""
        return sum(model.pending for model in self._all())

    def close(self, seconds: float = 60.0) -> bool:
        """Accept no more, finish what was accepted within ``seconds``, end all workers; whether all was answered."""
        self.ready = False
        models, finished = list(self._all()), []
        closing = [
            # each on its own: one that hangs must not keep those who wait for another
            threading.Thread(target=lambda model=model: finished.append(model.close(seconds)), daemon=True)
            for model in models
        ]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
        self._clock.stop()
        self._decoders.shutdown(cancel_futures=True)
        return len(finished) == len(models) and all(finished)

    def _all(self) -> Iterator[ServedModel]:
        with self._lock:
            known = [model for versions in self._versions.values() for model in versions.values()]
        yield from known


class _Clock:
    """Has pictures given up when their deadline passes, on a thread that starts with the first picture.

    Args:
        models: the versions to look at.
    """

    def __init__(self, models: Callable[[], Iterable[ServedModel]]) -> None:
        self._models = models
        self._changed = threading.Condition()
        self._next = math.inf  # by time.monotonic
        self._stopped = False
        self._thread: threading.Thread | None = None

    def expect(self, deadline: float) -> None:
        """Look when it passes."""
        with self._changed:
            if deadline >= self._next or self._stopped:
                return
            self._next = deadline
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and (left := self._next - time.monotonic()) >= 0:
                    self._changed.wait(min(left + _LATE, _LONGEST))
                if self._stopped:
                    return
                self._next = math.inf
            for model in self._models():
                coming = model.give_up_late()
                if coming is not None:
                    self.expect(coming)


class DefaultVersion(Exception):
    """The default version of a model that has others cannot be taken out."""
