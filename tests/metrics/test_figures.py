import json

import numpy as np
import pytest
from hypothesis import given

from boxwright.metrics import (
    GroundTruth,
    average_precision,
    class_fbeta_curves,
    fbeta_at,
    fbeta_curve,
    match_detections,
    measure,
    precision_recall,
)
from boxwright.runtime import Detections
from support.scenes import CLASSES, scenes


@given(scenes())
def test_the_figures_are_those_of_their_parts(scene):
    figures = measure(*scene, CLASSES)
    matches = match_detections(*scene, CLASSES)
    precision = average_precision(matches)
    assert [figures.map, figures.ar_100] == pytest.approx([precision.map, precision.ar_100], nan_ok=True)
    assert (figures.best_threshold, figures.best_f2) == fbeta_curve(matches).best()
    assert (figures.threshold, figures.f2) == (figures.best_threshold, figures.best_f2)
    assert [one.boxes for one in figures.per_class] == matches.boxes_per_class.tolist()
    assert figures.images == len(scene[0])


@given(scenes())
def test_each_class_is_measured_at_its_own_threshold(scene):
    thresholds = [0.2, 0.5, 0.8]
    figures = measure(*scene, CLASSES, thresholds)
    matches = match_detections(*scene, CLASSES)
    assert figures.f2 == fbeta_at(matches, np.array(thresholds))
    assert np.isnan(figures.threshold)
    for label, one in enumerate(figures.per_class):
        assert one.threshold == thresholds[label]
        expected = class_fbeta_curves(matches)[label].at(one.threshold) if one.boxes else np.nan
        assert one.f2 == pytest.approx(expected, nan_ok=True)
        at = precision_recall(matches, label).at(one.threshold)
        assert (one.precision, one.recall) == pytest.approx(at, nan_ok=True)


def test_a_given_threshold_is_used():
    truth = [GroundTruth.of([[0, 0, 10, 10]], [0])]
    detections = [Detections([[0, 0, 10, 10], [40, 40, 50, 50]], [0.9, 0.4], [0, 0])]
    figures = measure(truth, detections, 2, threshold=0.3)
    assert figures.f2 == pytest.approx(5 / (4 + 2))
    assert (figures.precision, figures.recall, figures.threshold) == (0.5, 1.0, 0.3)
    assert (figures.best_f2, figures.best_threshold) == (1.0, pytest.approx(0.9))
    assert figures.f2_macro == figures.f2  # the class without boxes does not count


def test_equal_thresholds_are_one():
    assert measure([], [], 3, [0.25, 0.25, 0.25]).threshold == 0.25


def test_the_document_is_json_without_nan():
    document = measure([GroundTruth.of([], [])], [Detections.empty()], 2).to_document(["cat", "dog"])
    assert document["map"] is document["ar_small"] is document["recall"] is None
    assert document["images"] == 1
    assert json.loads(json.dumps(document, allow_nan=False))["per_class"]["dog"] == {
        **dict.fromkeys(["map", "map_50", "f2", "precision", "recall"]),
        "threshold": 0.5,
        "boxes": 0,
    }


def test_ground_truth_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\[1, 4\]"):
        GroundTruth(np.zeros((1, 4)), np.zeros(2, int), np.zeros(1, bool), np.zeros(1))
