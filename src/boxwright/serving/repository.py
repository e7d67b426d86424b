"""What a protocol asks of the place that models are loaded from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .engine import Engine
from .model import ServedModel

__all__ = ["Repository", "entry_of", "is_ready"]


def is_ready(engine: Engine, model: ServedModel) -> bool:
    """Whether a version has a worker, in an engine that takes pictures."""
    return engine.ready and bool(model.workers)


def entry_of(engine: Engine, model: ServedModel) -> Mapping[str, str]:
    """A served version as it stands in an index; see ``Repository.index``."""
    state, reason = "READY", ""
    if not is_ready(engine, model):
        state, reason = "UNAVAILABLE", "It has no worker, or the server is about to end."
    return {"name": model.name, "version": model.version, "state": state, "reason": reason}


class Repository(Protocol):
    """Models that can be loaded and taken out by name. Its calls may take long: they are made on a thread."""

    def index(self) -> Sequence[Mapping[str, str]]:
        """What there is: ``name``, ``version``, ``state`` (READY, LOADING, UNLOADING or UNAVAILABLE) and ``reason``."""

    def load(self, name: str) -> None:
        """Serve a model, or serve it anew from what lies there now; returns when it answers.

        Raises:
            Refusal: it cannot be loaded; what is served is as it was.
            NotAnswered: it cannot be loaded now.
            BoxwrightError: its archive cannot be used.
        """

    def unload(self, name: str) -> None:
        """Serve no version of a model any longer; what was accepted is answered first.

        Raises:
            Refusal: it cannot be taken out.
            NotAnswered: there is no such model.
        """
