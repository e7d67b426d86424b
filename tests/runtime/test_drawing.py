import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from boxwright.runtime import Detections, PictureError
from boxwright.runtime.drawing import PALETTE, crops, draw_detections, label_places, write_labels


def test_a_box_is_drawn_on_a_copy():
    image = Image.new("RGB", (120, 90))
    drawn = draw_detections(image, Detections([[30, 40, 118, 80]], [0.9], [0]), ["fish"])
    changed = np.argwhere(np.asarray(drawn).any(axis=2))
    assert not np.asarray(image).any()
    assert changed.min(axis=0)[1] <= 30
    assert changed.max(axis=0).tolist() == [80, 118]


def test_a_small_object_in_a_large_picture_can_be_seen():
    drawn = draw_detections(Image.new("RGB", (3000, 2000)), Detections([[500, 500, 530, 530]], [0.9], [0]), ["fish"])
    inside = np.asarray(drawn.crop((500, 500, 531, 531)))
    assert (inside == 0).all(axis=2).mean() > 0.5


def test_no_colour_is_lost_on_white():
    found = Detections([[100, 100, 200, 180]] * len(PALETTE), [0.9] * len(PALETTE), range(len(PALETTE)))
    for at in range(len(PALETTE)):
        one = found.select(np.array([at]))
        drawn = draw_detections(Image.new("RGB", (300, 300), "white"), one, ["fish"] * len(PALETTE))
        assert (np.asarray(drawn.crop((100, 130, 201, 150))) != 255).any()


def test_nothing_found_changes_nothing():
    image = Image.new("RGB", (20, 20), "red")
    assert np.array_equal(draw_detections(image, Detections.empty(), []), image)


def rectangle(place, size):
    return (*place, place[0] + size[0], place[1] + size[1])


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def rows_and_columns(box, size, room):
    """Every place in the four rows of a box, pixel by pixel."""
    left, top, right, bottom = box
    first, last = (min(max(x, 0), room[0] - size[0]) for x in (left, right - size[0]))
    for y in (top - size[1], top, bottom, bottom - size[1]):
        for x in range(min(first, last), max(first, last) + 1):
            yield x, min(max(y, 0), room[1] - size[1])


@st.composite
def labelled(draw):
    room = draw(st.tuples(st.integers(5, 90), st.integers(5, 60)))
    edge = st.integers(-10, 100)
    boxes = draw(st.lists(st.tuples(edge, edge, edge, edge), max_size=12))
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes]
    size = st.tuples(st.integers(1, 40), st.integers(1, 12))
    return boxes, draw(st.lists(size, min_size=len(boxes), max_size=len(boxes))), room


@settings(deadline=None)
@given(labelled())
def test_labels_stay_inside_and_overlap_only_where_no_place_is_free(made):
    boxes, sizes, room = made
    places = label_places(np.array(boxes, float).reshape(-1, 4), sizes, room)
    taken = []
    for box, size, place in zip(boxes, sizes, places, strict=True):
        if place is None:
            assert size[0] > room[0] or size[1] > room[1]
            continue
        mine = rectangle(place, size)
        assert 0 <= mine[0] <= mine[2] <= room[0]
        assert 0 <= mine[1] <= mine[3] <= room[1]
        if any(overlap(mine, other) for other in taken):
            for tried in rows_and_columns(box, size, room):
                assert any(overlap(rectangle(tried, size), other) for other in taken), tried
        taken.append(mine)


def test_labels_of_one_place_are_put_apart():
    boxes = np.array([[20, 30, 80, 70]] * 4, float)
    places = label_places(boxes, [(60, 10)] * 4, (100, 100))
    assert places == [(20, 20), (20, 30), (20, 70), (20, 60)]


def test_three_hundred_boxes_of_one_place_have_each_a_label():
    places = label_places(np.array([[10, 10, 600, 400]] * 300, float), [(50, 14)] * 300, (640, 480))
    assert len(places) == 300
    assert None not in places


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (40, 5), (30, 30), (300, 200)])
def test_any_name_on_any_picture(size):
    image = Image.new("RGB", size)
    names = ["a", "a very long name of a class " * 40, "two\nlines", ""]
    boxes = [[-5, -5, 400, 300], [0, 0, size[0], size[1]], [0, 0, 0, 0], [size[0], size[1], size[0], size[1]]]
    drawn = draw_detections(image, Detections(boxes, [0.9, 0.8, 0.7, 0.6], [0, 1, 2, 3]), names)
    assert drawn.size == size


def test_a_text_that_is_too_wide_is_cut_and_shown():
    image = Image.new("RGB", (40, 40))
    write_labels(
        ImageDraw.Draw(image), np.array([[0.0, 20, 30, 30]]), ["hammerhead"], ["#FFFFFF"], [ImageFont.load_default(12)]
    )
    white = np.argwhere(np.asarray(image).all(axis=2))
    assert white.min(axis=0)[1] == 0
    assert 20 < white.max(axis=0)[1] < 40


def test_a_crop_has_every_pixel_the_box_touches():
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    image = Image.fromarray(np.stack([pixels] * 3, axis=2))
    (part,) = crops(image, np.array([[1.5, 2.0, 4.2, 9.0]]))
    assert np.array_equal(np.asarray(part)[:, :, 0], pixels[2:6, 1:5])
    with pytest.raises(PictureError, match="8 x 6"):
        crops(image, np.array([[8.0, 0, 9, 3]]))
