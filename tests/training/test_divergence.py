"""Where a training goes back to if its loss is no longer a number. Trainings that do so are in test_recipe.py."""

import math

import pytest
import torch

from boxwright.data.dataset import Batch
from boxwright.training.divergence import LossGuard


class OnGpu:
    """A loss as a GPU has it, whose value is read later."""

    device = torch.device("cuda")

    def __init__(self, value):
        self.value = value

    def detach(self):
        return self

    def to(self, device, non_blocking):
        return torch.tensor(self.value)


class Weights:
    """One weight that every step of the optimizer changes."""

    def __init__(self):
        self.value = torch.zeros(1)

    def state_dict(self):
        return {"value": self.value.clone()}

    def load_state_dict(self, state):
        self.value = state["value"]


@pytest.mark.parametrize("make", [OnGpu, torch.tensor])
@pytest.mark.parametrize("bad", [*range(3, 8), *range(46, 58)])
def test_what_it_goes_back_to_is_finite(tmp_path, make, bad):
    """Also if the loss of the step before the copy was not read yet."""
    weights, told = Weights(), []
    guard = LossGuard(["a.jpg"], tmp_path, told.append)
    batch = Batch(torch.zeros(1, 3, 2, 2), [torch.zeros(0, 4)], [torch.zeros(0)], [0], [])
    for step in range(bad + 3):
        loss = math.nan if step >= bad else 1.0
        if not guard.passes(make(loss), batch, step, [weights], last_time=False):
            break
        weights.value = weights.value + loss
    assert len(told) == 1
    assert f"The loss became nan in step {bad + 1}" in told[0]
    assert weights.value.isfinite()
    assert bad - 55 <= float(weights.value) <= bad
