import pytest
import torch
from torch import nn

from boxwright.models.family import ParameterGroup
from boxwright.training.optimization import OneCycle, Optimization


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


def test_the_cycle_is_the_one_of_pytorch():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=50, pct_start=0.2, cycle_momentum=False)
    own, rates = OneCycle(50, 0.2), []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert [own(step) for step in range(50)] == pytest.approx(rates, abs=1e-9)


@pytest.mark.parametrize("steps", [60, 200])
def test_a_new_plan_goes_on_where_the_cycle_was_and_ends_at_its_own_end(steps):
    cycle = OneCycle(100, 0.1)
    before = cycle(40)
    cycle.plan(40, steps)
    assert cycle(40) == before
    rates = [cycle(step) for step in range(40, steps)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 1e-4


def test_a_cycle_that_has_ended_goes_on_where_a_longer_one_would_be():
    cycle = OneCycle(100, 0.1)
    cycle.plan(100, 200)
    assert cycle(100) == pytest.approx(OneCycle(200, 0.1)(100), rel=0.02)
    assert cycle(199) < 1e-4


def test_beyond_its_end_the_rate_stays_at_nothing():
    cycle = OneCycle(10, 0.1)
    cycle.plan(9, 9)
    assert 0 <= cycle(9) < 1e-4
    assert 0 <= cycle(30) < 1e-4


def test_half_the_rate_stays_half_and_is_saved():
    configured = Optimization("adamw", 0.1, 0.0, 0.1).configure(groups_of(nn.Linear(2, 2)), 100)
    schedule = configured["lr_scheduler"]["scheduler"]
    whole = OneCycle(100, 0.1)
    schedule.lr_lambdas[0].halve()
    assert schedule.lr_lambdas[0](50) == whole(50) / 2
    again = Optimization("adamw", 0.1, 0.0, 0.1).configure(groups_of(nn.Linear(2, 2)), 100)["lr_scheduler"]["scheduler"]
    again.load_state_dict(schedule.state_dict())
    assert again.lr_lambdas[0](50) == whole(50) / 2


def test_groups_of_one_rate_are_stepped_together():
    groups = [ParameterGroup([nn.Parameter(torch.zeros(2, 2))], rate) for rate in (1.0, 0.5, 1.0)]
    configured = Optimization("adamw", 0.1, 0.0, 0.1).configure(groups, 10)
    assert [len(group["params"]) for group in configured["optimizer"].param_groups] == [2, 1]
