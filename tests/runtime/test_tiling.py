"""Windows of large pictures: together they see every object, and their detections are those of one picture."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxwright.runtime import ConfigError, Detections, InputSpec, prepare, preprocess
from boxwright.runtime.preprocess import Window, placement
from boxwright.runtime.tiling import together, windows

SPEC = InputSpec(320, 320, tile=640, overlap=0.2)


def test_a_picture_no_larger_than_a_window_is_seen_as_a_whole():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8))
    prepared = prepare(image, SPEC)
    canvas, place = preprocess(image, InputSpec(320, 320))
    assert (prepared.canvases == canvas[None]).all()
    assert prepared.placements == (place,)


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), tile=st.integers(64, 900), overlap=st.floats(0.01, 0.5))
def test_every_object_that_fits_the_overlap_is_whole_in_a_window(width, height, tile, overlap):
    spec = InputSpec(320, 320, tile=tile, overlap=overlap)
    parts = windows(width, height, spec)
    assert parts[0] is None
    if len(parts) == 1:
        assert max(width, height) <= tile
        return
    for side, begins, sides in (
        (width, {one.left for one in parts[1:]}, {one.width for one in parts[1:]}),
        (height, {one.top for one in parts[1:]}, {one.height for one in parts[1:]}),
    ):
        begins, (shown,) = sorted(begins), sides
        assert shown == min(side, tile)
        assert (begins[0], begins[-1] + shown) == (0, side)
        for one, other in itertools.pairwise(begins):
            assert one + shown - other >= overlap * tile - 1  # rounded to whole pixels


def test_a_window_is_laid_as_a_picture_of_its_own(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    prepared = prepare(Image.fromarray(pixels), SPEC)
    parts = windows(1200, 900, SPEC)
    assert len(prepared.canvases) == len(prepared.placements) == len(parts) == 1 + 3 * 2
    for part, canvas, place in list(zip(parts, prepared.canvases, prepared.placements, strict=True))[1:]:
        crop = pixels[part.top : part.top + part.height, part.left : part.left + part.width]
        own, as_picture = preprocess(crop, InputSpec(320, 320))
        assert (canvas == own).all()
        boxes = np.array([[10, 20, 50, 90]])
        moved = boxes + np.array([part.left, part.top, part.left, part.top])
        assert (place.to_canvas(moved) == as_picture.to_canvas(boxes)).all()
        assert (place.to_picture(place.to_canvas(moved)) == moved).all()


def seen_by_all(boxes, labels, width, height, spec, least=0.05):
    """What a perfect detector finds in every window: the visible part of each object of which enough is visible."""
    found, places = [], []
    for number, part in enumerate(windows(width, height, spec)):
        place = placement(width, height, spec, part)
        edges = np.array(place.edges())
        inner = np.hstack([np.maximum(boxes[:, :2], edges[:2]), np.minimum(boxes[:, 2:], edges[2:])])
        inner = np.hstack([inner[:, :2], np.maximum(inner[:, :2], inner[:, 2:])])
        share = np.prod(inner[:, 2:] - inner[:, :2], axis=1) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        shown = share >= least
        scores = np.random.default_rng(number).uniform(0.3, 0.9, len(boxes))
        found.append(Detections(place.to_canvas(inner[shown]), scores[shown], labels[shown]))
        places.append(place)
    return found, places


def apart(seed, count, width, height, smallest, largest):
    """Boxes that do not touch each other."""
    random, boxes = np.random.default_rng(seed), []
    for _ in range(count):
        size = random.uniform(smallest, largest, 2)
        low = random.uniform(0, np.array([width, height]) - size)
        box = np.concatenate([low, low + size])
        if all(
            box[0] > one[2] + 3 or box[2] < one[0] - 3 or box[1] > one[3] + 3 or box[3] < one[1] - 3 for one in boxes
        ):
            boxes.append(box)
    return np.array(boxes)


@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(641, 2200),
    height=st.integers(200, 1800),
    largest=st.sampled_from([12, 60, 125, 190]),
    overlap=st.sampled_from([0.2, 0.35, 0.5]),
)
def test_no_object_is_lost_and_none_is_doubled(seed, width, height, largest, overlap):
    spec = InputSpec(640, 640, tile=640, overlap=overlap)
    boxes = apart(seed, 60, width, height, 8, largest)
    labels = np.random.default_rng(seed).integers(0, 2, len(boxes))
    merged = together(*seen_by_all(boxes, labels, width, height, spec), spec)
    assert len(merged) == len(boxes)
    order = np.lexsort(merged.boxes.T.round(1)), np.lexsort(boxes.T.round(1))
    for box, label in zip(boxes, labels, strict=True):
        distance = np.abs(merged.boxes - box).max(axis=1)
        nearest = int(distance.argmin())
        assert distance[nearest] < 0.1, order
        assert merged.labels[nearest] == label


def test_of_boxes_that_are_one_the_best_that_no_edge_cuts_is_taken():
    """The one in the middle joins two that no other window shows together, and is nearer to the less sure one."""
    spec = InputSpec(640, 640, tile=640, overlap=0.5)
    places = [placement(1600, 600, spec, part) for part in windows(1600, 600, spec)]
    seen = {1: ((550, 100, 637, 300), 0.9), 2: ((540, 100, 740, 300), 0.4), 3: ((643, 100, 740, 300), 0.6)}
    found = [Detections.empty() for _ in places]
    for window, (box, score) in seen.items():
        found[window] = Detections(places[window].to_canvas(np.array([box])), np.array([score]), np.array([0]))
    merged = together(found, places, spec)
    assert merged.scores.tolist() == [np.float32(0.9)]
    assert np.abs(merged.boxes - np.array([seen[1][0]])).max() < 0.1


def test_neighbours_that_overlap_stay_two():
    """Both windows see both; their boxes coincide by half."""
    boxes, labels = np.array([[560.0, 100, 600, 140], [572.0, 100, 612, 140]]), np.array([0, 0])
    merged = together(*seen_by_all(boxes, labels, 1200, 600, SPEC), SPEC)
    assert len(merged) == 2


def test_an_object_that_is_cut_everywhere_is_the_box_around_its_parts():
    boxes, labels = np.array([[100.0, 100, 1100, 300]]), np.array([0])
    found, places = seen_by_all(boxes, labels, 1200, 600, SPEC)
    found[0] = Detections.empty()  # the whole picture's is missed
    merged = together(found, places, SPEC)
    assert np.abs(merged.boxes - boxes).max() < 0.1


def test_the_whole_picture_is_not_asked_for_small_objects():
    boxes, labels = np.array([[100.0, 100, 120, 120]]), np.array([0])
    found, places = seen_by_all(boxes, labels, 1200, 600, SPEC)
    vague = places[0].to_canvas(boxes + np.array([-9, -9, 9, 9]))
    found[0] = Detections(vague, np.array([0.95]), labels)
    merged = together(found, places, SPEC)
    assert np.abs(merged.boxes - boxes).max() < 0.1


@pytest.mark.parametrize("wrong", [{"tile": 8}, {"tile": True}, {"tile": 640, "overlap": 0.0}, {"overlap": 0.9}])
def test_windows_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match="does not fit"):
        InputSpec(320, 320, **wrong)


def test_a_window_knows_its_place():
    place = placement(1200, 900, SPEC, Window(560, 0, 640, 640))
    assert place.edges() == (560, 0, 1200, 640)
