"""COCO's figures against pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings

from boxwright.metrics import GroundTruth, average_precision, match_detections
from boxwright.metrics.average_precision import average_precision_at, hits_needed
from boxwright.runtime import Detections
from support.scenes import CLASSES, coco_oracle, scenes

TWELVE = (
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)


def measured(truths, detections):
    return average_precision(match_detections(truths, detections, CLASSES))


def minus_one(values):
    return [-1.0 if np.isnan(value) else value for value in values]


def theirs_by_class(precision):
    """Mean over what is defined, by class: [K] from pycocotools' [..., K] columns."""
    columns = np.moveaxis(precision, -1, 0).reshape(CLASSES, -1)
    return [column[column > -1].mean() if (column > -1).any() else -1.0 for column in columns]


def assert_parity(truths, detections):
    ours, theirs = measured(truths, detections), coco_oracle(truths, detections, ids_from=1)
    assert minus_one(getattr(ours, name) for name in TWELVE) == pytest.approx(theirs.stats.tolist(), abs=1e-9)
    precision = theirs.eval["precision"][..., 0, 2]
    assert minus_one(ours.per_class) == pytest.approx(theirs_by_class(precision), abs=1e-9)
    assert minus_one(ours.per_class_50) == pytest.approx(theirs_by_class(precision[0]), abs=1e-9)


@settings(max_examples=200)
@given(scenes())
def test_all_twelve_figures_and_every_class_are_pycocotools(scene):
    assert_parity(*scene)


@settings(max_examples=25)
@given(scenes(crowded=True))
def test_more_than_a_hundred_detections_a_picture_are_cut_as_coco_does(scene):
    assert_parity(*scene)


def test_hits_beyond_the_hundredth_count_neither_way():
    """The second picture's scores lie below all of the first's, so what is cut there lies among what is not."""
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 500, (150, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(20, 120, (150, 2))], axis=1).astype(np.float32)
    truths = [GroundTruth.of(boxes, np.zeros(150))] * 2
    detections = [Detections(boxes, low + generator.random(150) / 2, np.zeros(150)) for low in (0.5, 0.0)]
    assert_parity(truths, detections)
    assert measured(truths, detections).ar_100 == pytest.approx(100 / 150)


def test_a_box_on_the_limit_of_two_sizes_is_of_both():
    boxes = [[0, 0, 32, 32], [100, 0, 196, 96], [300, 0, 310, 10]]
    truths = [GroundTruth.of(boxes, [0, 0, 0])]
    detections = [Detections(boxes[:2], [0.9, 0.8], [0, 0])]
    assert_parity(truths, detections)
    assert measured(truths, detections).map_medium == measured(truths, detections).map_large == 1.0


def test_recalls_are_reached_as_doubles_compare():
    """7 of 100 boxes reach a recall of .07, though .07 * 100 is more than 7; every number of boxes to 250."""
    recalls = np.linspace(0, 1, 101)
    for boxes in range(1, 251):
        counted = np.arange(1, boxes + 1) ** 2  # each hit less precise than the one before
        reached = np.searchsorted(np.arange(1, boxes + 1) / boxes, recalls)
        expected = (np.arange(1, boxes + 1) / counted)[reached].mean()
        ours = average_precision_at(np.zeros(boxes, int), counted, np.array([boxes]))
        assert ours == pytest.approx(expected, abs=1e-12)


def test_files_that_start_at_annotation_id_0_score_right():
    """Four perfect detections: pycocotools loses the box with id 0, the figure of record does not."""
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]], np.float64)
    truths = [GroundTruth.of(boxes, np.zeros(4))]
    detections = [Detections(boxes, [0.9, 0.8, 0.7, 0.6], np.zeros(4))]
    assert coco_oracle(truths, detections, ids_from=0).stats[0] < 0.6
    assert coco_oracle(truths, detections, ids_from=1).stats[0] == 1.0
    assert measured(truths, detections).map == 1.0


def test_nothing_to_find_is_nan_and_nothing_found_is_zero():
    boxes = [[0, 0, 10, 10]]
    assert np.isnan(measured([GroundTruth.of([], [])], [Detections(boxes, [0.5], [0])]).map)
    assert measured([GroundTruth.of(boxes, [0])], [Detections.empty()]).map == 0.0
    assert np.isnan(measured([], []).ar_100)


@pytest.mark.parametrize("boxes", [1, 2, 3, 7, 50, 99, 100, 101, 150, 200, 1000])
def test_recall_is_compared_as_coco_does(boxes):
    recalls = np.arange(1, boxes + 1) / boxes
    at = np.searchsorted(recalls, np.linspace(0.0, 1.0, 101), side="left")
    assert hits_needed(np.array([boxes]))[0].tolist() == (at + 1).tolist()
