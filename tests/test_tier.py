"""The simulated serving tier (``benchmarks/tier.py``) gives what queueing theory says."""

import math
import statistics
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from tier import Tier, calibrated, simulate


def constant(seconds):
    return lambda draw: seconds


def exponential(mean):
    return lambda draw: draw.expovariate(1 / mean)


def waits(tier, requests, seed):
    """Mean time in the system less that of service, in service times of one second."""
    return statistics.mean(simulate(tier, requests / tier.rate, seed).latencies) - 1


def near(tier, expected, requests=10_000, runs=6):
    """Whether independent runs agree with an expectation, within four standard errors of their mean."""
    found = [waits(tier, requests, seed) for seed in range(runs)]
    error = statistics.stdev(found) / math.sqrt(runs)
    assert error < 0.1 * expected, "too few to tell"
    assert abs(statistics.mean(found) - expected) < 4 * error


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_mean_wait_of_one_replica_with_random_service_times(load):
    near(Tier(load, exponential(1.0)), load / (1 - load))  # M/M/1


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_mean_wait_of_one_replica_with_equal_service_times(load):
    near(Tier(load, constant(1.0)), load / (2 * (1 - load)))  # M/D/1, Pollaczek and Khinchine


def test_quantiles_of_one_replica_with_random_service_times():
    found = simulate(Tier(0.5, exponential(1.0)), 100_000, 3)  # the time in the system is exponential, mean 2
    assert found.quantile(0.5) == pytest.approx(2 * math.log(2), rel=0.05)
    assert found.quantile(0.99) == pytest.approx(2 * math.log(100), rel=0.1)


def test_many_replicas_with_little_load_are_hardly_waited_for():
    found = simulate(Tier(10.0, constant(1.0), replicas=200, hop=0.5), 500, 0)
    assert found.quantile(0.5) == 1.5
    assert statistics.mean(found.latencies) < 1.51


def test_the_same_seed_gives_the_same():
    tier = Tier(5.0, exponential(1.0), 8, life=50.0, start=5.0)
    assert simulate(tier, 200, 1) == simulate(tier, 200, 1)
    assert simulate(tier, 200, 1) != simulate(tier, 200, 2)


def test_batches_bear_what_single_pictures_do_not():
    rate = 2.0  # twice what one replica does, one by one
    single = simulate(Tier(rate, constant(1.0), deadline=20.0), 2000)
    batches = simulate(Tier(rate, constant(1.0), batch=8, further=0.1, deadline=20.0), 2000)
    assert single.refused == pytest.approx(2000, rel=0.1)  # every second one
    assert batches.refused == 0
    assert max(batches.latencies) < 6


def test_batches_that_gain_nothing_bear_no_more():
    found = simulate(Tier(2.0, constant(1.0), batch=8, further=1.0, deadline=20.0), 2000)
    assert found.refused == pytest.approx(2000, rel=0.1)


def test_what_lost_replicas_had_is_answered_by_others():
    found = simulate(Tier(50.0, constant(0.1), 10, life=20.0, start=5.0), 400, 0)
    assert found.repeated > 50
    assert found.refused == 0
    assert len(found.latencies) == pytest.approx(0.9 * 50 * 400, rel=0.05)
    assert min(found.replicas) < 10
    assert max(found.replicas) <= 10


def test_replicas_come_with_load_and_go_without():
    tier = Tier(40.0, constant(0.1), 1, start=2.0, target=2.0, patience=10.0, most=6)
    found = simulate(tier, 120, 0)
    assert found.replicas[0] == 1
    assert max(found.replicas) in (5, 6)
    idle = simulate(Tier(0.5, constant(0.1), 6, start=2.0, target=2.0, patience=10.0), 120, 0)
    assert idle.replicas[0] == 6
    assert idle.replicas[-1] == 1


def test_a_tier_of_a_server_that_was_measured():
    """Eight milliseconds of a latency of ten hold up the next request."""
    tier = calibrated([0.009, 0.011], most=125.0, rate=50.0)
    assert tier.hop == pytest.approx(0.002)
    found = simulate(tier, 1000)
    assert min(found.latencies) == pytest.approx(0.8 * 0.009 + 0.002)
    slow = calibrated([0.010], most=80.0, rate=50.0)  # slower under load: all of it does, and no more
    assert (slow.hop, simulate(slow, 10).latencies[0]) == (0.0, pytest.approx(0.010))
