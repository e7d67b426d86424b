import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.data.sampling import draw, repeat_factors


def labels_of(*pictures):
    return [np.array(one, dtype=np.int64) for one in pictures]


def test_a_rare_class_makes_its_pictures_come_again():
    """By hand: class 1 is in 1 of 4 pictures, so sqrt(.5 / .25) = 1.414; class 0 is in 3 of 4."""
    factors = repeat_factors(labels_of([0, 0, 1], [0], [0, 0], []), 0.5)
    assert factors.tolist() == pytest.approx([2**0.5, 1, 1, 1])


def test_lvis_threshold_repeats_nothing_that_is_in_a_thousandth_of_the_pictures():
    assert (repeat_factors(labels_of([0], *[[1]] * 999), 0.001) == 1).all()
    assert repeat_factors(labels_of([0], *[[1]] * 3999), 0.001)[0] == pytest.approx(2)


def test_pictures_without_boxes_come_once():
    assert repeat_factors(labels_of([], []), 0.5).tolist() == [1, 1]


@given(st.lists(st.floats(0.05, 5), min_size=1, max_size=30), st.integers(1, 100), st.integers(0, 1000))
def test_each_picture_comes_as_often_as_its_share_rounded_up_or_down(shares, count, seed):
    shares = np.array(shares)
    drawn = draw(shares, count, np.random.default_rng(seed))
    assert len(drawn) == len(set(drawn.tolist())) == count  # a repetition has a number of its own
    often = np.bincount(drawn % len(shares), minlength=len(shares))
    wanted = shares / shares.sum() * count
    assert (often >= np.floor(wanted - 1e-9)).all()
    assert (often <= np.ceil(wanted + 1e-9)).all()


def test_repetitions_are_numbered_without_gaps():
    drawn = draw(np.array([1.0, 4.0]), 5, np.random.default_rng(0))
    assert sorted(drawn.tolist()) == [0, 1, 3, 5, 7]


def test_chance_is_even_over_epochs():
    shares = np.array([1.5, 1.0, 1.0, 0.5])
    often = sum(np.bincount(draw(shares, 4, np.random.default_rng(seed)) % 4, minlength=4) for seed in range(2000))
    assert (often / 2000).tolist() == pytest.approx(shares.tolist(), abs=0.05)
