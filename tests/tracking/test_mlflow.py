import json
import math
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from boxwright.tracking.mlflow import RUN_ID_FILE, MlflowTracker, _takes_files, resolve_mlflow_uri
from support.readers import mlflow_figures
from support.samples import best_model, gallery


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """One for all tests: MLflow takes seconds to make its tables."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def uri(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where MLflow puts files beside a database
    return database


def test_a_run_is_filed_with_its_settings_figures_and_files(tmp_path, uri):
    tracker = MlflowTracker(tmp_path, "tiny", "boxwright", uri, {"epochs": 3, "name": None})
    tracker.log_figures({"val/map": 0.1234567890123456, "val/f2": math.nan, "epoch": 0}, 3)
    tracker.show_pictures(gallery())
    tracker.show_best(best_model(tmp_path), 3)
    tracker.finish("success")
    client = MlflowClient(uri)
    run = client.get_run((tmp_path / RUN_ID_FILE).read_text().strip())
    assert run.info.run_name == "tiny"
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "boxwright"
    assert run.data.params == {"epochs": "3", "name": "None"}
    figures = mlflow_figures(uri, tmp_path)
    assert figures["val/map"] == {3: 0.1234567890123456}
    assert math.isnan(figures["val/f2"][3])
    assert sorted(file.path for file in client.list_artifacts(run.info.run_id)) == ["report.html", "spec.json"]
    kept = client.download_artifacts(run.info.run_id, "spec.json", str(tmp_path))
    assert json.loads(Path(kept).read_text())["name"] == "tracked"


def test_resuming_continues_the_run(tmp_path, uri):
    first = MlflowTracker(tmp_path, "tiny", "boxwright", uri, {"epochs": 3})
    first.log_figures({"val/map": 0.1}, 3)
    first.finish("failed")
    client, run_id = MlflowClient(uri), (tmp_path / RUN_ID_FILE).read_text().strip()
    assert client.get_run(run_id).info.status == "FAILED"
    second = MlflowTracker(tmp_path, "tiny", "boxwright", uri, {"epochs": 4})  # MLflow refuses changed parameters
    assert client.get_run(run_id).info.status == "RUNNING"
    second.log_figures({"val/map": 0.2}, 6)
    second.finish("success")
    assert mlflow_figures(uri, tmp_path)["val/map"] == {3: 0.1, 6: 0.2}
    assert client.get_run(run_id).info.status == "FINISHED"
    assert client.get_run(run_id).data.params == {"epochs": "3"}


@pytest.mark.parametrize(
    ("uri", "place", "takes"),
    [
        ("sqlite:///mlflow.db", "/data/mlruns/1", True),
        ("sqlite:///mlflow.db", "file:///data/mlruns/1", True),
        ("sqlite:///mlflow.db", "mlflow-artifacts:/1", False),
        ("http://tracker:5000", "mlflow-artifacts:/1", True),
        ("http://tracker:5000", "/home/server/mlruns/1", False),  # on the server's disk
        ("http://tracker:5000", "s3://bucket/1", False),
        ("postgresql://u@h/d", "s3://bucket/1", False),
    ],
)
def test_files_go_only_where_they_belong(uri, place, takes):
    assert _takes_files(uri, place) == takes


def test_a_database_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_mlflow_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_mlflow_uri("sqlite:////data/mlflow.db") == "sqlite:////data/mlflow.db"
    assert resolve_mlflow_uri("http://tracker:5000") == "http://tracker:5000"
