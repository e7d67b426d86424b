import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from boxwright.metrics import GroundTruth, confusion_matrix, match_detections
from boxwright.runtime import Detections
from support.plain import plain_counts, plain_iou, plain_matches
from support.scenes import CLASSES, scenes


def plain_matrix(truths, detections, thresholds, iou):
    """One picture after the other: hits, then the greatest overlap of what is left, then the rest."""
    matrix = np.zeros((CLASSES + 1, CLASSES + 1), int)
    for truth, one in zip(truths, detections, strict=True):
        outcome = {}
        for label in range(CLASSES):
            outcome |= plain_matches(truth, one, label, thresholds[label], iou)
        hits = {i: box for i, (box, ignored) in outcome.items() if box is not None and not ignored}
        for i in hits:
            matrix[one.labels[i], one.labels[i]] += 1
        left = [i for i, (box, _) in outcome.items() if box is None]
        boxes = [j for j in range(len(truth.labels)) if not truth.crowd[j] and j not in hits.values()]
        overlaps = {(i, j): plain_iou(one.boxes[i].astype(float), truth.boxes[j], False) for i in left for j in boxes}
        for i, j in sorted(overlaps, key=lambda pair: (-overlaps[pair], -one.scores[pair[0]])):
            if overlaps[i, j] >= iou and i in left and j in boxes:
                matrix[truth.labels[j], one.labels[i]] += 1
                left.remove(i)
                boxes.remove(j)
        for i in left:
            matrix[CLASSES, one.labels[i]] += 1
        for j in boxes:
            matrix[truth.labels[j], CLASSES] += 1
    return matrix


@given(scenes(), st.lists(st.floats(0, 1), min_size=CLASSES, max_size=CLASSES), st.sampled_from([0.3, 0.5]))
def test_the_matrix_adds_up_and_its_diagonal_is_the_hits(scene, thresholds, iou):
    truths, detections = scene
    matrix = confusion_matrix(match_detections(truths, detections, CLASSES), np.array(thresholds), iou)
    hits, false = plain_counts(truths, detections, thresholds, iou)
    assert np.trace(matrix) == hits
    assert matrix[:, :CLASSES].sum() == hits + false
    assert matrix[:CLASSES].sum() == sum(int((~truth.crowd).sum()) for truth in truths)
    assert matrix[CLASSES, CLASSES] == 0


@given(scenes(tied_scores=False), st.floats(0, 1))
def test_the_matrix_is_the_plain_reference(scene, threshold):
    truths, detections = scene
    ours = confusion_matrix(match_detections(truths, detections, CLASSES), threshold, 0.3)
    assert ours.tolist() == plain_matrix(truths, detections, [threshold] * CLASSES, 0.3).tolist()


def test_a_taken_box_is_no_confusion_and_the_greater_overlap_comes_first():
    truth = [GroundTruth.of([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [0, 1, 1])]
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 8], [20, 0, 30, 9], [60, 0, 70, 10]]
    detections = [Detections(boxes, [0.9, 0.8, 0.7, 0.6, 0.5], [0, 1, 0, 2, 2])]
    matrix = confusion_matrix(match_detections(truth, detections, 3), 0.0)
    assert matrix.tolist() == [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]]


def test_of_equal_overlaps_the_better_score_comes_first():
    detections = [Detections([[0, 0, 10, 9], [0, 0, 10, 9]], [0.6, 0.8], [1, 2])]
    matrix = confusion_matrix(match_detections([GroundTruth.of([[0, 0, 10, 10]], [0])], detections, 3), 0.0)
    assert (matrix[0, 2], matrix[3, 1], matrix.sum()) == (1, 1, 2)


def test_crowds_and_what_lies_on_them_are_left_out():
    truth = [GroundTruth.of([[0, 0, 50, 50]], [0], [True])]
    matrix = confusion_matrix(match_detections(truth, [Detections([[5, 5, 9, 9]], [0.9], [0])], 1), 0.5)
    assert not matrix.any()
