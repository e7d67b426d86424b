import numpy as np
from PIL import Image

from boxwright.inputs.drawing import draw_detections
from boxwright.runtime import Detections


def test_a_box_is_drawn_on_a_copy():
    image = Image.new("RGB", (120, 90))
    drawn = draw_detections(image, Detections([[30, 40, 118, 80]], [0.9], [0]), ["fish"])
    changed = np.argwhere(np.asarray(drawn).any(axis=2))
    assert not np.asarray(image).any()
    assert changed.min(axis=0)[1] <= 30
    assert changed.max(axis=0).tolist() == [80, 118]


def test_nothing_found_changes_nothing():
    image = Image.new("RGB", (20, 20), "red")
    assert np.array_equal(draw_detections(image, Detections.empty(), []), image)
