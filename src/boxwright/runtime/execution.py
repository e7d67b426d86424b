"""How a model runs: the one way to say it, from the command line to the session that answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

from .errors import ConfigError

__all__ = ["AUTO", "PRECISIONS", "Execution"]

AUTO = "auto"
"""A part of an execution that is still open."""

PRECISIONS = ("fp32", "bf16", "int8")


@dataclass(frozen=True)
class Execution:
    """How a model runs: on which backend, in which precision, where, and on how many processors.

    Parts may be open: ``auto`` for the backend and the precision, None for threads and sessions. ``backends.settle``
    fills in the first two.

    Attributes:
        backend: a key of ``backends.BACKENDS``, or ``auto``.
        precision: one of ``PRECISIONS``, or ``auto``.
        device: a torch device, ``cpu`` or ``cuda:0``.
        threads: processors that one picture may use; None leaves the number to the backend.
        sessions: pictures that run at the same time, each with a network of its own; None is one, or open.

    Raises:
        ConfigError: an unknown precision, or a number that is not positive.
    """

    backend: str = AUTO
    precision: str = AUTO
    device: str = "cpu"
    threads: Optional[int] = None
    sessions: Optional[int] = None

    def __post_init__(self) -> None:
        if self.precision not in (AUTO, *PRECISIONS):
            raise ConfigError(f"Precision {self.precision!r} is unknown.", f"Use auto, {', '.join(PRECISIONS)}.")
        for name in ("threads", "sessions"):
            number = getattr(self, name)
            if number is not None and (type(number) is not int or number < 1):
                raise ConfigError(f"{name} = {number!r} does not fit.", "Give a whole number from 1 on.")

    @property
    def variant(self) -> str:
        """``BACKEND-PRECISION``: the key of its proof in ``ModelSpec.exports``."""
        return f"{self.backend}-{self.precision}"

    @classmethod
    def of_variant(cls, variant: str) -> Execution:
        """The execution of a ``BACKEND-PRECISION``; whether there is such a backend is not looked at.

        Raises:
            ConfigError: the precision is unknown.
        """
        backend, _, precision = variant.rpartition("-")
        return cls(backend, precision)

    def admits(self, other: Execution) -> bool:
        """Whether ``other`` has every part that is settled here; devices must be equal."""
        return self.device == other.device and all(
            own in (AUTO, None, theirs)
            for own, theirs in (
                (self.backend, other.backend),
                (self.precision, other.precision),
                (self.threads, other.threads),
                (self.sessions, other.sessions),
            )
        )

    @property
    def settled(self) -> bool:
        """Whether backend and precision are known."""
        return AUTO not in (self.backend, self.precision)

    def with_variant(self, other: Execution) -> Execution:
        """This execution with another's backend and precision."""
        return replace(self, backend=other.backend, precision=other.precision)

    def __str__(self) -> str:
        """For people, as in ``onnxruntime-fp32, 2 threads x 1 session``."""
        threads = "default threads" if self.threads is None else _counted(self.threads, "thread")
        return f"{self.variant}, {threads} x {_counted(self.sessions or 1, 'session')}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
