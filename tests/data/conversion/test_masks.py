import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as pycoco

from boxwright.data.conversion.masks import mask_bounds, mask_size


def runs_of(mask):
    """Lengths of the empty and filled runs down the columns, by counting one pixel after the other."""
    runs, filled = [0], 0
    for pixel in mask.T.ravel():
        if pixel != filled:
            runs.append(0)
            filled = pixel
        runs[-1] += 1
    return runs


@given(
    width=st.integers(1, 30),
    height=st.integers(1, 30),
    share=st.sampled_from([0.005, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 999),
)
def test_the_bounds_are_those_of_pycocotools(width, height, share, seed):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    encoded = pycoco.encode(np.asfortranarray(mask))
    expected = tuple(pycoco.toBbox(encoded)) if mask.any() else None
    compressed = {"size": [height, width], "counts": encoded["counts"].decode()}
    assert mask_bounds(compressed) == expected
    assert mask_bounds({"size": [height, width], "counts": runs_of(mask)}) == expected
    assert mask_size(compressed) == (width, height)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        [[1, 2, 3, 4, 5, 6]],
        {},
        {"size": [4, 4]},
        {"size": [4, 4], "counts": [0, 15]},  # one pixel less than the size
        {"size": [4, 4], "counts": [0, 17]},
        {"size": [4, 4], "counts": [20, -4]},
        {"size": [4, 4], "counts": [0, "16"]},
        {"size": [4, 4], "counts": "µ"},
        {"size": [4, 4], "counts": "P"},  # ends within a number
        {"size": [4, 4], "counts": 16},
        {"size": [4], "counts": [0, 16]},
        {"size": [0, 4], "counts": []},
        {"size": "4x4", "counts": [0, 16]},
    ],
)
def test_what_is_no_full_mask_has_no_bounds(value):
    assert mask_bounds(value) is None
