import numpy as np
import pytest

from boxwright.metrics.interval import Interval, corrected_interval, percentile_interval


def test_without_bias_it_is_students_interval():
    """Of a mean of 20 numbers the bootstrap's standard error is theirs, and t at 19 degrees is 2.093."""
    generator = np.random.default_rng(0)
    values = generator.normal(0.5, 0.05, 20)
    samples = values[generator.integers(20, size=(200_000, 20))].mean(axis=1)
    interval = corrected_interval(values.mean(), samples, 20)
    half = 2.093 * values.std(ddof=1) / np.sqrt(20)
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), rel=0.005)


def test_the_bias_that_resamples_show_is_taken_off_more_than_twice():
    samples = np.array([0.4, 0.54, 0.68] * 50)
    interval = corrected_interval(0.5, samples, 100)
    assert (interval.low + interval.high) / 2 == pytest.approx(0.5 - (1 + np.sqrt(2)) * 0.04)


def test_it_holds_the_estimate_however_large_the_bias():
    for bias in (0.04, -0.04):
        samples = 0.5 + bias + np.array([-0.001, 0.0, 0.001] * 50)
        interval = corrected_interval(0.5, samples, 100)
        assert (interval.high if bias > 0 else interval.low) == 0.5
        assert 0.5 - (1 + np.sqrt(2)) * bias in interval


def test_it_stays_within_what_a_figure_can_be():
    samples = np.array([0.9, 1.0] * 50)
    assert corrected_interval(1.0, samples, 50).high == 1.0
    assert corrected_interval(-0.99, -samples, 50, low=-1.0).low == -1.0


def test_undefined_resamples_are_left_out():
    samples = np.array([0.4, 0.5, 0.6] * 20)
    with_gaps = np.append(samples, [np.nan] * 7)
    assert corrected_interval(0.5, with_gaps, 30) == corrected_interval(0.5, samples, 30)


@pytest.mark.parametrize(
    ("estimate", "samples", "units"),
    [(np.nan, [0.5, 0.6], 9), (0.5, [np.nan, np.nan], 9), (0.5, [0.5, 0.6], 1), (0.5, [], 9)],
)
def test_without_anything_to_go_by_it_is_nan(estimate, samples, units):
    interval = corrected_interval(estimate, np.array(samples, np.float64), units)
    assert np.isnan([interval.low, interval.high]).all()
    assert 0.5 not in interval


def test_percentiles_are_samples():
    samples = np.arange(1001) / 1000
    assert percentile_interval(samples) == Interval(0.025, 0.975)
    assert percentile_interval(np.array([0.25])) == Interval(0.25, 0.25)
    assert np.isnan(percentile_interval(np.zeros(0)).low)
