import json

import numpy as np
import pytest
from hypothesis import given
from scenes import CLASSES, scenes

from boxwright.metrics import GroundTruth, average_precision, fbeta_curve, match_detections, measure
from boxwright.runtime import Detections


@given(scenes())
def test_the_figures_are_those_of_their_parts(scene):
    figures = measure(*scene, CLASSES)
    precision = average_precision(*scene, CLASSES)
    matches = match_detections(*scene, CLASSES)
    assert figures.map == pytest.approx(precision.map, nan_ok=True)
    assert (figures.best_threshold, figures.best_f2) == fbeta_curve(matches).best()
    assert figures.f2 == figures.best_f2
    assert [one.boxes for one in figures.per_class] == matches.boxes_per_class.tolist()
    assert figures.images == len(scene[0])


def test_a_given_threshold_is_used():
    truth = [GroundTruth.of([[0, 0, 10, 10]], [0])]
    found = [Detections([[0, 0, 10, 10], [40, 40, 50, 50]], [0.9, 0.4], [0, 0])]
    figures = measure(truth, found, 2, threshold=0.3)
    assert figures.f2 == pytest.approx(5 / (4 + 2))
    assert (figures.best_f2, figures.best_threshold) == (1.0, pytest.approx(0.9))
    assert figures.f2_macro == figures.f2  # the class without boxes does not count


def test_the_document_is_json_without_nan():
    document = measure([GroundTruth.of([], [])], [Detections.empty()], 2).to_document(["cat", "dog"])
    assert document["map"] is None
    assert json.loads(json.dumps(document, allow_nan=False))["per_class"]["dog"] == {
        "map": None,
        "f2": None,
        "boxes": 0,
    }


def test_ground_truth_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\[1, 4\]"):
        GroundTruth(np.zeros((1, 4)), np.zeros(2, int), np.zeros(1, bool), np.zeros(1))
