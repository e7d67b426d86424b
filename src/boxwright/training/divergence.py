"""What happens when the loss is no longer a number: the batch is kept, and training goes back, once."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from boxwright.data.dataset import Batch
from boxwright.runtime import ModelError

from .checkpoints import save

__all__ = ["DIVERGED", "LossGuard"]

DIVERGED = "diverged.pt"
"""In a run folder: the batch whose loss was not finite; of the processes after the first ``diverged-RANK.pt``."""

_EVERY = 50  # steps between two copies of the state; copying takes some milliseconds per ten million weights
_CALM = 2.0  # the state is copied only while the loss is below so many times its running mean
_MEMORY = 0.9  # of the running mean
_SHOWN = 4  # names of pictures in a message
_REMEDY = "Lower learning_rate, or set precision to fp32."
_LAG = 2  # steps after which a GPU has long computed a loss: reading it then does not make anyone wait


class Stateful(Protocol):
    """A network or an optimizer."""

    def state_dict(self) -> dict[str, Any]:
        """What it is made of."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Make it what it was."""


@dataclass(frozen=True)
class _Seen:
    """A step's loss, not read yet."""

    loss: Tensor
    batch: Batch
    step: int


class LossGuard:
    """Watches the loss; keeps copies of the state to go back to.

    Args:
        names: file names of the training pictures, by index.
        folder: of the run, for the batch.
        rank: of this process; each keeps its own part of the batch.
        say: prints a warning.
    """

    def __init__(self, names: Sequence[str], folder: Path, say: Callable[[str], object], rank: int = 0) -> None:
        self._names = names
        self._path = folder / (DIVERGED if rank == 0 else DIVERGED.replace(".", f"-{rank}."))
        self._say = say
        self._waiting: deque[_Seen] = deque()
        self._copy: tuple[int, list[dict[str, Any]]] | None = None
        self._mean = math.nan

    def __deepcopy__(self, memo: dict[int, Any]) -> LossGuard:
        """Itself: averaging the weights copies the whole module, whose guard holds a console."""
        return self

    def passes(self, loss: Tensor, batch: Batch, step: int, state: Sequence[Stateful], last_time: bool) -> bool:
        """Whether to train on this loss; if not, ``state`` is what it was some steps ago.

        On a GPU a loss is looked at two steps later, because reading it at once would make the GPU wait.

        Args:
            loss: of the batch, a scalar.
            batch: what it was computed on.
            step: its number, from 0.
            state: what is copied and restored: networks and the optimizer.
            last_time: whether a loss that is not finite ends the training.

        Raises:
            ModelError: the loss is not finite, and there is no going back.
        """
        on_host = loss.detach().to("cpu", non_blocking=True)
        self._waiting.append(_Seen(on_host, batch, step))
        due = not last_time and (self._copy is None or step >= self._copy[0] + _EVERY)
        # a copy is of weights whose own loss was read: those after a loss that is not finite are not finite either
        lag = _LAG if loss.device.type == "cuda" and not due else 0
        calm = False
        while len(self._waiting) > lag:
            seen = self._waiting.popleft()
            if not math.isfinite(float(seen.loss)):
                self._go_back(seen, state, last_time)
                return False
            calm = self._is_calm(float(seen.loss))
        if due and calm:
            self._copy = (step, [copy.deepcopy(one.state_dict()) for one in state])
        return True

    def _describe(self, seen: _Seen) -> str:
        """A sentence about a loss that is not finite; its batch is written into the run folder."""
        names = [self._names[index] for index in seen.batch.indices]
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        kept = self._keep(seen.batch, names)
        return f"The loss became {float(seen.loss)} in step {seen.step + 1}, on {shown}; {kept}."

    def _keep(self, batch: Batch, names: Sequence[str]) -> str:
        document = {"canvases": batch.canvases, "boxes": batch.boxes, "labels": batch.labels, "pictures": list(names)}
        path = self._path
        try:
            save(document, path)
        except OSError as error:  # the disk is full: what matters more is what is said next
            return f"the batch could not be kept in {path}: {error.strerror}"
        return f"the batch is kept in {path}"

    def _go_back(self, seen: _Seen, state: Sequence[Stateful], last_time: bool) -> None:
        sentence = self._describe(seen)
        if self._copy is None or last_time:
            raise ModelError(sentence, _REMEDY)
        step, copies = self._copy
        self._say(
            f"Warning: {sentence} Going back to the weights after {step} steps, and on at half the learning rate."
        )
        for one, kept in zip(state, copies, strict=True):
            one.load_state_dict(copy.deepcopy(kept))
        self._waiting.clear()

    def _is_calm(self, loss: float) -> bool:
        """Whether a loss is near its running mean, which it becomes part of."""
        calm = math.isnan(self._mean) or loss < _CALM * self._mean
        self._mean = loss if math.isnan(self._mean) else _MEMORY * self._mean + (1 - _MEMORY) * loss
        return calm
