"""The local file; trackers that really fail: none may raise, each prints one warning."""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from boxwright.tracking.loggers import GuardedLogger, LocalLogger
from boxwright.tracking.metrics_file import METRICS_FILE, read_metrics
from boxwright.tracking.mlflow import MlflowTracker
from boxwright.tracking.tensorboard import TensorBoardTracker
from boxwright.tracking.wandb import WandbTracker
from support import wandb_service
from support.mlflow_server import mlflow_server
from support.readers import mlflow_figures, tensorboard_figures, wandb_figures
from support.samples import best_model, gallery
from support.wandb_service import kill_wandbs_service


def test_lines_are_json_and_nan_is_null(tmp_path):
    logger = LocalLogger(tmp_path)
    logger.log_metrics({"epoch": 0.0, "val/map": float("nan"), "val/f2": 0.5}, step=7)
    assert [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()] == [
        {"epoch": 0, "step": 7, "val/map": None, "val/f2": 0.5}
    ]


def test_resuming_drops_what_comes_again_and_a_line_cut_off(tmp_path):
    logger = LocalLogger(tmp_path)
    for epoch in range(3):
        logger.log_metrics({"epoch": epoch, "val/f2": epoch / 10}, step=epoch)
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"epoch": 2, "val')
    LocalLogger(tmp_path, first_epoch=2)
    assert [line["epoch"] for line in read_metrics(tmp_path)] == [0, 1]


@pytest.fixture
def messages():
    return []


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """One for all tests: MLflow takes seconds to make its tables."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def make(tmp_path, messages, database, monkeypatch):
    """Loggers by name, on one run folder."""
    monkeypatch.chdir(tmp_path)

    def loggers(name, uri=database):
        starts = {
            "W&B": lambda: WandbTracker(tmp_path, "a", "p", "offline", {}, messages.append),
            "TensorBoard": lambda: TensorBoardTracker(tmp_path, 0),
            "MLflow": lambda: MlflowTracker(tmp_path, "a", "p", uri, {"epochs": 3}),
        }
        return GuardedLogger(name, starts[name], messages.append)

    return loggers


def use_all(logger, folder):
    """Everything that training calls."""
    logger.log_metrics({"val/map": 0.5, "epoch": 0}, 3)
    logger.show_pictures(gallery())
    logger.show_best(best_model(folder))
    logger.finalize("success")
    logger.finish()


def require_one_warning(messages, *words):
    assert len(messages) == 1, messages
    assert messages[0].startswith("Warning: ")
    assert messages[0].endswith(".")
    assert "\n" not in messages[0]
    assert all(word in messages[0] for word in words), messages


@pytest.mark.parametrize(
    ("name", "in_the_way"), [("W&B", "wandb_run_id"), ("TensorBoard", "tensorboard"), ("MLflow", "mlflow_run_id")]
)
def test_one_that_cannot_start(make, messages, tmp_path, name, in_the_way):
    if name == "TensorBoard":
        (tmp_path / in_the_way).write_text("a file where a folder should be")
    else:
        (tmp_path / in_the_way).mkdir()  # a folder where a file should be
    logger = make(name)
    assert not logger.tracking
    use_all(logger, tmp_path)
    require_one_warning(messages, f"{name} does not track this run", in_the_way)


def test_tensorboards_folder_goes_away(make, messages, tmp_path, capfd):
    logger = make("TensorBoard")
    logger.log_metrics({"val/map": 0.1}, 1)
    shutil.rmtree(tmp_path / "tensorboard")
    use_all(logger, tmp_path)
    require_one_warning(messages, "TensorBoard no longer tracks this run", "is gone")
    assert "Traceback" not in capfd.readouterr().err


def test_tensorboard_fails_at_its_end(make, messages, tmp_path):
    logger = make("TensorBoard")
    logger.log_metrics({"val/map": 0.1}, 1)
    shutil.rmtree(tmp_path / "tensorboard")
    (tmp_path / "tensorboard").write_text("a file where a folder should be")
    logger.finish()
    require_one_warning(messages, "TensorBoard no longer tracks this run")


def test_wandbs_service_dies(make, messages, tmp_path):
    logger = make("W&B")
    logger.log_metrics({"val/map": 0.1}, 1)
    kill_wandbs_service()
    use_all(logger, tmp_path)
    require_one_warning(messages, "W&B no longer tracks this run")
    (tmp_path / "wandb_run_id").unlink()
    again = make("W&B")  # a later run of the same program is tracked
    again.log_metrics({"val/map": 0.25}, 2)
    again.finish()
    assert wandb_figures(tmp_path)["val/map"][2] == 0.25
    assert len(messages) == 1


def test_a_program_whose_wandb_service_died_ends_quietly(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # this process's own
    command = [sys.executable, wandb_service.__file__, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Warning: W&B no longer tracks this run")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_mlflow_where_nothing_listens_is_given_up_soon(make, messages, tmp_path, caplog):
    caplog.set_level(logging.CRITICAL, "urllib3")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        started = time.monotonic()
        use_all(make("MLflow", f"http://127.0.0.1:{closed.getsockname()[1]}"), tmp_path)
    assert time.monotonic() - started < 20
    require_one_warning(messages, "MLflow does not track this run")


def test_mlflow_of_an_unknown_kind(make, messages, tmp_path):
    use_all(make("MLflow", "localhost:5000"), tmp_path)
    require_one_warning(messages, "MLflow does not track this run", "localhost")


def test_a_server_gets_everything_until_it_goes_away(make, messages, tmp_path, caplog):
    caplog.set_level(logging.CRITICAL, "urllib3")
    store = tmp_path / "server"
    store.mkdir()
    with mlflow_server(store) as server:
        logger = make("MLflow", server.uri)
        logger.log_metrics({"val/map": 0.1, "epoch": 0}, 3)
        logger.show_best(best_model(tmp_path))
        logger.log_metrics({"val/map": 0.2, "epoch": 1}, 6)
        assert mlflow_figures(server.uri, tmp_path)["val/map"] == {3: 0.1, 6: 0.2}
        assert sorted(path.name for path in (store / "files").rglob("*") if path.is_file()) == [
            "report.html",
            "spec.json",
        ]
        server.stop()
        started = time.monotonic()
        use_all(logger, tmp_path)
        assert time.monotonic() - started < 20
    require_one_warning(messages, "MLflow no longer tracks this run")


def test_what_one_misses_the_others_get(make, messages, tmp_path):
    broken, sound = make("MLflow", "nothing://there"), make("TensorBoard")
    for logger in (broken, sound):
        use_all(logger, tmp_path)
    assert tensorboard_figures(tmp_path)["val/map"] == {3: 0.5}
    require_one_warning(messages, "MLflow")


def test_nothing_is_printed_where_nothing_fails(make, messages, tmp_path):
    for name in ("W&B", "TensorBoard", "MLflow"):
        logger = make(name)
        assert logger.tracking
        use_all(logger, tmp_path)
        assert not logger.tracking
    assert messages == []
