"""A moving average of the weights: what is evaluated, saved and served."""

from __future__ import annotations

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

__all__ = ["MovingAverage"]


class MovingAverage(WeightAveraging):
    """Averages the weights exponentially over the steps of the optimizer (Polyak and Juditsky, 1992).

    Young averages forget faster, so that the first epochs are not those of the random start: after n steps the decay is
    at most (1 + n) / (10 + n), TensorFlow's rule.

    Args:
        decay: per step, 0..1.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        super().__init__(multi_avg_fn=self._update)

    @property
    def averages(self) -> AveragedModel:
        """The averaged weights."""
        assert self._average_model is not None, "made when the fit begins"
        return self._average_model

    def _update(self, averages: list[Tensor], values: list[Tensor], steps: Tensor | int) -> None:
        count = int(steps)
        decay = min(self._decay, (1 + count) / (10 + count))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1.0 - decay)
            return
        for average, value in zip(averages, values, strict=True):  # counters
            average.copy_(value)
