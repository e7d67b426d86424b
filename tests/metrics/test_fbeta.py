"""F-beta against a slow, plainly written reference, and against counts from pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import CLASSES, coco_oracle, scenes

from boxwright.metrics import IOU_THRESHOLDS, GroundTruth, fbeta_curve, match_detections
from boxwright.runtime import Detections


def plain_iou(box, other, crowd):
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    area = (box[2] - box[0]) * (box[3] - box[1])
    union = area if crowd else area + (other[2] - other[0]) * (other[3] - other[1]) - width * height
    return width * height / union


def plain_counts(truth, found, label, score, iou_threshold):
    """True and false positives of one picture and class, one detection after the other."""
    mine = [i for i in range(len(found)) if found.labels[i] == label and found.scores[i] >= score]
    mine.sort(key=lambda i: -found.scores[i])  # stable: earlier first among equals
    boxes = [i for i in range(len(truth.labels)) if truth.labels[i] == label]
    used, hits, misses = set(), 0, 0
    for i in mine:
        best, chosen = -1.0, None
        for j in boxes:
            overlap = plain_iou(found.boxes[i].astype(float), truth.boxes[j], truth.crowd[j])
            if not truth.crowd[j] and j not in used and overlap >= iou_threshold and overlap >= best:
                best, chosen = overlap, j
        on_crowd = any(
            truth.crowd[j] and plain_iou(found.boxes[i].astype(float), truth.boxes[j], True) >= iou_threshold
            for j in boxes
        )
        if chosen is not None:
            used.add(chosen)
            hits += 1
        elif not on_crowd:
            misses += 1
    return hits, misses


def plain_fbeta(truths, found, score, beta):
    boxes = sum(int((~truth.crowd).sum()) for truth in truths)
    values = []
    for threshold in IOU_THRESHOLDS:
        counts = [
            plain_counts(truth, one, label, score, threshold)
            for truth, one in zip(truths, found, strict=True)
            for label in range(CLASSES)
        ]
        hits, misses = sum(c[0] for c in counts), sum(c[1] for c in counts)
        denominator = (1 + beta**2) * hits + beta**2 * (boxes - hits) + misses
        values.append((1 + beta**2) * hits / denominator if denominator else 1.0)
    return sum(values) / len(values)


@given(scenes(), st.sampled_from([0.5, 1.0, 2.0]))
def test_the_curve_is_the_plain_reference_at_every_score(scene, beta):
    truths, found = scene
    curve = fbeta_curve(match_detections(truths, found, CLASSES), beta)
    occurring = sorted({float(score) for one in found for score in one.scores}, reverse=True)
    assert curve.thresholds.tolist() == occurring
    expected = [plain_fbeta(truths, found, score, beta) for score in occurring]
    assert curve.values.tolist() == pytest.approx(expected, abs=1e-12)


@given(scenes())
def test_the_operating_point_is_the_best_of_all_scores(scene):
    truths, found = scene
    curve = fbeta_curve(match_detections(truths, found, CLASSES))
    threshold, value = curve.best()
    occurring = {float(score) for one in found for score in one.scores}
    if occurring:
        values = {score: plain_fbeta(truths, found, score, 2.0) for score in occurring}
        best = max(values.values())
        assert value == pytest.approx(best, abs=1e-12)
        assert threshold == max(score for score in occurring if values[score] > best - 1e-12)


@given(scenes(tied_scores=False), st.floats(0, 1))
def test_hits_are_what_pycocotools_counts(scene, score):
    truths, found = scene
    matches = match_detections(truths, found, CLASSES)
    evaluation = coco_oracle(truths, found, 1, IOU_THRESHOLDS, 10**5)
    hits = np.zeros(len(IOU_THRESHOLDS), int)
    false = np.zeros(len(IOU_THRESHOLDS), int)
    for one in evaluation.evalImgs:
        if one is None or one["aRng"] != [0, 1e10]:
            continue
        kept = np.asarray(one["dtScores"]) >= score
        matched = (one["dtMatches"] > 0) & kept
        hits += (matched & ~one["dtIgnore"].astype(bool)).sum(axis=1)
        false += (kept & (one["dtMatches"] == 0) & ~one["dtIgnore"].astype(bool)).sum(axis=1)
    ours = matches.scores >= score
    assert (matches.hit & ours).sum(axis=1).tolist() == hits.tolist()
    assert (~matches.hit & ~matches.ignored & ours).sum(axis=1).tolist() == false.tolist()


@given(scenes(crowds=False), st.floats(0, 1))
def test_the_mean_over_iou_thresholds_is_the_pooled_figure(scene, score):
    """The numbers of boxes and of detections do not depend on the IoU threshold."""
    truths, found = scene
    matches = match_detections(truths, found, CLASSES)
    kept = matches.scores >= score
    boxes, count = int(matches.boxes_per_class.sum()), int(kept.sum())
    if boxes or count:
        pooled = 5 * (matches.hit & kept).sum() / len(IOU_THRESHOLDS) / (4 * boxes + count)
        assert fbeta_curve(matches).at(score) == pytest.approx(pooled, abs=1e-12)


def one_picture(truth_boxes, found_boxes, scores=None, labels=None):
    labels = labels or [0] * len(found_boxes)
    truth = GroundTruth.of(truth_boxes, [0] * len(truth_boxes))
    return [truth], [Detections(found_boxes, scores or [0.9] * len(found_boxes), labels)]


def test_an_iou_of_exactly_one_half_counts_at_one_half():
    matches = match_detections(*one_picture([[0, 0, 10, 10]], [[0, 0, 10, 5]]), 1)
    assert matches.hit[:, 0].tolist() == [threshold <= 0.5 for threshold in IOU_THRESHOLDS]
    assert fbeta_curve(matches).best()[1] == pytest.approx(5 / 11)


def test_of_boxes_with_equal_iou_the_later_is_taken():
    """Pinned, as in pycocotools: the first detection takes the second box, so the next finds the first."""
    truth = [[0, 0, 10, 10], [10, 0, 20, 10]]
    between, left, right = [5, 0, 15, 10], [0, 0, 10, 10], [10, 0, 20, 10]
    low = IOU_THRESHOLDS.index(0.30)
    to_the_left = match_detections(*one_picture(truth, [between, left], [0.9, 0.8]), 1)
    to_the_right = match_detections(*one_picture(truth, [between, right], [0.9, 0.8]), 1)
    assert to_the_left.hit[low].tolist() == [True, True]
    assert to_the_right.hit[low].tolist() == [True, False]


def test_another_class_is_no_hit():
    matches = match_detections(*one_picture([[0, 0, 9, 9]], [[0, 0, 9, 9]], labels=[1]), 2)
    assert not matches.hit.any()


def test_nothing_to_find():
    nothing = [GroundTruth.of([], [])]
    assert fbeta_curve(match_detections(nothing, [Detections.empty()], 1)).best() == (0.5, 1.0)
    false_alarm = fbeta_curve(match_detections(nothing, [Detections([[0, 0, 9, 9]], [0.75], [0])], 1))
    assert false_alarm.at(0.75) == 0.0
    assert false_alarm.at(0.8) == 1.0
    assert fbeta_curve(match_detections([], [], 1)).best() == (0.5, 1.0)


def test_nothing_found():
    curve = fbeta_curve(match_detections([GroundTruth.of([[0, 0, 9, 9]], [0])], [Detections.empty()], 1))
    assert curve.best() == (0.5, 0.0)
    assert curve.at(0.3) == 0.0


def test_recall_counts_more_than_precision():
    truth = [[0, 0, 10, 10], [20, 0, 30, 10]]
    found = [[0, 0, 10, 10], [50, 50, 60, 60]]
    matches = match_detections(*one_picture(truth, found, [0.5, 0.5]), 1)
    expected = 5 * 1 / (5 * 1 + 4 * 1 + 1)
    assert fbeta_curve(matches, 2.0).at(0.5) == pytest.approx(expected)
