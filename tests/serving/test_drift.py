"""Drift of what is served against validation."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from boxwright.evaluation import SplitResults
from boxwright.evaluation.operating import with_reported
from boxwright.metrics.stability import picture_counts
from boxwright.runtime import Detections, Execution, ModelSpec, open_bundle
from boxwright.serving.drift import ALERT, LEAST_PICTURES, Drift, expected_counts
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.jobs import Answer
from boxwright.serving.metrics import Metrics
from support.exported import with_export


@pytest.fixture(scope="module")
def spec(mar):
    return open_bundle(mar).spec


@pytest.fixture(scope="module")
def validation(run, spec):
    """What the model reported on each picture of validation."""
    results = SplitResults.load(run / "detections.npz")
    return [one.filter_by_score(spec.operating_point.thresholds(spec.class_names)) for one in results.detections]


def shown(drift, pictures, count, seed=0):
    generator = np.random.default_rng(seed)
    for number in generator.integers(0, len(pictures), count):
        one = pictures[number]
        drift.add(picture_counts(one.labels, one.scores, 3))
    return drift


def test_an_archive_holds_the_counts_of_what_its_model_reported_on_validation(spec, validation):
    counts = expected_counts(spec)
    assert counts.pictures == len(validation) == 16
    labels = np.concatenate([one.labels for one in validation])
    assert counts.classes[:3].tolist() == np.bincount(labels, minlength=3).tolist()
    assert counts.classes[3] == sum(not len(one) for one in validation)
    assert counts.scores.sum() == len(labels) > 0


def test_a_run_without_them_gets_them_when_it_is_archived(run, tmp_path):
    spec = ModelSpec.load(run / "spec.json")
    counts = spec.measured["valid"].pop("reported_counts")
    older = replace(spec, measured={"valid": dict(spec.measured["valid"])})
    assert expected_counts(older) is None
    assert with_reported(older, run).measured["valid"]["reported_counts"] == json.loads(json.dumps(counts))
    assert with_reported(older, run).measured["valid"]["reported"] == older.measured["valid"]["reported"]


def test_counts_of_the_operating_points_split_are_preferred(spec):
    valid = spec.measured["valid"]
    other = {**valid, "reported_counts": {**valid["reported_counts"], "pictures": 99}}
    both = replace(spec, measured={"another": other, "valid": valid})
    assert expected_counts(both).pictures == 16
    elsewhere = replace(both, operating_point=replace(spec.operating_point, split="another"))
    assert expected_counts(elsewhere).pictures == 99


def test_more_of_the_same_is_no_drift(spec, validation):
    figures = shown(Drift(spec), validation, 400).figures()
    assert max(figures.classes, figures.scores) < ALERT
    assert figures.pictures == 400


def test_one_class_alone_is_drift_of_classes(spec, validation):
    only = [one.select(one.labels == 2) for one in validation if (one.labels == 2).any()]
    figures = shown(Drift(spec), only, 400).figures()
    assert figures.classes > ALERT


def test_lower_scores_are_drift_of_scores_not_of_classes(spec, validation):
    sure = [Detections(one.boxes, np.full(len(one), 0.95), one.labels) for one in validation]
    figures = shown(Drift(spec), sure, 400).figures()
    assert figures.scores > ALERT > figures.classes


def test_a_camera_that_sees_nothing_is_drift(spec):
    figures = shown(Drift(spec), [Detections.empty()], 400).figures()
    assert figures.classes > ALERT


def test_only_the_window_counts(spec, validation):
    drift = Drift(spec, window=300, least=200)
    assert shown(drift, [Detections.empty()], 300).figures().classes > ALERT
    assert shown(drift, validation, 300, seed=1).figures().classes < ALERT
    assert drift.pictures == 300


def test_with_few_pictures_nothing_is_said(spec, validation):
    drift = shown(Drift(spec), validation, LEAST_PICTURES - 1)
    assert drift.figures() is None
    assert shown(drift, validation, 1).figures() is not None


def test_with_nothing_to_compare_with_nothing_is_said(spec, validation):
    assert shown(Drift(replace(spec, measured={})), validation, 400).figures() is None


def exported(metrics):
    families = text_string_to_metric_families(metrics.text())
    return {
        one.name: one.value for family in families for one in family.samples if one.name.startswith("boxwright_drift")
    }


@pytest.fixture
def engine(mar, tmp_path):
    engine = Engine(
        load_models([with_export(mar, tmp_path / "tiny.mar", "onnxruntime-fp32")], Execution("onnxruntime"))
    )
    yield engine
    engine.close(5)


def test_drift_is_exported_from_the_least_number_of_pictures_on(engine, validation):
    metrics = Metrics(engine, window=60, least=50)
    (model,) = engine.models.values()
    for number in range(60):
        if number in (0, 49):
            assert set(exported(metrics)) == {"boxwright_drift_pictures", "boxwright_drift_reference_pictures"}
        metrics.observe(model, Answer(validation[number % 16], {"decode": 0, "queue": 0, "network": 0}, 1))
    figures = exported(metrics)
    assert (figures["boxwright_drift_pictures"], figures["boxwright_drift_reference_pictures"]) == (60, 16)
    assert figures["boxwright_drift_classes"] < ALERT
    assert figures["boxwright_drift_scores"] < ALERT


def test_detections_below_the_operating_point_do_not_count(engine, run):
    """The engine answers all detections; validation's counts are of those that are reported."""
    metrics = Metrics(engine, window=60, least=16)
    (model,) = engine.models.values()
    for one in SplitResults.load(run / "detections.npz").detections:
        metrics.observe(model, Answer(one, {"decode": 0, "queue": 0, "network": 0}, 1))
    assert exported(metrics)["boxwright_drift_classes"] == 0
    assert exported(metrics)["boxwright_drift_scores"] == 0


def test_a_served_stand_in_that_answers_circles_only_drifts(ask, engine, odd_pictures):
    from boxwright.serving.app import create_app

    metrics = Metrics(engine, window=60, least=10)
    app = create_app(engine)
    for _ in range(12):
        assert ask("POST", "/predictions/tiny", app, content=odd_pictures[0].read_bytes()).status_code == 200
    assert exported(metrics)["boxwright_drift_scores"] > ALERT


def test_an_archive_without_counts_is_served_without_drift(ask, mar, tmp_path, odd_pictures):
    """Archives of older versions hold none."""
    path = with_export(mar, tmp_path / "old.mar", "onnxruntime-fp32")
    with zipfile.ZipFile(path) as file:
        assert b"reported_counts" in file.read("boxwright.json")
    bundle = open_bundle(path)
    engine = Engine(load_models([path], Execution("onnxruntime")))
    (model,) = engine.models.values()
    measured = {"valid": {key: one for key, one in bundle.spec.measured["valid"].items() if key != "reported_counts"}}
    model.spec = replace(model.spec, measured=measured)
    metrics = Metrics(engine, window=5, least=1)
    metrics.observe(model, Answer(Detections.empty(), {"decode": 0, "queue": 0, "network": 0}, 1))
    assert exported(metrics) == {"boxwright_drift_pictures": 1, "boxwright_drift_reference_pictures": 0}
    engine.close(5)
