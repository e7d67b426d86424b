"""Holds the served models and runs each in its sessions, one picture a session, behind a bounded queue."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from boxwright.machine import cores
from boxwright.runtime import Detections, Placement, Predictor, ServingError, open_bundle
from boxwright.runtime.memory import keep_freed_memory, return_freed_memory

from .opening import Asked, Opened, open_predictors

__all__ = ["QUEUE_SIZE", "Busy", "Engine", "ServedModel", "load_models"]

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
        opened: what runs it, and why so.
        started: when it was loaded, UTC.
        pending: requests accepted and not yet answered.
        turn: lets as many pictures run as there are sessions.
    """

    name: str
    version: str
    url: str
    opened: Opened
    started: datetime.datetime
    pending: int = 0
    turn: anyio.CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        self.turn = anyio.CapacityLimiter(len(self.opened.predictors))
        self._idle = list(self.opened.predictors)

    @property
    def predictor(self) -> Predictor:
        """The first session's: all prepare and report alike."""
        return self.opened.predictors[0]

    def detect(self, prepared: tuple[np.ndarray, Placement]) -> Detections:
        """All detections of a prepared picture, by a session that is idle; whoever calls has its turn."""
        predictor = self._idle.pop()  # the one used last: its memory is warm
        try:
            return predictor.detect([prepared])[0]
        finally:
            self._idle.append(predictor)


def load_models(
    archives: Iterable[Path],
    device: str = "cpu",
    *,
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    sessions: int | None = None,
) -> dict[str, ServedModel]:
    """Load archives by model name; nothing in them is executed.

    Args:
        archives: ``.mar`` files.
        device: a torch device.
        backend: one of ``BACKENDS``; ``auto`` takes what ``boxwright bench`` found best on this machine, and
            where it was not asked, see ``open_backend``.
        precision: one of ``PRECISIONS``, or ``auto``, with the same meaning.
        threads: processors one picture may use.
        sessions: pictures of a model that run at the same time; each takes the memory of a network of its own.

    Raises:
        ArchiveError: one of them cannot be used.
        ConfigError: an unknown backend or precision.
        MissingDependency: the backend is not installed.
        ServingError: none were given, or two have the same name.
    """
    keep_freed_memory()
    asked = Asked(backend, precision, threads, sessions)
    models: dict[str, ServedModel] = {}
    for path in archives:
        bundle = open_bundle(path)
        name = bundle.spec.name
        if name in models:
            raise ServingError(f"{path}: a model named {name!r} is given twice.", "Serve one of them.")
        started = datetime.datetime.now(datetime.UTC)
        opened = open_predictors(path, bundle, device, asked)
        models[name] = ServedModel(name, bundle.version, path.name, opened, started)
    return_freed_memory()
    if not models:
        raise ServingError("There is nothing to serve.", "Give one or more .mar archives.")
    return models


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

    async def predict(self, model: ServedModel, picture: bytes) -> list[dict[str, Any]]:
        """Decode and detect, off the event loop; decoding of one picture overlaps another's detection.

        Args:
            model: one of ``models``.
            picture: encoded bytes.

        Returns:
            The endpoint's answer: ``[{name: [x1, y1, x2, y2], "score": s}]``.

        Raises:
            PictureError: the picture cannot be used.
        """
        prepared = await anyio.to_thread.run_sync(model.predictor.prepare, picture, limiter=self._decoders)
        found = await anyio.to_thread.run_sync(model.detect, prepared, limiter=model.turn)
        return model.predictor.report(found).to_answer(model.predictor.spec.class_names)
