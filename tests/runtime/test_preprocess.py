import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.runtime import Detections, InputSpec, Placement, postprocess, preprocess

SIDES = st.integers(1, 700)


@given(width=SIDES, height=SIDES, resize=st.sampled_from(["letterbox", "stretch"]))
def test_every_picture_fits_its_canvas(width, height, resize):
    spec = InputSpec(96, 160, resize)
    canvas, placement = preprocess(np.zeros((height, width, 3), np.uint8), spec)
    assert canvas.shape == (3, 96, 160)
    assert canvas.dtype == np.uint8
    far = placement.to_canvas(np.array([[0, 0, width, height]]))[0]
    assert far[2] <= 160 + 1e-3
    assert far[3] <= 96 + 1e-3


@given(width=SIDES, height=SIDES, corners=st.tuples(*[st.floats(0, 1)] * 4))
def test_the_inverse_brings_boxes_back(width, height, corners):
    placement = preprocess(np.zeros((height, width, 3), np.uint8), InputSpec(96, 160))[1]
    x = sorted([corners[0] * width, corners[1] * width])
    y = sorted([corners[2] * height, corners[3] * height])
    box = np.array([[x[0], y[0], x[1], y[1]]])
    assert np.allclose(placement.to_picture(placement.to_canvas(box)), box, atol=1e-3 * max(width, height))


def test_letterbox_keeps_proportions_and_pads_right_and_below():
    canvas, placement = preprocess(np.full((50, 100, 3), 200, np.uint8), InputSpec(64, 64))
    assert (placement.scale_x, placement.scale_y) == (0.64, 0.64)
    assert (canvas[:, :32] == 200).all()
    assert (canvas[:, 32:] == np.array([124, 116, 104])[:, None, None]).all()


def test_stretch_fills_the_canvas():
    canvas, placement = preprocess(np.full((50, 100, 3), 200, np.uint8), InputSpec(64, 64, "stretch"))
    assert (placement.scale_x, placement.scale_y) == (0.64, 1.28)
    assert (canvas == 200).all()


def test_shrinking_averages_instead_of_picking():
    checkerboard = np.indices((640, 640)).sum(axis=0) % 2 * 255
    picture = np.repeat(checkerboard[..., None], 3, axis=2).astype(np.uint8)
    canvas = preprocess(picture, InputSpec(64, 64))[0]
    assert np.abs(canvas[:, 2:-2, 2:-2].astype(int) - 127).max() <= 3


def test_detections_in_the_padding_go_and_others_are_clipped():
    placement = Placement(width=100, height=50, scale_x=0.64, scale_y=0.64)
    found = Detections([[10, 10, 90, 90], [5, 40, 20, 60]], [0.9, 0.8], [0, 1])
    kept = postprocess(found, placement)
    assert kept.labels.tolist() == [0]
    assert kept.boxes[0] == pytest.approx([15.625, 15.625, 100, 50])
