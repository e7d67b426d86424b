import json

import pytest
from made import CLASSES, made_results

from boxwright.evaluation.operating import measured_spec
from boxwright.metrics import fbeta_curve
from boxwright.metrics.objective import Objective
from boxwright.runtime import ConfigError, InputSpec, ModelSpec

SPEC = ModelSpec("made", "fasterrcnn_tiny_fpn", CLASSES, InputSpec(96, 96))


def test_the_specification_gets_the_point_its_intervals_and_the_figures_there():
    results = made_results(0.8)
    spec = measured_spec(SPEC, results, Objective.parse("f2"))
    point, curve = spec.operating_point, fbeta_curve(results.matches())
    assert (point.threshold, point.value) == curve.best()
    assert (point.objective, point.split) == ("f2", "valid")
    assert point.interval[0] <= point.threshold <= point.interval[1]
    assert point.value_interval[0] < point.value < point.value_interval[1]
    measured = spec.measured["valid"]
    assert measured["f2"] == point.value
    assert measured["intervals"]["f2"] == point.value_interval
    assert measured["intervals"]["per_class"]["dog"]["map"][0] < measured["per_class"]["dog"]["map"]
    assert ModelSpec.from_json(spec.to_json()).operating_point == point
    assert json.loads(spec.to_json())["measured"]["valid"]["images"] == 60


def test_classes_with_boxes_enough_have_thresholds_of_their_own():
    spec = measured_spec(SPEC, made_results(0.8), Objective.parse("f2"), by_class=True)
    point = spec.operating_point
    assert set(point.per_class) == {"cat", "dog"}
    assert point.thresholds(("cat", "dog")) == (point.per_class["cat"], point.per_class["dog"])
    assert [one["threshold"] for one in spec.measured["valid"]["per_class"].values()] == list(point.per_class.values())
    few = measured_spec(SPEC, made_results(0.8, pictures=20), Objective.parse("f2"), by_class=True).operating_point
    assert few.per_class == {}
    assert few.thresholds(("cat", "dog")) == (few.threshold, few.threshold)


def test_another_objective_is_kept_to():
    spec = measured_spec(SPEC, made_results(0.8), Objective.parse("precision>=0.97"))
    assert spec.operating_point.objective == "precision>=0.97"
    assert spec.measured["valid"]["precision"] >= 0.97
    assert spec.measured["valid"]["recall"] == spec.operating_point.value


def test_what_cannot_be_attained_is_said():
    with pytest.raises(ConfigError, match=r"recall"):
        measured_spec(SPEC, made_results(0.5), Objective.parse("recall>=0.99"))
