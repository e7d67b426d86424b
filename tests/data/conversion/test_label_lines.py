"""What the numbers of YOLO lines mean: boxes, outlines, keypoints, oriented boxes; the truth is drawn here."""

import random

import pytest

from boxwright.data.conversion.label_lines import LabelFormat, LabelLine, objects_of, settled
from boxwright.runtime import DataError


def drawn(count, seed):
    """Boxes inside the picture as left, top, width, height in shares."""
    chance = random.Random(seed)
    sides = [(chance.uniform(0.08, 0.4), chance.uniform(0.08, 0.4)) for _ in range(count)]
    return [(chance.uniform(0, 1 - w), chance.uniform(0, 1 - h), w, h) for w, h in sides]


def lines_of(rows):
    return [LabelLine(f"a.txt, line {number}", 1, tuple(row)) for number, row in enumerate(rows, start=1)]


def centre(box):
    x, y, w, h = box
    return [x + w / 2, y + h / 2, w, h]


def with_keypoints(box, count, step, chance):
    x, y, w, h = box
    points = [[x + chance.random() * w, y + chance.random() * h, chance.choice((1, 2))][:step] for _ in range(count)]
    if step == 3:
        points[0] = [0, 0, 0]  # not labelled
    return [*centre(box), *(side for point in points for side in point)]


def outline(box, corners, chance):
    """Points around an ellipse in the box, as people click them: each a bit beside it."""
    import math

    x, y, w, h = box
    start = chance.random() * 7
    angles = [start + 2 * math.pi * number / corners for number in range(corners)]
    return [
        side
        for angle in angles
        for side in (
            x + w / 2 + w / 2 * math.cos(angle) * chance.uniform(0.9, 1),
            y + h / 2 + h / 2 * math.sin(angle) * chance.uniform(0.9, 1),
        )
    ]


def read(rows, tmp_path, **form):
    notes = []
    lines = lines_of(rows)
    decided = settled(lines, LabelFormat(1, **form), tmp_path, notes)
    return [one.bbox for one in objects_of(lines, decided, 1, 1)], notes


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("count", "step"), [(1, 3), (2, 3), (4, 2), (4, 3), (5, 2), (17, 2), (17, 3)])
def test_keypoints_without_kpt_shape_are_no_outlines(tmp_path, count, step, seed):
    boxes = drawn(30, seed)
    chance = random.Random(seed)
    found, notes = read([with_keypoints(box, count, step, chance) for box in boxes], tmp_path)
    assert found == [pytest.approx(box) for box in boxes]
    assert f"{count} keypoint" in notes[0]
    assert "30" in notes[0]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("corners", [3, 4, 5, 6, 7, 8, 10, 13, 20])
def test_outlines_of_equal_length_stay_outlines(tmp_path, corners, seed):
    boxes = drawn(30, seed)
    chance = random.Random(seed)
    rows = [outline(box, corners, chance) for box in boxes]
    found, notes = read(rows, tmp_path)
    assert found == [
        pytest.approx((min(row[::2]), min(row[1::2]), max(row[::2]) - min(row[::2]), max(row[1::2]) - min(row[1::2])))
        for row in rows
    ]
    assert not any("keypoint" in note for note in notes)


def test_small_outlines_that_could_be_boxes_with_keypoints_are_refused(tmp_path):
    chance = random.Random(0)
    rows = [outline((x, 0.3, 0.05, 0.05), 6, chance) for x in (0.3, 0.35, 0.4)]
    with pytest.raises(
        DataError, match=r"12 numbers .* 4 keypoints, or an outline.*kpt_shape: \[4, 2\].*task: segment"
    ):
        read(rows, tmp_path)
    assert len(read(rows, tmp_path, outlines=True)[0]) == 3
    assert len(read(rows, tmp_path, keypoints=8)[0]) == 3


def test_four_points_are_an_oriented_box_and_get_the_box_around_them(tmp_path):
    rows = [[0.5, 0.1, 0.9, 0.5, 0.5, 0.9, 0.1, 0.5], [0.2, 0.2, 0.3, 0.2, 0.3, 0.4, 0.2, 0.4]]
    found, notes = read(rows, tmp_path)
    assert found == [pytest.approx((0.1, 0.1, 0.8, 0.8)), pytest.approx((0.2, 0.2, 0.1, 0.2))]
    assert any("four points" in note and ": 2;" in note for note in notes)


def test_boxes_and_outlines_together_are_counted(tmp_path):
    rows = [*map(centre, drawn(3, 1)), [0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.3, 0.6, 0.1, 0.5], [0, 0, 1, 0, 1, 1]]
    found, notes = read(rows, tmp_path)
    assert len(found) == 5
    assert any("3 boxes and 2 outlines" in note for note in notes)


@pytest.mark.parametrize(("last", "said"), [(0.87, "may be a confidence"), (1.5, "as an angle"), (-0.4, "as an angle")])
def test_a_fifth_number_is_said(tmp_path, last, said):
    with pytest.raises(DataError, match=rf"line 1: 5 numbers after the class, on 2 of 3 lines\. .*{said}"):
        read([[0.5, 0.5, 0.2, 0.2, 0.5], [0.5, 0.5, 0.2, 0.2, last], [0.5, 0.5, 0.2, 0.2]], tmp_path)


def test_corners_instead_of_centre_and_sides_are_said(tmp_path):
    boxes = drawn(20, 3)
    with pytest.raises(DataError, match=r"of 20 boxes leave their picture .* all fit as x1 y1 x2 y2"):
        read([[x, y, x + w, y + h] for x, y, w, h in boxes], tmp_path)
    assert read(list(map(centre, boxes)), tmp_path)[0] == [pytest.approx(box) for box in boxes]


def test_the_left_top_instead_of_the_centre_is_said(tmp_path):
    boxes = [(x / 20, 0.02, 0.3, 0.4) for x in range(10)]
    with pytest.raises(DataError, match="all fit as left, top, width, height"):
        read(boxes, tmp_path)
