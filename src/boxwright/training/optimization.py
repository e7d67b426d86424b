"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from boxwright.models.family import ParameterGroup

__all__ = ["OneCycle", "Optimization"]

_FIRST = 1 / 25  # of the peak, as in Smith and Topin, "Super-convergence", 2017
_LAST = _FIRST / 1e4


class OneCycle:
    """The learning rate as a factor of its peak: up along a cosine, then down along another, to nearly nothing.

    Smith and Topin, "Super-convergence", 2017. The number of steps may be planned anew while it runs: what is left of
    the cycle is then spread over what is left of the steps.

    Args:
        steps: of the optimizer, in the whole training.
        warmup: share of the cycle in which the rate rises, 0..1.
    """

    def __init__(self, steps: int, warmup: float) -> None:
        least = max(steps, 4)
        # leave either phase at least one step
        self._warmup = min(max(warmup * least - 1, 1.0), least - 2.0) / (least - 1)
        self._planned = (0, 0.0, steps - 1)  # at this step, this share of the cycle is done; and the last step
        self._scale = 1.0

    def __call__(self, step: int) -> float:
        """The factor of a step, counted from 0."""
        done = min(self.done(step), 1.0)
        if done < self._warmup:
            return self._scale * _between(_FIRST, 1.0, done / self._warmup)
        return self._scale * _between(1.0, _LAST, (done - self._warmup) / (1.0 - self._warmup))

    @property
    def steps(self) -> int:
        """Of the optimizer, in the whole training as it is planned."""
        return self._planned[2] + 1

    def done(self, step: int) -> float:
        """Which share of the cycle is done at a step, 0..1."""
        begun, share, last = self._planned
        return share + (1.0 - share) * (step - begun) / max(last - begun, 1)

    def plan(self, step: int, steps: int) -> None:
        """Spread the rest of the cycle, from ``step`` on, over a training of ``steps`` in all.

        Of a cycle that has ended nothing is left: the longer training goes on where one of its length would be.
        """
        done = self.done(step)
        if done >= 1.0:
            done = min(step / max(steps - 1, 1), 1.0)
        self._planned = (step, done, max(steps - 1, step))

    def halve(self) -> None:
        """Half the rate from now on."""
        self._scale /= 2

    @property
    def halved(self) -> bool:
        """Whether the rate was halved."""
        return self._scale < 1.0


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * min(share, 1.0))) / 2


@dataclass(frozen=True)
class Optimization:
    """How the weights are updated.

    Attributes:
        optimizer: ``adamw`` or ``sgd``.
        learning_rate: peak; a group's factor multiplies it.
        weight_decay: of weights with more than one dimension; biases and norms have none.
        warmup: share of the steps in which the rate rises, 0..1; see ``OneCycle``.
        backbone_rate: factor of the backbone's learning rate; None for the architecture's.
        layer_decay: factor from each backbone stage to the one before it, 0..1.
    """

    optimizer: str
    learning_rate: float
    weight_decay: float
    warmup: float
    backbone_rate: float | None = None
    layer_decay: float = 1.0

    def configure(self, groups: Sequence[ParameterGroup], steps: int) -> dict[str, Any]:
        """What Lightning's ``configure_optimizers`` returns; the schedule's ``lr_lambdas`` are one ``OneCycle``.

        Args:
            groups: the parameters that learn; see ``Detector.parameter_groups``.
            steps: optimizer steps in the whole training.
        """
        optimizer = self._optimizer(groups)
        cycle = OneCycle(steps, self.warmup)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [cycle] * len(optimizer.param_groups))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _optimizer(self, groups: Sequence[ParameterGroup]) -> torch.optim.Optimizer:
        parts = []
        for rate, parameters in _by_rate(groups).items():
            weights = [one for one in parameters if one.ndim > 1]
            others = [one for one in parameters if one.ndim <= 1]
            parts.append({"params": weights, "weight_decay": self.weight_decay, "lr": self.learning_rate * rate})
            parts.append({"params": others, "weight_decay": 0.0, "lr": self.learning_rate * rate})
        parts = [part for part in parts if part["params"]]
        if self.optimizer == "sgd":
            return torch.optim.SGD(parts, lr=self.learning_rate, momentum=0.9, fused=True)
        return torch.optim.AdamW(parts, lr=self.learning_rate, fused=True)


def _by_rate(groups: Sequence[ParameterGroup]) -> dict[float, list[nn.Parameter]]:
    """All parameters of one rate together: the optimizer steps once per group."""
    together: dict[float, list[nn.Parameter]] = {}
    for group in groups:
        together.setdefault(group.rate, []).extend(group.parameters)
    return together
