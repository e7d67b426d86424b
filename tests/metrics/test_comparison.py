from dataclasses import replace

import numpy as np
import pytest

from boxwright.metrics import GroundTruth, average_precision, match_detections
from boxwright.metrics.bootstrap import intervals
from boxwright.metrics.comparison import Difference, compare
from boxwright.metrics.fbeta import class_fbeta_at, fbeta_at
from boxwright.metrics.interval import Interval
from boxwright.runtime import Detections
from support.simulation import World

WORLD = World()
WEAKER = replace(WORLD, skill=0.7)


@pytest.fixture(scope="module")
def pair():
    scene = WORLD.scene(120, seed=5)
    return WORLD.detect(scene, seed=6), WEAKER.detect(scene, seed=7)


def test_each_difference_is_of_the_figures_themselves(pair):
    first, second = pair
    comparison = compare(first, second, 0.3, 0.4, resamples=200)
    for figure in ("map", "map_50"):
        one = comparison[figure]
        assert one.first == pytest.approx(getattr(average_precision(first), figure), abs=1e-12)
        assert one.second == pytest.approx(getattr(average_precision(second), figure), abs=1e-12)
    assert comparison["f2"].first == pytest.approx(fbeta_at(first, 0.3), abs=1e-12)
    assert comparison["f2"].second == pytest.approx(fbeta_at(second, 0.4), abs=1e-12)
    for label, (precision, fbeta) in enumerate(comparison.per_class):
        assert (precision.figure, precision.label, fbeta.figure, fbeta.label) == ("map", label, "f2", label)
        assert fbeta.second == pytest.approx(class_fbeta_at(second, 0.4)[label], abs=1e-12)
    for one in (*comparison.figures, *sum(comparison.per_class, ())):
        assert one.difference == one.second - one.first
        assert one.stands == (0.0 not in one.interval)


def test_a_weaker_detector_is_told_and_the_other_way_round_alike(pair):
    there, back = compare(*pair, 0.3, 0.3, resamples=300), compare(*reversed(pair), 0.3, 0.3, resamples=300)
    for one, other in zip(there.figures, back.figures, strict=True):
        assert one.stands
        assert one.difference < 0
        assert (other.difference, other.interval.low) == pytest.approx((-one.difference, -one.interval.high))


def test_the_same_detector_twice_does_not_differ(pair):
    comparison = compare(pair[0], pair[0], 0.3, 0.3, resamples=100)
    for one in comparison.figures:
        assert (one.difference, one.stands, one.interval) == (0.0, False, Interval(0.0, 0.0))


def test_pairing_makes_the_difference_surer_than_either_figure():
    """Two detectors that fail on the same pictures: their difference varies less than two strangers' would."""
    world = replace(
        WORLD, kinds=tuple(replace(kind, detected=share) for kind, share in zip(WORLD.kinds, (0.98, 0.3), strict=True))
    )
    scene = world.scene(150, seed=1)
    first, second = world.detect(scene, seed=2), world.detect(scene, seed=3)
    paired = compare(first, second, 0.3, 0.3, resamples=500)["f2"].interval
    alone = [intervals(one, 0.3, resamples=500).figures["f2"] for one in (first, second)]
    unpaired = np.hypot(*[one.high - one.low for one in alone])
    assert paired.high - paired.low < 0.7 * unpaired


def matched(*labels, crowd=False):
    boxes = [[20 * place, 0, 20 * place + 10, 10] for place in range(len(labels))]
    truths = [GroundTruth.of(boxes, labels, [crowd] * len(labels)), GroundTruth.of([], [])]
    return match_detections(truths, [Detections.empty()] * 2, 3)


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (matched(0, 2), "boxes differ"),
        (matched(0), "boxes differ"),
        (matched(0, 1, crowd=True), "boxes differ"),
        (match_detections([GroundTruth.of([], [])], [Detections.empty()], 3), "2 pictures and 3 classes, the second 1"),
    ],
)
def test_other_pictures_or_boxes_cannot_be_compared(second, told):
    with pytest.raises(ValueError, match=told):
        compare(matched(0, 1), second, 0.5, 0.5, resamples=2)


def test_a_class_of_too_few_pictures_has_no_interval():
    comparison = compare(matched(0, 1), matched(0, 1), 0.5, 0.5, resamples=20)
    assert np.isnan(comparison.per_class[0][0].interval.low)
    assert "too few pictures" in comparison.per_class[0][0].sentence("A", "B")
    assert "no boxes" in comparison.per_class[2][0].sentence("A", "B")
    assert not any(one.stands for one in comparison.figures)


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (
            Difference("map", None, 0.4, 0.431, 0.031, Interval(0.012, 0.049), True),
            "mAP of B is 0.031 higher than A's (95 % interval 0.012 to 0.049): the difference is significant.",
        ),
        (
            Difference("f2", None, 0.5, 0.4956, -0.0044, Interval(-0.02, 0.0112), False),
            "F2 of B is 0.004 lower than A's (95 % interval -0.020 to 0.011): the difference may be chance.",
        ),
        (
            Difference("map", 1, 0.0, 1.0, 1.0, Interval(0.9996, 1.0), True),
            "AP for dog of B is 1.000 higher than A's (95 % interval 1.000 to 1.000): the difference is significant.",
        ),
        (
            Difference("map_50", None, 0.5, 0.5, 0.0, Interval(0.0, 0.0), False),
            "mAP50 of A and B differs by less than 0.001 (95 % interval 0.000 to 0.000): the difference may be chance.",
        ),
        (
            Difference("f2", 0, 0.5, 0.4999, -0.0001, Interval(-0.0002, 0.0003), False),
            (
                "F2 for cat of A and B differs by less than 0.001 (95 % interval 0.000 to 0.000): "
                "the difference may be chance."
            ),
        ),
    ],
)
def test_differences_are_told_in_words(difference, words):
    assert difference.sentence("A", "B", ["cat", "dog"]) == words
