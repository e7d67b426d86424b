"""F-beta against a slow, plainly written reference, and against counts from pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.metrics import (
    FBETA_IOUS,
    IOUS,
    FBetaCurve,
    GroundTruth,
    class_fbeta_curves,
    fbeta_at,
    fbeta_curve,
    macro_fbeta_curve,
    match_detections,
)
from boxwright.runtime import Detections
from support.plain import plain_counts
from support.scenes import CLASSES, coco_oracle, scenes

LEVELS = len(FBETA_IOUS)


def boxes_of(truths, labels):
    return sum(int((~truth.crowd & np.isin(truth.labels, labels)).sum()) for truth in truths)


def plain_fbeta(truths, detections, thresholds, beta, labels=tuple(range(CLASSES))):
    boxes, values = boxes_of(truths, labels), []
    for iou in FBETA_IOUS:
        hits, misses = plain_counts(truths, detections, thresholds, iou, labels)
        denominator = (1 + beta**2) * hits + beta**2 * (boxes - hits) + misses
        values.append((1 + beta**2) * hits / denominator if denominator else 1.0)
    return sum(values) / len(values)


def occurring(detections, label=None):
    """The distinct scores, of one class or of all, falling."""
    scores = {
        float(score)
        for one in detections
        for score, its in zip(one.scores, one.labels, strict=True)
        if label in (None, its)
    }
    return sorted(scores, reverse=True)


@given(scenes(), st.sampled_from([0.5, 1.0, 2.0]))
def test_the_curve_is_the_plain_reference_at_every_score(scene, beta):
    truths, detections = scene
    curve = fbeta_curve(match_detections(truths, detections, CLASSES), beta)
    assert curve.thresholds.tolist() == occurring(detections)
    expected = [plain_fbeta(truths, detections, [score] * CLASSES, beta) for score in occurring(detections)]
    assert curve.values.tolist() == pytest.approx(expected, abs=1e-12)


@given(scenes())
def test_the_curve_of_each_class_is_the_plain_reference(scene):
    truths, detections = scene
    for label, curve in enumerate(class_fbeta_curves(match_detections(truths, detections, CLASSES))):
        assert curve.thresholds.tolist() == occurring(detections, label)
        expected = [plain_fbeta(truths, detections, [score] * CLASSES, 2.0, (label,)) for score in curve.thresholds]
        assert curve.values.tolist() == pytest.approx(expected, abs=1e-12)


@given(scenes())
def test_the_macro_curve_is_the_mean_of_the_classes_that_have_boxes(scene):
    truths, detections = scene
    matches = match_detections(truths, detections, CLASSES)
    curve, by_class = macro_fbeta_curve(matches), class_fbeta_curves(matches)
    counting = [label for label in range(CLASSES) if boxes_of(truths, (label,))]
    for threshold, value in zip(curve.thresholds, curve.values, strict=True):
        expected = np.mean([by_class[label].at(threshold) for label in counting]) if counting else 1.0
        assert value == pytest.approx(expected, abs=1e-12)
    assert curve.thresholds.tolist() == occurring(detections)


@given(scenes())
def test_the_operating_point_is_the_best_of_all_scores(scene):
    truths, detections = scene
    threshold, value = fbeta_curve(match_detections(truths, detections, CLASSES)).best()
    if occurring(detections):
        values = {score: plain_fbeta(truths, detections, [score] * CLASSES, 2.0) for score in occurring(detections)}
        best = max(values.values())
        assert value == pytest.approx(best, abs=1e-12)
        assert threshold == max(score for score in values if values[score] > best - 1e-12)


@given(scenes(), st.lists(st.floats(0, 1), min_size=CLASSES, max_size=CLASSES))
def test_each_class_may_have_its_own_threshold(scene, thresholds):
    truths, detections = scene
    ours = fbeta_at(match_detections(truths, detections, CLASSES), np.array(thresholds))
    assert ours == pytest.approx(plain_fbeta(truths, detections, thresholds, 2.0), abs=1e-12)


@given(scenes(), st.floats(0, 1))
def test_the_value_at_a_threshold_is_the_curves_to_the_bit(scene, threshold):
    matches = match_detections(*scene, CLASSES)
    assert fbeta_at(matches, threshold) == fbeta_curve(matches).at(threshold)


@given(scenes(tied_scores=False), st.floats(0, 1))
def test_hits_are_what_pycocotools_counts(scene, score):
    truths, detections = scene
    matches = match_detections(truths, detections, CLASSES)
    evaluation = coco_oracle(truths, detections, 1, FBETA_IOUS, 10**5)
    hits = np.zeros(LEVELS, int)
    false = np.zeros(LEVELS, int)
    for one in evaluation.evalImgs:
        if one is None or one["aRng"] != [0, 1e10]:
            continue
        kept = np.asarray(one["dtScores"]) >= score
        matched = (one["dtMatches"] > 0) & kept
        hits += (matched & ~one["dtIgnore"].astype(bool)).sum(axis=1)
        false += (kept & (one["dtMatches"] == 0) & ~one["dtIgnore"].astype(bool)).sum(axis=1)
    ours = matches.scores >= score
    hit, ignored = matches.hit[:LEVELS], matches.ignored[:LEVELS]
    assert (hit & ours).sum(axis=1).tolist() == hits.tolist()
    assert (~hit & ~ignored & ours).sum(axis=1).tolist() == false.tolist()


@given(scenes(crowds=False), st.floats(0, 1))
def test_the_mean_over_iou_thresholds_is_the_pooled_figure(scene, score):
    """The numbers of boxes and of detections do not depend on the IoU threshold."""
    truths, detections = scene
    matches = match_detections(truths, detections, CLASSES)
    kept = matches.scores >= score
    boxes, count = int(matches.boxes_per_class.sum()), int(kept.sum())
    if boxes or count:
        pooled = 5 * (matches.hit[:LEVELS] & kept).sum() / LEVELS / (4 * boxes + count)
        assert fbeta_curve(matches).at(score) == pytest.approx(pooled, abs=1e-12)


def one_picture(truth_boxes, found_boxes, scores=None, labels=None):
    labels = labels or [0] * len(found_boxes)
    truth = GroundTruth.of(truth_boxes, [0] * len(truth_boxes))
    return [truth], [Detections(found_boxes, scores or [0.9] * len(found_boxes), labels)]


def test_an_iou_of_exactly_one_half_counts_at_one_half():
    matches = match_detections(*one_picture([[0, 0, 10, 10]], [[0, 0, 10, 5]]), 1)
    assert matches.hit[:, 0].tolist() == [threshold <= 0.5 for threshold in IOUS]
    assert fbeta_curve(matches).best()[1] == pytest.approx(5 / 11)


def test_another_class_is_no_hit():
    matches = match_detections(*one_picture([[0, 0, 9, 9]], [[0, 0, 9, 9]], labels=[1]), 2)
    assert not matches.hit.any()


def test_nothing_to_find():
    nothing = [GroundTruth.of([], [])]
    assert fbeta_curve(match_detections(nothing, [Detections.empty()], 1)).best() == (0.5, 1.0)
    false_alarm = match_detections(nothing, [Detections([[0, 0, 9, 9]], [0.75], [0])], 1)
    assert fbeta_curve(false_alarm).at(0.75) == fbeta_at(false_alarm, 0.75) == 0.0
    assert fbeta_curve(false_alarm).at(0.8) == fbeta_at(false_alarm, 0.8) == 1.0
    assert fbeta_curve(match_detections([], [], 1)).best() == (0.5, 1.0)
    assert macro_fbeta_curve(false_alarm).values.tolist() == [1.0]


def test_values_that_differ_by_rounding_are_equal_and_the_higher_threshold_wins():
    assert FBetaCurve(np.array([0.9, 0.4]), np.array([0.5, 0.5 + 1e-15]), 2.0, 0.0).best() == (0.9, 0.5)
    assert FBetaCurve(np.array([0.9, 0.4]), np.array([0.5, 0.5 + 1e-9]), 2.0, 0.0).best()[0] == 0.4


def test_nothing_found():
    matches = match_detections([GroundTruth.of([[0, 0, 9, 9]], [0])], [Detections.empty()], 1)
    for curve in (fbeta_curve(matches), macro_fbeta_curve(matches), *class_fbeta_curves(matches)):
        assert curve.best() == (0.5, 0.0)
        assert curve.at(0.3) == 0.0


def test_recall_counts_more_than_precision():
    truth = [[0, 0, 10, 10], [20, 0, 30, 10]]
    detections = [[0, 0, 10, 10], [50, 50, 60, 60]]
    matches = match_detections(*one_picture(truth, detections, [0.5, 0.5]), 1)
    assert fbeta_curve(matches, 2.0).at(0.5) == pytest.approx(5 * 1 / (5 * 1 + 4 * 1 + 1))
