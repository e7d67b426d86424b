"""Optimizer and learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["Optimization"]


@dataclass(frozen=True)
class Optimization:
    """How the weights are moved.

    Attributes:
        optimizer: ``adamw`` or ``sgd``.
        learning_rate: peak.
        weight_decay: of weights with more than one dimension; biases and norms have none.
        warmup: share of the steps in which the rate rises, 0..1; then it falls along a cosine
            (Smith and Topin, "Super-convergence", 2017).
    """

    optimizer: str
    learning_rate: float
    weight_decay: float
    warmup: float

    def configure(self, network: nn.Module, steps: int) -> dict[str, Any]:
        """What Lightning's ``configure_optimizers`` returns, for the parameters that learn.

        Args:
            network: its parameters with ``requires_grad``.
            steps: optimizer steps in the whole training.
        """
        optimizer = self._optimizer(network)
        total = max(steps, 4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.learning_rate,
            total_steps=total,
            # OneCycleLR divides by the steps of either phase: leave each at least one
            pct_start=min(max(self.warmup, 2 / total), 1 - 1 / total),
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        groups = [
            {"params": [one for one in learning if one.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [one for one in learning if one.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=self.learning_rate, momentum=0.9, fused=True)
        return torch.optim.AdamW(groups, lr=self.learning_rate, fused=True)
