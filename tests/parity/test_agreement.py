import numpy as np
import pytest

from boxwright.parity.agreement import TOLERANCES, Agreement, compare_picture, compare_pictures
from boxwright.runtime import Detections
from support.agreement import agreement

THRESHOLDS = np.array([0.5, 0.2])
BOXES = [[0, 0, 10, 10], [50, 50, 90, 90], [200, 0, 260, 40]]
EXPECTED = Detections(BOXES, [0.9, 0.6, 0.4], [0, 0, 1])


def difference(boxes=BOXES, scores=(0.9, 0.6, 0.4), labels=(0, 0, 1), **options):
    return compare_picture("a.jpg", EXPECTED, Detections(boxes, scores, labels), THRESHOLDS, **options)


def test_the_same_in_another_order_is_the_same():
    order = [2, 0, 1]
    compared = difference(*(EXPECTED.select(order).__dict__[part] for part in ("boxes", "scores", "labels")))
    assert (compared.wrong, compared.box, compared.score) == (0, 0.0, 0.0)
    assert str(compared) == "picture 'a.jpg': as expected"


def test_what_is_missing_and_what_is_too_much_is_counted():
    compared = difference([*BOXES[:2], [0, 200, 9, 209]], [0.9, 0.6, 0.8], [0, 0, 1])
    assert (compared.missing, compared.surplus, compared.changed, compared.relabelled) == (1, 1, 0, 0)
    assert str(compared) == "picture 'a.jpg': 1 of 3 missing, 1 not expected"


def test_another_class_in_the_same_place_is_named():
    compared = difference(labels=(1, 1, 0), scores=(0.9, 0.6, 0.6))
    assert (compared.missing, compared.surplus, compared.relabelled) == (3, 3, 3)
    assert "3 of them under another class" in str(compared)


def test_a_score_below_the_threshold_is_named():
    compared = difference([*BOXES, [0, 200, 9, 209]], [0.9, 0.6, 0.4, 0.3], [0, 0, 1, 0])
    assert (compared.surplus, compared.faint) == (1, 1)
    assert "1 of them below the threshold" in str(compared)


@pytest.mark.parametrize(("score", "wrong"), [(0.5005, 0), (0.4995, 0), (0.502, 1), (0.498, 1)])
def test_near_the_threshold_rounding_may_decide(score, wrong):
    assert difference([*BOXES, [0, 200, 9, 209]], [0.9, 0.6, 0.4, score], [0, 0, 1, 0]).wrong == wrong


def test_a_box_or_a_score_that_moved_is_reported_with_how_far():
    moved = [[0, 0, 10, 10], [50, 50, 90, 91], [200, 0, 260, 40]]
    compared = difference(moved, [0.9, 0.6, 0.45])
    assert (compared.changed, compared.box, compared.score) == (2, 1.0, pytest.approx(0.05))
    assert str(compared) == "picture 'a.jpg': 2 changed, by up to 1 pixels and 0.05 of score"
    assert difference(moved, [0.9, 0.6, 0.45], tolerance=TOLERANCES["int8"]).wrong == 0


def test_nothing_beside_nothing():
    empty = Detections.empty()
    assert compare_picture("a.jpg", empty, empty, THRESHOLDS).wrong == 0
    assert compare_picture("a.jpg", EXPECTED, empty, THRESHOLDS).missing == 3
    assert compare_picture("a.jpg", empty, EXPECTED, THRESHOLDS).surplus == 3


def test_of_many_pictures_counts_are_summed_and_the_worst_is_named():
    moved = Detections([[0, 0, 10, 10], [50, 50, 90, 91], [200, 0, 260, 40]], [0.9, 0.6, 0.45], [0, 0, 1])
    empty = Detections.empty()
    pictures = compare_pictures(["a", "b", "c"], [EXPECTED] * 3, [EXPECTED, moved, empty], THRESHOLDS)
    agreed = Agreement(pictures=pictures)
    assert (agreed.detections, agreed.matched, agreed.equal) == (9, 6, 4)
    assert (agreed.largest_box_difference, agreed.largest_score_difference) == (1.0, pytest.approx(0.05))
    assert agreed.worst.name == "c"
    assert agreed.detections_fault == "2 of 3 pictures differ, above all picture 'c': 3 of 3 missing."
    assert agreement([EXPECTED], [EXPECTED]).detections_fault == ""


def test_detections_below_the_least_score_are_not_looked_for():
    faint = Detections(BOXES, [0.9, 0.6, 0.04], [0, 0, 1])
    agreed = agreement([faint], [Detections(BOXES[:2], [0.9, 0.6], [0, 0])])
    assert (agreed.detections, agreed.equal, agreed.detections_fault) == (2, 2, "")


def test_only_what_differs_is_named():
    reference = {"map": 0.5, "f2": 0.6}
    assert Agreement(figures={"map": 0.5, "f2": 0.7}, reference=reference).figures_fault.startswith("F2 is 0.7")


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"f2": 0.7}, 0.1),
        ({"map": 0.2}, 0.3),
        ({"map": None}, float("inf")),
    ],
)
def test_either_figure_alone_makes_the_difference(figures, expected):
    reference = {"map": 0.5, "f2": 0.6}
    assert Agreement(figures=reference, reference=reference).difference == 0
    assert Agreement(figures=reference, reference=reference).figures_fault == ""
    changed = Agreement(figures={**reference, **figures}, reference=reference)
    assert changed.difference == pytest.approx(expected)
    assert "beyond 0.0005" in changed.figures_fault
    assert Agreement(figures=reference, reference={**reference, **figures}).difference == pytest.approx(expected)


def test_a_figure_that_neither_side_defines_does_not_differ():
    undefined = {"map": None, "f2": 0.6}
    assert Agreement(figures=undefined, reference=undefined).difference == 0.0
