"""One picture on its way through an engine, and what can become of it."""

from __future__ import annotations

import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from boxwright.runtime import Detections, Prepared

__all__ = [
    "Answer",
    "Busy",
    "Draining",
    "Expired",
    "Job",
    "Loading",
    "ModelNotFound",
    "NoWorkers",
    "NotAnswered",
    "OutOfMemory",
    "Picture",
    "VersionNotFound",
    "WorkerFailed",
]


class Picture(Protocol):
    """Encoded bytes that lie somewhere until they are decoded."""

    def read(self) -> bytes:
        """The bytes."""

    def release(self) -> None:
        """Give back what holds them; called once they are decoded, or no longer wanted."""


class NotAnswered(Exception):
    """Why an engine gives no detections for a picture that may be fine.

    Attributes:
        retry_after: seconds after which it is worth asking again; None if that is not known to help.
    """

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelNotFound(NotAnswered):
    """No model has this name."""


class VersionNotFound(NotAnswered):
    """The model does not have this version."""


class Busy(NotAnswered):
    """The queue is full, or so long that an answer would come too late; nothing was accepted."""


class NoWorkers(NotAnswered):
    """The version is loaded, but was scaled to no worker."""


class Draining(NotAnswered):
    """The engine or the version is about to end; nothing was accepted."""


class Loading(NotAnswered):
    """The models are being loaded; this one may be among them."""


class Expired(NotAnswered):
    """It waited longer than its deadline, and was not computed."""


class OutOfMemory(NotAnswered):
    """The memory was not enough, even for this picture alone."""


class WorkerFailed(NotAnswered):
    """The network failed, or its process ended, also when it was tried again."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of one picture.

    Attributes:
        detections: all of them, whatever their score, in pixels of the picture.
        seconds: by stage: ``decode``, ``queue`` (what it waited, in all) and ``network``.
        batch: pictures that ran together with it, itself included.
    """

    detections: Detections
    seconds: dict[str, float]
    batch: int


@dataclass(eq=False)
class Job:
    """One accepted picture.

    Attributes:
        picture: its bytes, until they are decoded.
        deadline: by ``time.monotonic``; not computed after it.
        future: its answer. Cancelling it takes the job out of the queue, unless it runs already.
        accepted: by ``time.monotonic``.
        prepared: what a network takes; None before it is decoded, and where a worker decodes.
        decoding: seconds it took.
    """

    picture: Picture
    deadline: float
    future: Future[Answer] = field(default_factory=Future)
    accepted: float = field(default_factory=time.monotonic)
    prepared: Prepared | None = None
    decoding: float = 0.0

    def begin(self) -> bool:
        """Whether it is still wanted, directly before it is computed; from here on it cannot be cancelled."""
        try:
            if self.future.done() or not self.future.set_running_or_notify_cancel():
                return False
        except RuntimeError:  # in this moment it was answered by whoever ends the version
            return False
        if time.monotonic() > self.deadline:
            self.fail(Expired("The deadline passed while the picture waited.", 1))
            return False
        return True

    def succeed(self, answer: Answer) -> None:
        """Answer, unless it was given up meanwhile."""
        with suppress(InvalidStateError):
            self.future.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless it is answered already or nobody waits any more."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)
