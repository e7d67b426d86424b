"""Holds the served models and runs each in its sessions, one picture per session, behind a bounded queue."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from boxwright.host.machine import cores
from boxwright.host.memory import return_freed_memory
from boxwright.runtime import Bundle, Detections, Execution, PicturePredictor, Prepared, ServingError, open_bundle
from boxwright.tuning import Choice, choose_execution

__all__ = ["QUEUE_SIZE", "Busy", "Engine", "ServedModel", "load_model", "load_models"]

QUEUE_SIZE = 100
"""Requests a model may have waiting, TorchServe's default."""


class Busy(Exception):
    """The queue is full; the request was not accepted."""


@dataclass(eq=False)
class ServedModel:
    """One loaded archive.

    Attributes:
        name: in the URL.
        version: in the URL, optionally.
        url: file name of the archive.
        predictors: one per session, each with a network of its own.
        choice: how it runs, and why so.
        started: when it was loaded, UTC.
        pending: requests accepted and not yet answered.
        turn: lets as many pictures run as there are sessions.
    """

    name: str
    version: str
    url: str
    predictors: Sequence[PicturePredictor]
    choice: Choice
    started: datetime.datetime
    pending: int = 0
    turn: anyio.CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        self.turn = anyio.CapacityLimiter(len(self.predictors))
        self._idle = list(self.predictors)

    @property
    def predictor(self) -> PicturePredictor:
        """The first session's: all prepare and report alike."""
        return self.predictors[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class index."""
        return self.predictor.spec.class_names

    def detect(self, prepared: Prepared) -> Detections:
        """All detections of a prepared picture, by a session that is idle; the caller has its turn."""
        predictor = self._idle.pop()  # the one used last: its memory is warm
        try:
            return predictor.detect([prepared])[0]
        finally:
            self._idle.append(predictor)

    def answer(self, picture: bytes) -> Detections:
        """Decode and detect; the caller has its turn.

        Raises:
            PictureError: the picture cannot be used.
        """
        return self.predictor.report(self.detect(self.predictor.prepare(picture)))


def load_models(archives: Iterable[str | os.PathLike[str]], asked: Execution = Execution()) -> dict[str, ServedModel]:
    """Load archives by model name; nothing in them is executed.

    Args:
        archives: ``.mar`` files.
        asked: how they run, as far as it is settled; the rest is what ``boxwright bench`` found best on this machine,
            else what a warm-up shows.

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
        models[bundle.spec.name] = load_model(path, bundle, asked)
    return_freed_memory()
    if not models:
        raise ServingError("There is nothing to serve.", "Give one or more .mar archives.")
    return models


def load_model(path: Path, bundle: Bundle, asked: Execution = Execution()) -> ServedModel:
    """Make one opened archive ready to answer; see ``load_models``."""
    started = datetime.datetime.now(datetime.UTC)
    choice = choose_execution(path, bundle, asked)
    first = PicturePredictor(bundle, choice.execution, backend=choice.backend)
    others = [PicturePredictor(bundle, choice.execution) for _ in range((choice.execution.sessions or 1) - 1)]
    return ServedModel(bundle.spec.name, bundle.version, path.name, (first, *others), choice, started)


class Engine:
    """Answers pictures with detections.

    Args:
        models: by name.
        queue_size: requests a model may have waiting; one more is refused.
    """

    def __init__(self, models: Mapping[str, ServedModel], queue_size: int = QUEUE_SIZE) -> None:
        self.models = models
        self.queue_size = queue_size
        self._decoders = anyio.CapacityLimiter(cores())

    @contextmanager
    def place(self, model: ServedModel) -> Iterator[None]:
        """A place in a model's queue, taken before the body is read, so that memory is bounded.

        Raises:
            Busy: the queue is full.
        """
        if model.pending >= self.queue_size:
            raise Busy
        model.pending += 1
        try:
            yield
        finally:
            model.pending -= 1

    async def predict(self, model: ServedModel, picture: bytes) -> Detections:
        """Decode and detect, off the event loop; decoding of one picture overlaps another's detection.

        Args:
            model: one of ``models``.
            picture: encoded bytes.

        Returns:
            Those from the operating point on, best first, in pixels of the picture.

        Raises:
            PictureError: the picture cannot be used.
        """
        if model.predictor.spec.input.tile is not None:  # the windows of every picture that waits would take gigabytes
            return await anyio.to_thread.run_sync(model.answer, picture, limiter=model.turn)
        prepared = await anyio.to_thread.run_sync(model.predictor.prepare, picture, limiter=self._decoders)
        detections = await anyio.to_thread.run_sync(model.detect, prepared, limiter=model.turn)
        return model.predictor.report(detections)
