"""The intervals hold the truth as often as they say: measured where the truth is known."""

import numpy as np
import pytest

from boxwright.metrics.bootstrap import bootstrap_fbeta, bootstrap_map, intervals
from support.simulation import World

PICTURES, REPETITIONS, RESAMPLES, THRESHOLD = 100, 500, 150, 0.35
WORLD = World()


def test_the_simulation_tends_to_its_known_answer():
    matches = WORLD.draw(20_000, seed=0)
    once = np.ones((1, 20_000), np.uint8)
    precision, fbeta = bootstrap_map(matches, once), bootstrap_fbeta(matches, THRESHOLD, once)
    assert precision.figures["map"][0] == pytest.approx(WORLD.true_map(), abs=0.004)
    assert precision.figures["map_50"][0] == pytest.approx(WORLD.true_map((0.5,)), abs=0.006)
    assert fbeta.figures["f2"][0] == pytest.approx(WORLD.true_fbeta(THRESHOLD), abs=0.004)
    assert fbeta.by_class["f2"][0, 2] == pytest.approx(WORLD.true_fbeta(THRESHOLD, [2]), abs=0.008)


def test_95_percent_intervals_hold_the_truth_in_92_to_98_percent_of_cases():
    truth = {"map": WORLD.true_map(), "f2": WORLD.true_fbeta(THRESHOLD)}
    held = dict.fromkeys(truth, 0)
    for seed in range(REPETITIONS):
        measured = intervals(WORLD.draw(PICTURES, seed), THRESHOLD, RESAMPLES, seed).figures
        for figure, value in truth.items():
            held[figure] += value in measured[figure]
    for figure, times in held.items():
        assert 0.92 <= times / REPETITIONS <= 0.98, (figure, times)
