import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxwright.runtime import Detections
from boxwright.tracking.media import (
    CLASS_COLUMNS,
    LONGEST_SIDE,
    ClassRow,
    Curve,
    TrackedPicture,
    choose_pictures,
    shown_after,
)

CURVE = Curve("dog", np.array([0.9, 0.6, 0.2]), np.array([1.0, 0.5, 0.4]), np.array([0.25, 0.25, 0.5]), 4)


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 16))
def test_objects_go_first_and_the_number_is_kept(objects, most):
    chosen = choose_pictures(objects, most)
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) == min(most, len(objects))
    filled = sum(map(bool, objects))
    assert sum(bool(objects[index]) for index in chosen) == min(filled, most)


def test_they_are_spread_over_the_whole_split():
    assert choose_pictures([1] * 100, 4) == (12, 37, 62, 87)
    assert choose_pictures([0, 1, 0, 0, 1, 0], 4) == (1, 2, 4, 5)
    gaps = np.diff(choose_pictures([1] * 1000, 16))
    assert set(gaps) <= {62, 63}


def test_pictures_are_shown_ever_more_rarely():
    assert [epoch + 1 for epoch in range(100) if shown_after(epoch)] == [1, 2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    ("size", "small"), [((1280, 960), (640, 480)), ((300, 1000), (192, 640)), ((64, 48), (64, 48))]
)
def test_boxes_shrink_with_their_picture(size, small):
    whole = np.array([[0.0, 0.0, *size], [10.0, 20.0, 30.0, 40.0]])
    detections = Detections(whole, np.array([0.9, 0.8]), np.array([0, 1]))
    picture = TrackedPicture(0, "a.jpg", Image.new("RGB", size), whole, np.array([0, 1]), detections).shrunk()
    assert picture.image.size == small
    assert max(picture.image.size) <= LONGEST_SIDE
    assert picture.boxes[0].tolist() == pytest.approx([0, 0, *small])
    scale = np.array([small[0] / size[0], small[1] / size[1]] * 2)
    assert picture.boxes[1] == pytest.approx(whole[1] * scale)
    assert picture.detections.boxes == pytest.approx(picture.boxes, rel=1e-6)
    assert picture.detections.scores.tolist() == pytest.approx([0.9, 0.8])


def test_a_curve_is_read_at_any_threshold():
    precision, recall = CURVE.at(np.array([1.0, 0.9, 0.61, 0.6, 0.2, 0.0]))
    assert precision.tolist() == [1.0, 1.0, 1.0, 0.5, 0.4, 0.4]
    assert recall.tolist() == [0.0, 0.25, 0.25, 0.25, 0.5, 0.5]


def test_a_long_curve_keeps_its_ends():
    scores = np.linspace(1, 0, 1000)
    thin = Curve("dog", scores, 1 - scores, scores, 4).thinned(101)
    assert len(thin.thresholds) == len(thin.precision) == len(thin.recall) == 101
    assert (thin.thresholds[0], thin.thresholds[-1]) == (1, 0)
    assert np.allclose(thin.precision, 1 - thin.thresholds)
    assert CURVE.thinned(3) is CURVE


def test_a_row_fits_its_heads():
    row = ClassRow("dog", 4, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert dict(zip(CLASS_COLUMNS, row, strict=True)) == {
        "class": "dog", "boxes": 4, "AP": 0.1, "AP50": 0.2, "F2": 0.3, "precision": 0.4, "recall": 0.5
    }  # fmt: skip
