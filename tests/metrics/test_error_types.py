"""TIDE against hotcoco's, and one hand-made case of every kind."""

import numpy as np
import pytest
from hypothesis import given, settings

from boxwright.metrics import KINDS, GroundTruth, average_precision, error_types, match_detections
from boxwright.runtime import Detections
from support.scenes import CLASSES, annotations, results, scenes

THEIR_NAMES = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")


def theirs(truths, detections):
    import hotcoco

    truth = hotcoco.COCO(annotations(truths))
    evaluation = hotcoco.COCOeval(truth, truth.load_res(results(detections)), "bbox")
    evaluation.evaluate()
    return evaluation.tide_errors()


@settings(max_examples=150)
@given(scenes(crowds=False, tied_scores=False))
def test_counts_and_costs_are_hotcocos(scene):
    """Its tied scores are ordered by no rule, and overlaps with crowds are errors there."""
    truths, detections = scene
    matches = match_detections(truths, detections, CLASSES)
    if not (matches.boxes_per_class.any() and matches.scores.size):
        return
    ours, oracle = error_types(matches), theirs(truths, detections)
    lost = np.bincount(matches.truth_labels[ours.missed], minlength=CLASSES)
    emptied = (matches.boxes_per_class > 0) & (lost == matches.boxes_per_class)
    assert ours.map_50 == pytest.approx(oracle["ap_base"], abs=1e-9)
    for kind, name in zip(KINDS, THEIR_NAMES, strict=True):
        assert ours.counts[kind] == oracle["counts"][name]
        if kind != "missed" or not emptied.any():  # such a class counts as 0 there
            assert ours.costs[kind] == pytest.approx(oracle["delta_ap"][name], abs=1e-9)


@given(scenes())
def test_every_detection_that_counts_is_a_hit_or_one_error_and_no_mending_hurts(scene):
    matches = match_detections(*scene, CLASSES)
    errors = error_types(matches)
    level = matches.at(0.5)
    wrong = ~matches.hit[level] & ~matches.ignored[level]
    assert (errors.kinds >= 0).tolist() == wrong.tolist()
    assert sum(errors.counts.values()) == wrong.sum() + errors.missed.sum()
    assert errors.map_50 == pytest.approx(average_precision(matches).map_50, nan_ok=True)
    assert all(cost >= 0 for cost in errors.costs.values()) or not matches.boxes_per_class.any()


def kinds_of(truth, boxes, labels=None):
    """Kind of each detection, the scores falling from one to the next."""
    scores = np.linspace(0.9, 0.5, len(boxes))
    matches = match_detections([truth], [Detections(boxes, scores, labels or [0] * len(boxes))], 2)
    errors = error_types(matches)
    order = np.argsort(matches.positions)
    return [KINDS[kind] if kind >= 0 else None for kind in errors.kinds[order]], errors


def test_each_kind_by_hand():
    truth = GroundTruth.of([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [80, 0, 90, 10]], [0, 0, 1, 0])
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 4], [40, 0, 50, 9], [40, 0, 50, 4], [60, 0, 70, 10]]
    kinds, errors = kinds_of(truth, boxes)
    assert kinds == [None, "duplicate", "localisation", "classification", "both", "background"]
    assert errors.missed.tolist() == [False, False, False, True]
    assert errors.counts == dict.fromkeys(KINDS, 1)


def test_an_overlap_on_a_limit_is_of_the_nearer_kind():
    truth = GroundTruth.of([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 0])
    kinds, _ = kinds_of(truth, [[0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 1]])
    assert kinds == [None, "duplicate", "localisation"]


def test_detections_beyond_the_hundredth_take_no_part():
    kinds, errors = kinds_of(GroundTruth.of([[0, 0, 10, 10]], [0]), [[20, 0, 30, 10]] * 100 + [[0, 0, 10, 10]])
    assert kinds == ["background"] * 100 + [None]
    assert errors.missed.tolist() == [True]


def test_mending_gives_a_box_to_the_better_error_only():
    truth = GroundTruth.of([[0, 0, 10, 10], [50, 0, 60, 10]], [0, 0])
    _, errors = kinds_of(truth, [[0, 0, 10, 4], [0, 0, 10, 3]])
    assert errors.counts["localisation"] == 2
    assert errors.costs["localisation"] == pytest.approx(51 / 101)  # recall .5 at precision 1
    _, shared = kinds_of(truth, [[0, 0, 10, 9], [0, 0, 10, 4]], [1, 0])
    assert shared.costs["classification"] == pytest.approx(51 / 101)
    assert shared.costs["localisation"] == 0.0  # meant for a box that a better error of the other kind was meant for


def test_what_lies_on_a_crowd_is_no_error():
    truth = GroundTruth.of([[0, 0, 50, 50], [60, 0, 70, 10]], [0, 0], [True, False])
    kinds, errors = kinds_of(truth, [[5, 5, 9, 9], [40, 40, 60, 60]])
    assert kinds == [None, "background"]  # a quarter of the second lies on the crowd, which is no box
    assert errors.missed.tolist() == [False, True]
    assert errors.costs["missed"] == 1.0


def test_without_boxes_costs_are_nan_and_a_lower_background_is_refused():
    matches = match_detections([GroundTruth.of([], [])], [Detections([[0, 0, 9, 9]], [0.5], [0])], 1)
    errors = error_types(matches)
    assert np.isnan(errors.map_50)
    assert all(np.isnan(cost) for cost in errors.costs.values())
    assert errors.counts["background"] == 1
    with pytest.raises(ValueError, match=r"0\.05"):
        error_types(matches, background=0.05)
