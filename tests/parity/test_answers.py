import numpy as np
import pytest

from boxwright.parity.answers import LOOSE, compare_answer
from boxwright.runtime import Detections

THRESHOLDS = np.array([0.5, 0.2])
BOXES = [[0, 0, 10, 10], [50, 50, 90, 90], [200, 0, 260, 40]]
EXPECTED = Detections(BOXES, [0.9, 0.6, 0.4], [0, 0, 1])


def difference(boxes=BOXES, scores=(0.9, 0.6, 0.4), labels=(0, 0, 1), **options):
    return compare_answer("a.jpg", EXPECTED, Detections(boxes, scores, labels), THRESHOLDS, **options)


def test_the_same_in_another_order_is_the_same():
    order = [2, 0, 1]
    found = difference(*(EXPECTED.select(order).__dict__[part] for part in ("boxes", "scores", "labels")))
    assert (found.wrong, found.box, found.score) == (0, 0.0, 0.0)
    assert str(found) == "picture 'a.jpg': as expected"


def test_what_is_missing_and_what_is_too_much_is_counted():
    found = difference([*BOXES[:2], [0, 200, 9, 209]], [0.9, 0.6, 0.8], [0, 0, 1])
    assert (found.missing, found.surplus, found.changed, found.relabelled) == (1, 1, 0, 0)
    assert str(found) == "picture 'a.jpg': 1 of 3 missing, 1 not expected"


def test_another_class_in_the_same_place_is_named():
    found = difference(labels=(1, 1, 0), scores=(0.9, 0.6, 0.6))
    assert (found.missing, found.surplus, found.relabelled) == (3, 3, 3)
    assert "3 of them under another class" in str(found)


def test_a_score_below_the_threshold_is_named():
    found = difference([*BOXES, [0, 200, 9, 209]], [0.9, 0.6, 0.4, 0.3], [0, 0, 1, 0])
    assert (found.surplus, found.faint) == (1, 1)
    assert "1 of them below the threshold" in str(found)


@pytest.mark.parametrize(("score", "wrong"), [(0.5005, 0), (0.4995, 0), (0.502, 1), (0.498, 1)])
def test_near_the_threshold_rounding_may_decide(score, wrong):
    assert difference([*BOXES, [0, 200, 9, 209]], [0.9, 0.6, 0.4, score], [0, 0, 1, 0]).wrong == wrong


def test_a_box_or_a_score_that_moved_is_told_with_how_far():
    moved = [[0, 0, 10, 10], [50, 50, 90, 91], [200, 0, 260, 40]]
    found = difference(moved, [0.9, 0.6, 0.45])
    assert (found.changed, found.box, found.score) == (2, 1.0, pytest.approx(0.05))
    assert str(found) == "picture 'a.jpg': 2 changed, by up to 1 pixels and 0.05 of score"
    assert difference(moved, [0.9, 0.6, 0.45], slack=LOOSE).wrong == 0


def test_nothing_beside_nothing():
    empty = Detections.empty()
    assert compare_answer("a.jpg", empty, empty, THRESHOLDS).wrong == 0
    assert compare_answer("a.jpg", EXPECTED, empty, THRESHOLDS).missing == 3
    assert compare_answer("a.jpg", empty, EXPECTED, THRESHOLDS).surplus == 3
