"""Matching against a slow reference, and its parts by themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.metrics import COCO_IOUS, FBETA_IOUS, IOUS, GroundTruth, iou_matrix, match_detections
from boxwright.metrics.columns import DetectionColumns, TruthColumns, falling, rising
from boxwright.metrics.matching import assign
from boxwright.metrics.overlaps import overlapping_pairs
from boxwright.runtime import Detections
from support.plain import plain_iou, plain_matches
from support.scenes import CLASSES, scenes


@given(scenes())
def test_every_detection_gets_the_box_that_the_plain_reference_gives_it(scene):
    truths, detections = scene
    matches = match_detections(truths, detections, CLASSES)
    for level, iou in enumerate(IOUS):
        expected = {
            (picture, place): (-1 if box is None else box, ignored)
            for picture, (truth, one) in enumerate(zip(truths, detections, strict=True))
            for label in range(CLASSES)
            for place, (box, ignored) in plain_matches(truth, one, label, -1.0, iou).items()
        }
        for row, key in enumerate(zip(matches.pictures.tolist(), matches.positions.tolist(), strict=True)):
            got, (box, ignored) = int(matches.truth[level, row]), expected[key]
            assert matches.ignored[level, row] == ignored
            assert matches.hit[level, row] == (box >= 0 and not ignored)
            assert (int(matches.truth_positions[got]) if got >= 0 else -1) == box
            assert got < 0 or matches.truth_pictures[got] == key[0]


@given(scenes())
def test_detections_are_ordered_by_class_score_picture_place(scene):
    truths, detections = scene
    matches = match_detections(truths, detections, CLASSES)
    columns = (matches.labels, -matches.scores, matches.pictures, matches.positions)
    keys = list(zip(*(column.tolist() for column in columns), strict=True))
    assert keys == sorted(
        (int(label), -float(score), picture, place)
        for picture, one in enumerate(detections)
        for place, (label, score) in enumerate(zip(one.labels, one.scores, strict=True))
    )
    seen = {}
    for row, key in enumerate(zip(matches.pictures.tolist(), matches.labels.tolist(), strict=True)):
        assert matches.ranks[row] == seen.get(key, 0)
        seen[key] = seen.get(key, 0) + 1
    assert [keys[row][1:] for row in matches.by_score] == sorted(key[1:] for key in keys)


@given(scenes())
def test_pairs_are_all_overlaps_of_a_tenth(scene):
    truths, detections = scene
    matches = match_detections(truths, detections, CLASSES)
    places = {pair: row for row, pair in enumerate(zip(matches.truth_pictures, matches.truth_positions, strict=True))}
    expected = []
    for row, (picture, place) in enumerate(zip(matches.pictures, matches.positions, strict=True)):
        truth, box = truths[picture], detections[picture].boxes[place].astype(float)
        for number in range(len(truth.labels)):
            overlap = plain_iou(box, truth.boxes[number], truth.crowd[number])
            if overlap >= 0.1:
                expected.append((row, places[picture, number], overlap))
    pairs = matches.pairs
    assert list(zip(pairs.detection.tolist(), pairs.truth.tolist(), pairs.iou.tolist(), strict=True)) == expected


def test_pairs_are_the_same_when_made_in_many_chunks():
    """300 detections on 300 boxes: more pairs than are compared at a time."""
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 100, (300, 2))
    boxes, labels = np.concatenate([corner, corner + 20], axis=1), np.zeros(300, dtype=int)
    truth = TruthColumns.of([GroundTruth.of(boxes, labels)])
    columns = [
        DetectionColumns.of([Detections(part, np.ones(len(part)), part[:, 0] * 0)]) for part in [boxes, *boxes[:, None]]
    ]
    whole, *parts = (overlapping_pairs(one, truth, 1) for one in columns)
    assert whole.truth.tolist() == [truth for part in parts for truth in part.truth.tolist()]
    assert whole.iou.tolist() == [iou for part in parts for iou in part.iou.tolist()]
    assert np.bincount(whole.detection).tolist() == [len(part.iou) for part in parts]


@given(st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), max_size=12), st.sets(st.integers(0, 5)))
def test_the_first_seeker_chooses_first(wishes, shared):
    seekers = np.array([number for number, wanted in enumerate(wishes) for _ in wanted], dtype=np.int64)
    places = np.array([place for wanted in wishes for place in wanted], dtype=np.int64)
    granted = assign(seekers, places, np.isin(places, list(shared)), 6)
    taken, expected = set(), {}
    for number, wanted in enumerate(wishes):
        free = [place for place in wanted if place not in taken]
        if free:
            expected[number] = free[0]
            taken |= {free[0]} - shared
    assert dict(zip(seekers[granted].tolist(), places[granted].tolist(), strict=True)) == expected


@given(st.lists(st.floats(-1e9, 1e9, width=32) | st.sampled_from([0.0, -0.0, 0.5])))
def test_falling_is_numpys_stable_order(values):
    scores = np.array(values, dtype=np.float64)
    assert falling(scores).tolist() == np.argsort(-scores, kind="stable").tolist()


@given(st.lists(st.integers(0, 2**62) | st.integers(0, 3)))
def test_rising_is_numpys_stable_order(values):
    keys = np.array(values, dtype=np.int64)
    assert rising(keys).tolist() == np.argsort(keys, kind="stable").tolist()


@given(scenes())
def test_iou_matrix_is_the_plain_reference(scene):
    truths, detections = scene
    for truth, one in zip(truths, detections, strict=True):
        plain = [[plain_iou(box.astype(float), other, False) for other in truth.boxes] for box in one.boxes]
        assert iou_matrix(one.boxes, truth.boxes).tolist() == np.reshape(plain, (len(one), len(truth.boxes))).tolist()
        assert iou_matrix(one.boxes[:, :4] * 0, one.boxes * 0).tolist() == np.zeros((len(one), len(one))).tolist()


def test_of_boxes_with_equal_iou_the_later_is_taken():
    """Pinned, as in pycocotools."""
    truth = [GroundTruth.of([[0, 0, 10, 10], [10, 0, 20, 10]], [0, 0])]
    matches = match_detections(truth, [Detections([[5, 0, 15, 10]], [0.9], [0])], 1)
    assert matches.truth[matches.at(0.3), 0] == 1


def test_the_ious_are_pycocotools_and_the_published_literals():
    from pycocotools.cocoeval import Params

    assert Params("bbox").iouThrs.tolist() == list(COCO_IOUS)
    assert [round(iou * 100) for iou in FBETA_IOUS] == list(range(30, 85, 5))
    assert all(iou in IOUS for iou in (*FBETA_IOUS, *COCO_IOUS))


def test_an_iou_is_looked_up_and_an_unknown_one_refused():
    matches = match_detections([], [], 1)
    assert [matches.at(iou) for iou in (0.3, 0.5, 0.9, 0.95)] == [0, 4, 12, 13]
    with pytest.raises(ValueError, match=r"not at 0\.97"):
        matches.at(0.97)


def test_both_sides_must_have_the_same_pictures():
    with pytest.raises(ValueError, match="1 pictures"):
        match_detections([GroundTruth.of([], [])], [], CLASSES)
