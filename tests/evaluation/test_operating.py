import json
from dataclasses import replace

import numpy as np
import pytest

from boxwright.evaluation import SplitResults
from boxwright.evaluation.operating import measured_spec, with_reported
from boxwright.evaluation.results import RESULTS
from boxwright.metrics import GroundTruth, fbeta_at, fbeta_curve, measure
from boxwright.metrics.objective import Objective
from boxwright.reporting.words import sentence
from boxwright.runtime import ConfigError, Detections, InputSpec, ModelSpec
from support.made import CLASSES, made_results, made_run

SPEC = ModelSpec("made", "fasterrcnn_tiny_fpn", CLASSES, InputSpec(96, 96))


def test_the_specification_gets_the_point_its_intervals_and_the_figures_there():
    results = made_results(0.8)
    spec = measured_spec(SPEC, results, Objective.parse("f2"))
    point, curve = spec.operating_point, fbeta_curve(results.matches())
    best, value = curve.best()
    scores = np.sort(np.concatenate([one.scores for one in results.detections]).astype(float))
    assert scores[scores >= point.threshold][0] == best
    assert point.threshold == pytest.approx((best + scores[scores < best][-1]) / 2)
    assert point.value == value
    assert (point.objective, point.split) == ("f2", "valid")
    assert point.interval[0] <= point.threshold <= point.interval[1]
    assert point.value_interval[0] < point.value < point.value_interval[1]
    measured = spec.measured["valid"]
    assert measured["f2"] == point.value
    assert measured["intervals"]["f2"] == point.value_interval
    assert measured["intervals"]["per_class"]["dog"]["map"][0] < measured["per_class"]["dog"]["map"]
    assert ModelSpec.from_json(spec.to_json()).operating_point == point
    assert json.loads(spec.to_json())["measured"]["valid"]["images"] == 60


@pytest.mark.parametrize("by_class", [False, True])
def test_the_figures_of_what_is_reported_are_there_too(by_class):
    """By definition F2, precision and recall at the operating point are the same; mAP misses the fainter detections."""
    results = made_results(0.8)
    spec = measured_spec(SPEC, results, Objective.parse("f2"), by_class)
    measured = spec.measured["valid"]
    reported = measured["reported"]
    for figure in ("f2", "f2_macro", "precision", "recall", "images"):
        assert reported[figure] == measured[figure]
    cut = [one.filter_by_score(spec.operating_point.thresholds(("cat", "dog"))) for one in results.detections]
    assert sum(map(len, cut)) < sum(map(len, results.detections))
    assert reported["map"] == measure(results.truths, cut, 2).map
    assert reported["map"] <= measured["map"]


def test_an_older_run_gets_them_from_its_detections(tmp_path):
    run = made_run(tmp_path / "run", made_results(0.8), "old")
    spec = ModelSpec.load(run / "spec.json")
    reported = spec.measured["valid"].pop("reported")
    assert with_reported(spec, run).measured["valid"]["reported"] == reported
    (run / RESULTS).unlink()
    assert with_reported(spec, run) is spec


def test_classes_with_boxes_enough_have_thresholds_of_their_own():
    spec = measured_spec(SPEC, made_results(0.8), Objective.parse("f2"), by_class=True)
    point = spec.operating_point
    assert set(point.per_class) == {"cat", "dog"}
    assert point.thresholds(("cat", "dog")) == (point.per_class["cat"], point.per_class["dog"])
    assert [one["threshold"] for one in spec.measured["valid"]["per_class"].values()] == list(point.per_class.values())
    few = measured_spec(SPEC, made_results(0.8, pictures=20), Objective.parse("f2"), by_class=True).operating_point
    assert few.per_class == {}
    assert few.thresholds(("cat", "dog")) == (few.threshold, few.threshold)


def test_by_class_the_value_is_that_of_the_thresholds_in_use():
    results = made_results(0.8)
    for objective in ("f2", "f1", "recall>=0.5"):
        spec = measured_spec(SPEC, results, Objective.parse(objective), by_class=True)
        thresholds = np.array(spec.operating_point.thresholds(results.class_names))
        beta = {"f2": 2.0, "f1": 1.0}.get(objective)
        measured = (
            spec.measured["valid"]["precision"] if beta is None else fbeta_at(results.matches(), thresholds, beta)
        )
        assert spec.operating_point.value == measured
        assert (spec.operating_point.value_interval is None) == (objective == "f1")


def scored(label, score, right):
    """A picture of one box, and one detection on it or beside it."""
    boxes = [[0, 0, 9, 9]] if right else [[50, 50, 59, 59]]
    return GroundTruth.of([[0, 0, 9, 9]], [label]), Detections(boxes, [score], [label])


def test_by_class_a_bound_must_hold_for_all_together():
    """The cats' own threshold leaves no room for the dogs, which have too few boxes for one of theirs."""
    cats = [scored(0, 0.9, True)] * 40 + [scored(0, 0.5, False)] * 11 + [scored(0, 0.3, True)] * 5
    dogs = [scored(1, 0.6, True)] * 10 + [scored(1, 0.6, False)] * 8
    truths, detections = zip(*cats, *dogs, strict=True)
    names = tuple(f"{number}.jpg" for number in range(len(truths)))
    results = SplitResults("valid", ("cat", "dog"), names, np.full((len(truths), 2), 99), truths, detections)
    objective = Objective.parse("precision>=0.8")
    assert measured_spec(SPEC, results, objective).operating_point.threshold == pytest.approx((0.6 + 0.5) / 2)
    with pytest.raises(ConfigError, match=r"0\.743.*--global"):
        measured_spec(SPEC, results, objective, by_class=True)


def test_another_objective_is_kept_to():
    spec = measured_spec(SPEC, made_results(0.8), Objective.parse("precision>=0.97"))
    assert spec.operating_point.objective == "precision>=0.97"
    assert spec.measured["valid"]["precision"] >= 0.97
    assert spec.measured["valid"]["recall"] == spec.operating_point.value


def test_what_cannot_be_attained_is_said():
    with pytest.raises(ConfigError, match=r"recall"):
        measured_spec(SPEC, made_results(0.5), Objective.parse("recall>=0.99"))


def test_a_detector_that_finds_nothing_has_the_threshold_that_training_shows():
    results = made_results(0.8)
    silent = replace(results, detections=tuple(Detections.empty() for _ in results.detections))
    point = measured_spec(SPEC, silent, Objective.parse("f2")).operating_point
    assert point.threshold == measure(silent.truths, silent.detections, 2).threshold == 0.5
    assert (point.value, point.interval) == (0, None)
    assert sentence(point, silent.class_names).startswith("The operating point is the default, a score of 0.500")


def test_the_threshold_of_one_picture_has_no_interval():
    results = made_results(0.8)
    number = next(number for number, truth in enumerate(results.truths) if len(truth.boxes))
    parts = ("file_names", "sizes", "truths", "detections")
    one = replace(results, **{name: getattr(results, name)[number : number + 1] for name in parts})
    point = measured_spec(SPEC, one, Objective.parse("f2")).operating_point
    assert (point.interval, point.value_interval) == (None, None)
