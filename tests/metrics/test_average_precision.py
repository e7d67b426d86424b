import numpy as np
import pytest
from hypothesis import given, settings
from scenes import CLASSES, coco_oracle, scenes

from boxwright.metrics import GroundTruth, average_precision
from boxwright.runtime import Detections


def nan_is_minus_one(value):
    return -1.0 if np.isnan(value) else value


@settings(max_examples=150)
@given(scenes())
def test_the_figures_are_pycocotools(scene):
    truths, found = scene
    ours = average_precision(truths, found, CLASSES)
    theirs = coco_oracle(truths, found, ids_from=1).stats
    figures = [ours.map, ours.map_50, ours.map_75, ours.map_small, ours.map_medium, ours.map_large]
    assert [nan_is_minus_one(value) for value in figures] == pytest.approx(theirs[:6].tolist(), abs=1e-9)


@given(scenes())
def test_each_class_is_pycocotools(scene):
    truths, found = scene
    precision = coco_oracle(truths, found, ids_from=1).eval["precision"]
    for label, value in enumerate(average_precision(truths, found, CLASSES).per_class):
        column = precision[:, :, label, 0, 2]
        expected = column[column > -1].mean() if (column > -1).any() else -1.0
        assert nan_is_minus_one(value) == pytest.approx(expected, abs=1e-9)


def test_files_that_start_at_annotation_id_0_score_right():
    """Four perfect detections: pycocotools loses the box with id 0, the figure of record does not."""
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]], np.float64)
    truths = [GroundTruth.of(boxes, np.zeros(4))]
    found = [Detections(boxes, [0.9, 0.8, 0.7, 0.6], np.zeros(4))]
    assert coco_oracle(truths, found, ids_from=0).stats[0] < 0.6
    assert coco_oracle(truths, found, ids_from=1).stats[0] == 1.0
    assert average_precision(truths, found, CLASSES).map == 1.0


def test_more_than_a_hundred_detections_a_picture_are_cut_as_coco_does():
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 500, (150, 2))
    boxes = np.concatenate([corner, corner + 30], axis=1).astype(np.float32).astype(np.float64)
    truths = [GroundTruth.of(boxes, np.zeros(150))]
    found = [Detections(boxes, generator.random(150), np.zeros(150))]
    expected = coco_oracle(truths, found, ids_from=1).stats[0]
    assert average_precision(truths, found, CLASSES).map == pytest.approx(expected, abs=1e-9)
    assert expected < 0.7


def test_nothing_to_find_is_nan_and_nothing_found_is_zero():
    boxes = [[0, 0, 10, 10]]
    assert np.isnan(average_precision([GroundTruth.of([], [])], [Detections(boxes, [0.5], [0])], CLASSES).map)
    assert average_precision([GroundTruth.of(boxes, [0])], [Detections.empty()], CLASSES).map == 0.0


def test_both_sides_must_have_the_same_pictures():
    with pytest.raises(ValueError, match="1 pictures"):
        average_precision([GroundTruth.of([], [])], [], CLASSES)
