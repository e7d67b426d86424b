"""How long training takes: measured before it starts, planned to end in time, and corrected after every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from boxwright.data.dataset import Batch
from boxwright.host.console import spoken
from boxwright.models.detector import Detector
from boxwright.runtime import ConfigError

from .data_module import EpochSampler

__all__ = ["MOST_EPOCHS", "Budget", "Deadline", "Pace", "Plan", "measure_pace", "plan_for", "undone"]

_STEPS = 3  # timed, after one that is not
_LONG_ENOUGH = 8.0  # seconds of timed steps
_USABLE = 0.95  # of the minutes: the rest is for loading, the best epoch's files and the report
_FEWEST_EPOCHS = 3  # of a planned training: what it has learned is measured so often at least
MOST_EPOCHS = 300
"""Of a planned training, unless their number is given."""

_VALIDATION = 0.25  # the largest share of the time that validation may take before epochs get fewer


@dataclass(frozen=True)
class Pace:
    """Seconds per training step, and per validation picture."""

    step: float
    picture: float

    def epoch(self, steps: int, pictures: int) -> float:
        """Seconds of an epoch of so many steps and validation pictures."""
        return steps * self.step + pictures * self.picture


@dataclass(frozen=True)
class Plan:
    """What fits into the time.

    Attributes:
        epochs: at least 1.
        pictures: of each epoch; None for all of the training split.
    """

    epochs: int
    pictures: int | None


def measure_pace(detector: Detector, batches: Iterator[Batch], valid: Batch, device: str) -> Pace:
    """Time some steps on real batches; the weights, statistics and random numbers are as before afterwards.

    Args:
        detector: to train.
        batches: of the training split; loading them is timed, too.
        valid: one validation picture.
        device: where training will run, ``cpu`` or ``cuda``.
    """
    with undone(detector, device):
        step = _seconds(lambda: _train_on(detector, next(batches), device))
        picture = _seconds(lambda: len(detector.detect(valid.canvases.to(device))))
    return Pace(step, picture)


def _train_on(detector: Detector, batch: Batch, device: str) -> None:
    boxes, labels = [one.to(device) for one in batch.boxes], [one.to(device) for one in batch.labels]
    losses = detector.losses(batch.canvases.to(device), boxes, labels)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]


def _seconds(work: Callable[[], object]) -> float:
    """The median of some runs, fewer if they are slow; the first does not count."""
    work()
    taken: list[float] = []
    while len(taken) < _STEPS and sum(taken) < _LONG_ENOUGH:
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2]


@contextmanager
def undone(detector: Detector, device: str) -> Iterator[None]:
    """Try a network in training mode on a device; afterwards it is on the CPU, and as it was.

    Args:
        detector: whose network it is.
        device: ``cpu`` or ``cuda``.
    """
    network = detector.network
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    random, training = torch.get_rng_state(), network.training
    network.to(device).train()
    try:
        yield
    finally:
        network.to("cpu").train(training)
        for name, buffer in network.named_buffers():
            buffer.copy_(buffers[name])
        network.zero_grad(set_to_none=True)
        torch.set_rng_state(random)


def plan_for(
    minutes: float, pace: Pace, train: int, valid: int, batch_size: int, most: int = MOST_EPOCHS, begun: float = 0.0
) -> Plan:
    """As many whole epochs as fit; if fewer than three do, three with fewer pictures each.

    Args:
        minutes: in all.
        pace: measured.
        train: pictures of an epoch.
        valid: pictures of the validation split.
        batch_size: pictures per step.
        most: epochs.
        begun: seconds of the minutes that are over.

    Raises:
        TooShort: not even some steps and one validation fit.
    """
    seconds = (60 * minutes - begun) * _USABLE
    whole = int(seconds // pace.epoch(-(-train // batch_size), valid))
    if whole >= min(_FEWEST_EPOCHS, most):
        return Plan(min(whole, most), None)
    fitting = int(seconds // pace.epoch(1, valid))  # of one step each
    epochs = max(1, min(_FEWEST_EPOCHS, most, fitting, int(_VALIDATION * seconds / (valid * pace.picture))))
    steps = int((seconds / epochs - valid * pace.picture) / pace.step)
    if steps < 1:
        least = pace.epoch(1, valid) / _USABLE
        before = f"to begin took {spoken(begun)}, and " if begun >= 1 else ""
        error = TooShort(
            f"minutes = {minutes:g} is too short: {before}one step and the validation of {valid} pictures take "
            f"{spoken(least)} on this machine.",
            f"Give {ceil((begun + least) / 60)} or more, or choose a smaller model or canvas.",
        )
        error.least = (begun + least) / 60
        raise error
    return Plan(epochs, min(steps * batch_size, train))


class TooShort(ConfigError):
    """The time is not enough for one step and one validation.

    Attributes:
        least: minutes that would be.
    """

    least = 0.0


@dataclass(frozen=True)
class Budget:
    """What a run that ends in time has planned, and spent: what its checkpoint says of it.

    Attributes:
        spent: seconds up to its last whole epoch.
        epochs: planned then, in all.
        most: epochs that may be planned.
    """

    spent: float
    epochs: int
    most: int

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> Budget | None:
        """What a checkpoint says; None if its run had all the time, or is of a version that did not keep it."""
        kept = checkpoint.get("callbacks", {}).get(Deadline.__qualname__, {})
        return cls(**kept) if kept.keys() == {"spent", "epochs", "most"} else None

    def within(self, minutes: float, done: int) -> int:
        """Epochs that fit into another time, if they take as long as those that are done.

        Args:
            minutes: in all, those that are spent included.
            done: whole epochs so far.
        """
        if not done:
            return self.epochs
        more = int((60 * minutes * _USABLE - self.spent) / (self.spent / done))
        return max(done, min(done + more, self.most))


class Deadline(Callback):
    """Plans the number of epochs anew after each, so that training ends in time.

    Args:
        minutes: in all; of an interrupted run the time up to its last whole epoch counts.
        began: when this training began, of ``time.monotonic``.
        calm: how many of so many epochs are the last ones, which mix no pictures.
        most: epochs.
    """

    def __init__(self, minutes: float, began: float, calm: Callable[[int], int], most: int = MOST_EPOCHS) -> None:
        self._seconds = 60 * minutes * _USABLE
        self._calm = calm
        self._most = most
        self._epochs = most  # until it is known what is planned
        self._before = 0.0
        self._began = began
        self._epoch_began: float | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Learn what is planned."""
        self._epochs = trainer.max_epochs or self._most

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of the epoch."""
        self._epoch_began = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Plan the rest, unless only the end of an epoch was seen: how long a whole one takes is not known then."""
        if self._epoch_began is None:
            return
        left = self._seconds - self._spent()
        more = round(left / (time.monotonic() - self._epoch_began) - 0.2)  # rather a little late than much too early
        more = trainer.strategy.broadcast(more)
        epochs = max(trainer.current_epoch + 1, min(trainer.current_epoch + 1 + more, self._most))
        if trainer.max_epochs is not None and epochs != trainer.max_epochs:
            self._plan(trainer, pl_module, epochs)

    def _plan(self, trainer: L.Trainer, pl_module: L.LightningModule, epochs: int) -> None:
        module = cast(Any, pl_module)
        trainer.fit_loop.max_epochs = self._epochs = epochs
        module.cycle.plan(trainer.global_step, int(trainer.estimated_stepping_batches))
        sampler = cast(Any, trainer.train_dataloader).batch_sampler.sampler
        assert isinstance(sampler, EpochSampler), "the data module's"
        sampler.calm_from = epochs - self._calm(epochs)

    def _spent(self) -> float:
        return self._before + time.monotonic() - self._began

    def state_dict(self) -> dict[str, Any]:
        """See ``Budget``."""
        return asdict(Budget(self._spent(), self._epochs, self._most))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``state_dict``."""
        self._before = state_dict["spent"]
