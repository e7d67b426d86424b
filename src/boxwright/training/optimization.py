"""Optimizer and learning-rate schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from boxwright.models.family import ParameterGroup

__all__ = ["Optimization"]


@dataclass(frozen=True)
class Optimization:
    """How the weights are updated.

    Attributes:
        optimizer: ``adamw`` or ``sgd``.
        learning_rate: peak; a group's factor multiplies it.
        weight_decay: of weights with more than one dimension; biases and norms have none.
        warmup: share of the steps in which the rate rises, 0..1; then it falls along a cosine
            (Smith and Topin, "Super-convergence", 2017).
    """

    optimizer: str
    learning_rate: float
    weight_decay: float
    warmup: float

    def configure(self, groups: Sequence[ParameterGroup], steps: int) -> dict[str, Any]:
        """What Lightning's ``configure_optimizers`` returns.

        Args:
            groups: the parameters that learn; see ``Detector.parameter_groups``.
            steps: optimizer steps in the whole training.
        """
        optimizer = self._optimizer(groups)
        total = max(steps, 4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=total,
            # OneCycleLR divides by the steps of either phase: leave each at least one
            pct_start=min(max(self.warmup, 2 / total), 1 - 1 / total),
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _optimizer(self, groups: Sequence[ParameterGroup]) -> torch.optim.Optimizer:
        parts = []
        for group in groups:
            rate = self.learning_rate * group.rate
            weights = [one for one in group.parameters if one.ndim > 1]
            others = [one for one in group.parameters if one.ndim <= 1]
            parts.append({"params": weights, "weight_decay": self.weight_decay, "lr": rate})
            parts.append({"params": others, "weight_decay": 0.0, "lr": rate})
        parts = [part for part in parts if part["params"]]
        if self.optimizer == "sgd":
            return torch.optim.SGD(parts, lr=self.learning_rate, momentum=0.9, fused=True)
        return torch.optim.AdamW(parts, lr=self.learning_rate, fused=True)
