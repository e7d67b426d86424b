import pytest
import torch
from torch import nn

from boxwright.models.family import ParameterGroup
from boxwright.training.optimization import Optimization


def groups_of(network):
    return [ParameterGroup([one for one in network.parameters() if one.requires_grad])]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_norms_and_biases_do_not_decay_and_frozen_parts_stay(optimizer):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
    network[2].requires_grad_(False)
    configured = Optimization(optimizer, 0.1, 0.05, 0.2).configure(groups_of(network), steps=10)
    decays = {len(group["params"]): group["weight_decay"] for group in configured["optimizer"].param_groups}
    assert decays == {1: 0.05, 3: 0.0}


@pytest.mark.parametrize("warmup", [0.001, 0.1, 0.8, 0.999])
@pytest.mark.parametrize("steps", [*range(1, 25), 100])
def test_any_number_of_steps_can_be_scheduled(steps, warmup):
    network = nn.Linear(2, 2)
    configured = Optimization("adamw", 0.1, 0.0, warmup).configure(groups_of(network), steps)
    for _ in range(steps):
        network(torch.ones(2)).sum().backward()
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    assert 0 <= configured["optimizer"].param_groups[0]["lr"] <= 0.1


def test_a_long_warmup_is_kept():
    configured = Optimization("adamw", 0.1, 0.0, 0.8).configure(groups_of(nn.Linear(2, 2)), 100)
    schedule = configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(100):
        rates.append(configured["optimizer"].param_groups[0]["lr"])
        configured["optimizer"].step()
        schedule.step()
    assert rates.index(max(rates)) in (78, 79, 80)


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    network = nn.Linear(2, 2)
    configured = Optimization("adamw", 0.1, 0.0, 0.2).configure(groups_of(network), steps=20)
    rates = []
    for _ in range(20):
        rates.append(configured["optimizer"].param_groups[0]["lr"])
        network(torch.ones(2)).sum().backward()
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) in (3, 4)
    assert rates[-1] < 1e-4


def test_a_group_has_a_rate_of_its_own():
    backbone, head = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [ParameterGroup(list(head.parameters())), ParameterGroup(list(backbone.parameters()), rate=0.1)]
    configured = Optimization("adamw", 0.1, 0.05, 0.5).configure(groups, steps=10)
    peaks = [0.0] * 4
    for _ in range(10):
        rates = [group["lr"] for group in configured["optimizer"].param_groups]
        peaks = [max(pair) for pair in zip(peaks, rates, strict=True)]
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    assert peaks == pytest.approx([0.1, 0.1, 0.01, 0.01])
