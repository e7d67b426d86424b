"""What the numbers of boxes mean, found out again from boxes written in each way."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.data.box_readings import READINGS, BoxEvidence, disagreeing, fitting_reading, outline_bounds, turn_of

SIZE = (640, 480)


def scene(seed, count=12):
    """Boxes x, y, width, height of many sizes, all over a picture."""
    generator = random.Random(seed)
    boxes = []
    for _ in range(count):
        width, height = generator.uniform(8, 300), generator.uniform(8, 220)
        boxes.append((generator.uniform(0, SIZE[0] - width), generator.uniform(0, SIZE[1] - height), width, height))
    return boxes


WRITE = {
    "xywh": lambda x, y, w, h: (x, y, w, h),
    "xyxy": lambda x, y, w, h: (x, y, x + w, y + h),
    "cxcywh": lambda x, y, w, h: (x + w / 2, y + h / 2, w, h),
    "yxhw": lambda x, y, w, h: (y, x, h, w),
    "yxyx": lambda x, y, w, h: (y, x, y + h, x + w),
    "xxyy": lambda x, y, w, h: (x, x + w, y, y + h),
}


def written(reading, box):
    x, y, w, h = box
    if reading.endswith("n"):
        box = (x / SIZE[0], y / SIZE[1], w / SIZE[0], h / SIZE[1])
    return WRITE[reading.removesuffix("n")](*box)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("reading", READINGS)
def test_with_outlines_every_reading_is_found(reading, seed):
    evidence = [BoxEvidence(written(reading, box), SIZE, None, box) for box in scene(seed)]
    assert fitting_reading(evidence) == reading


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("reading", ["xyxy", "xyxyn", "yxyx"])
def test_areas_tell_corners(reading, seed):
    evidence = [BoxEvidence(written(reading, box), SIZE, box[2] * box[3]) for box in scene(seed)]
    assert fitting_reading(evidence) == reading


@pytest.mark.parametrize("seed", range(20))
def test_the_picture_alone_tells_corners(seed):
    evidence = [BoxEvidence(written("xyxy", box), SIZE) for box in scene(seed, 40)]
    assert fitting_reading(evidence) == "xyxy"


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("mask", [1.0, 0.6])
def test_what_cocos_own_boxes_are_is_never_doubted(seed, mask):
    """Whole pixels, areas of masks, some boxes over the edge: as people have them."""
    boxes = [tuple(map(round, box)) for box in scene(seed)]
    boxes[0] = (600, 20, 80, 30)
    evidence = [BoxEvidence(box, SIZE, box[2] * box[3] * mask) for box in boxes]
    assert fitting_reading(evidence) == "xywh"
    assert fitting_reading([BoxEvidence(box, SIZE) for box in boxes]) == "xywh"


@pytest.mark.parametrize("seed", range(20))
def test_percent_of_the_sides_is_found(seed):
    boxes = scene(seed, 20)
    percent = [(100 * x / SIZE[0], 100 * y / SIZE[1], 100 * w / SIZE[0], 100 * h / SIZE[1]) for x, y, w, h in boxes]
    positions, what = disagreeing([BoxEvidence(box, SIZE) for box in percent])
    assert list(positions) == list(range(20))
    assert "percent" in what
    small = [BoxEvidence(box, (120, 120)) for box in percent]  # here they may well be pixels
    corner = [BoxEvidence((x / 4, y / 4, w / 4, h / 4), SIZE) for x, y, w, h in percent]
    for sound in (small, corner, [BoxEvidence(box, SIZE) for box in boxes]):
        assert disagreeing(sound) == ((), "")


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6, allow_nan=False)] * 4), max_size=6))
def test_any_numbers_have_a_reading(boxes):
    assert fitting_reading([BoxEvidence(box, SIZE) for box in boxes]) in READINGS


@pytest.mark.parametrize("reading", READINGS)
def test_reading_what_was_written_gives_the_box(reading):
    for box in scene(0):
        assert READINGS[reading].box(written(reading, box), SIZE) == pytest.approx(box)


def test_outlines_of_all_kinds():
    assert outline_bounds([[1, 2, 5, 2, 5, 9]]) == (1, 2, 4, 7)
    assert outline_bounds([1, 2, 5, 2, 5, 9]) == (1, 2, 4, 7)
    assert outline_bounds([[1, 2, 5, 2, 5, 9], [0, 3, 2, 3, 2, 4]]) == (0, 2, 5, 7)
    for other in (None, [], "1 2 3", {"counts": [1]}, [[]], [[1, 2, 3]], [[1, 2, 3, 4, 5, "6"]], 7, [float("nan")] * 6):
        assert outline_bounds(other) is None


def test_turned_boxes_are_those_that_do_not_enclose_their_outline():
    turned = {"bbox": [10, 10, 20, 10], "attributes": {"rotation": 30.0}}
    assert turn_of(turned) == 30.0
    assert turn_of({**turned, "segmentation": [[10, 10, 30, 10, 30, 20]]}) == 0.0
    assert turn_of({**turned, "segmentation": [[0, 0, 40, 10, 30, 40]]}) == 30.0
    for angle in (0, 180.0, 360, 0.1, None, "30", float("nan"), True):
        assert turn_of({**turned, "attributes": {"rotation": angle}}) == 0.0
    assert turn_of({"bbox": [1, 2, 3, 4]}) == 0.0
