import numpy as np
import pytest
from hypothesis import given

from boxwright.metrics import GroundTruth, match_detections, precision_recall
from boxwright.runtime import Detections
from support.plain import plain_counts
from support.scenes import CLASSES, scenes


@given(scenes())
def test_every_point_is_the_plain_reference(scene):
    truths, detections = scene
    matches = match_detections(truths, detections, CLASSES)
    for label in (None, *range(CLASSES)):
        labels = range(CLASSES) if label is None else (label,)
        boxes = sum(int((~truth.crowd & np.isin(truth.labels, labels)).sum()) for truth in truths)
        curve = precision_recall(matches, label, iou=0.75)
        assert (curve.boxes, curve.iou) == (boxes, 0.75)
        for threshold in curve.thresholds:
            hits, false = plain_counts(truths, detections, [threshold] * CLASSES, 0.75, labels)
            expected = (hits / (hits + false) if hits + false else np.nan, hits / boxes if boxes else np.nan)
            assert curve.at(threshold) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_above_all_scores_nothing_is_detected():
    truth = [GroundTruth.of([[0, 0, 10, 10]], [0])]
    matches = match_detections(truth, [Detections([[0, 0, 10, 10]], [0.5], [0])], 2)
    assert precision_recall(matches).at(0.5) == (1.0, 1.0)
    assert precision_recall(matches).at(0.6) == pytest.approx((np.nan, 0.0), nan_ok=True)
    assert precision_recall(matches, 1).at(0.6) == pytest.approx((np.nan, np.nan), nan_ok=True)


def test_an_iou_that_was_not_matched_is_refused():
    with pytest.raises(ValueError, match=r"not at 0\.1"):
        precision_recall(match_detections([], [], 1), iou=0.1)
