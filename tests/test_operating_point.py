"""The operating point travels: predict, the server and the TorchServe handler all report from it."""

import json
import shutil
import urllib.request
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import boxwright
from boxwright.inputs import Predictor
from boxwright.runtime import ModelSpec, OperatingPoint
from boxwright.runtime.torchserve import Handler
from boxwright.serving.engine import load_models
from boxwright.serving.server import background_server


@pytest.fixture(scope="module")
def by_class(run, tmp_path_factory):
    """A run whose classes are reported from scores of their own: one hardly ever, one nearly always."""
    folder = tmp_path_factory.mktemp("by-class") / "run"
    shutil.copytree(run, folder)
    spec = ModelSpec.load(folder / "spec.json")
    first, second, *_ = spec.class_names
    point = OperatingPoint(0.3, per_class={first: 0.9, second: 0.05}, by_class=True)
    (folder / "spec.json").write_text(replace(spec, operating_point=point).to_json())
    return folder


@pytest.fixture(scope="module")
def picture(demo_data):
    return next((demo_data / "test").glob("*.jpg")).read_bytes()


@pytest.fixture(scope="module")
def wanted(run, by_class, picture):
    """The answer by hand: all detections of the run, each held against its own class's threshold."""
    predictor = Predictor(run, threshold=0.0)
    thresholds = np.array([0.9, 0.05, 0.3])
    found = predictor(picture)
    kept = found.select(found.scores.astype(float) >= thresholds[found.labels])
    assert 0 < len(kept) < len(found)
    assert sorted(kept.scores.tolist(), reverse=True) != found.filter_by_score(0.3).scores.tolist()
    return kept.to_answer(predictor.spec.class_names)


def test_predict_reports_from_it(by_class, picture, wanted):
    predictor = Predictor(by_class)
    assert predictor(picture).to_answer(predictor.spec.class_names) == wanted


def test_the_archive_and_the_server_report_from_it(by_class, picture, wanted, tmp_path):
    mar = boxwright.archive(by_class, store=tmp_path, name="own", precisions=())  # torch: equal to the last bit
    with zipfile.ZipFile(mar) as file:
        assert json.loads(file.read("boxwright.json"))["operating_point"]["by_class"] is True
    with background_server(load_models([mar])) as base:
        request = urllib.request.Request(f"{base}/predictions/own", data=picture, method="PUT")
        request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request, timeout=30) as response:
            assert json.load(response) == wanted


def test_the_torchserve_handler_reports_from_it(by_class, picture, wanted):
    context = SimpleNamespace(system_properties={"model_dir": str(by_class), "gpu_id": None})
    handler = Handler()
    handler(None, context)
    assert handler([{"body": picture}], context) == [wanted]


def test_evaluate_measures_with_it(by_class, demo_data):
    figures = boxwright.evaluate(by_class, demo_data).figures
    assert [one.threshold for one in figures.per_class] == [0.9, 0.05, 0.3]
