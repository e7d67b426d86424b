"""Holds the served models and runs them, one picture at a time, behind a bounded queue."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from boxwright.runtime import Predictor, ServingError, open_bundle
from boxwright.runtime.memory import keep_freed_memory, return_freed_memory

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
        predictor: runs it.
        started: when it was loaded, UTC.
        pending: requests accepted and not yet answered.
    """

    name: str
    version: str
    url: str
    predictor: Predictor
    started: datetime.datetime
    pending: int = 0
    turn: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))


def load_models(archives: Iterable[Path], device: str = "cpu") -> dict[str, ServedModel]:
    """Load archives by model name; nothing in them is executed.

    Raises:
        ArchiveError: one of them cannot be used.
        ServingError: none were given, or two have the same name.
    """
    keep_freed_memory()
    models: dict[str, ServedModel] = {}
    for path in archives:
        bundle = open_bundle(path)
        name = bundle.spec.name
        if name in models:
            raise ServingError(f"{path}: a model named {name!r} is given twice.", "Serve one of them.")
        started = datetime.datetime.now(datetime.UTC)
        models[name] = ServedModel(name, bundle.version, path.name, Predictor(bundle, device=device), started)
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
        self._decoders = anyio.CapacityLimiter(os.cpu_count() or 1)

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
        found = await anyio.to_thread.run_sync(model.predictor.detect, [prepared], limiter=model.turn)
        return model.predictor.report(found[0]).to_answer(model.predictor.spec.class_names)
