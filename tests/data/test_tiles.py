"""Records of windows."""

from pathlib import Path

import numpy as np

from boxwright.data import PictureRecord, Split
from boxwright.data.tiles import tiled
from boxwright.runtime import InputSpec
from boxwright.runtime.preprocess import Window

SPEC = InputSpec(64, 64, tile=100, overlap=0.2)


def record(width, height, *boxes, crowd=()):
    return PictureRecord(
        7,
        Path("a.jpg"),
        width,
        height,
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.arange(len(boxes)),
        np.isin(np.arange(len(boxes)), crowd),
        np.array([(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes], dtype=np.float64),
    )


def test_each_window_has_the_boxes_that_it_shows_half_of():
    split = Split("train", (record(180, 100, (10, 10, 20, 20), (90, 0, 110, 50), (60, 60, 101, 80)), record(90, 90)))
    parts, numbers = tiled(split, SPEC)
    assert numbers == (0, 0, 0, 1)
    whole, left, right, small = parts.pictures
    assert whole is split.pictures[0]
    assert small is split.pictures[1]
    assert (left.window, right.window) == (Window(0, 0, 100, 100), Window(80, 0, 100, 100))
    assert left.boxes.tolist() == [[10, 10, 20, 20], [90, 0, 100, 50], [60, 60, 100, 80]]
    assert right.boxes.tolist() == [[90, 0, 110, 50], [80, 60, 101, 80]]
    assert right.labels.tolist() == [1, 2]
    assert right.area.tolist() == [1000, 420]


def test_a_crowd_stays_one():
    parts, _ = tiled(Split("train", (record(180, 100, (0, 0, 180, 100), crowd=(0,)),)), SPEC)
    assert all(part.crowd.tolist() == [True] for part in parts.pictures)
