"""Trackers as training uses them: real ones, read back, compared with metrics.jsonl."""

import os
import shutil
import sys

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import boxwright
from boxwright.config import TrainConfig
from boxwright.data import draw_demo_data, read_folder
from boxwright.evaluation import SplitResults, ground_truth_of
from boxwright.evaluation.operating import measured_spec
from boxwright.metrics import measure
from boxwright.metrics.objective import Objective
from boxwright.runtime import Detections, InputSpec, MissingDependency, ModelSpec
from boxwright.tracking.loggers import GuardedLogger
from boxwright.tracking.media import BestModel
from boxwright.tracking.trackers import require_trackers, tracking
from boxwright.training.best import best_model
from boxwright.training.callbacks import TrackPictures
from support.broken import document, write_data
from support.readers import (
    local_figures,
    mlflow_figures,
    tensorboard_events,
    tensorboard_figures,
    wandb_figures,
    wandb_files,
    wandb_rows,
)

NAMES = ("fish", "ray")
quiet_lightning = pytest.mark.filterwarnings(r"ignore:::lightning\.")  # as training does


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = write_data(tmp_path_factory.mktemp("data"), train=document(), valid=document(20))
    return read_folder(root)


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """One database for all tests: MLflow takes seconds to make its tables."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def config(tmp_path, monkeypatch, uri):
    """All trackers at once."""
    monkeypatch.chdir(tmp_path)
    return TrainConfig(data="d", name="tiny", wandb="offline", tensorboard=True, mlflow=uri, wandb_pictures=3)


def detected(record, epoch):
    """Every second box, with a score that rises with the epochs."""
    scores = np.full(len(record.labels), min(0.1 * (epoch + 1), 1.0))[::2]
    return Detections(record.boxes[::2], scores, record.labels[::2])


class Pretender(L.LightningModule):
    """Logs as a ``DetectionModule`` does; its network learns nothing."""

    def __init__(self, split):
        super().__init__()
        self.network = torch.nn.Linear(1, 1)
        self.figures, self.detections, self._split = None, {}, split

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, index):
        loss = self.network(batch).square().mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, index):
        pass

    def on_validation_epoch_end(self):
        pictures = enumerate(self._split.pictures)
        self.detections = {index: detected(record, self.current_epoch) for index, record in pictures}
        self.figures = measure(ground_truth_of(self._split), list(self.detections.values()), len(NAMES))
        if self.trainer.sanity_checking:
            return
        figures = {"val/map": self.figures.map, "val/f2": self.figures.f2, "val/threshold": self.figures.threshold}
        for logger in self.loggers:
            logger.log_metrics({**figures, "epoch": self.current_epoch}, step=self.global_step)


def fit(loggers, split, epochs, most, say=print):
    batches = DataLoader(torch.ones(2, 1), batch_size=1)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=loggers,
        callbacks=[TrackPictures(split, NAMES, most, say)],
        log_every_n_steps=1,
        num_sanity_val_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Pretender(split), batches, batches)


def require_the_same_everywhere(run, uri):
    local = local_figures(run)
    assert {"train/loss", "val/map", "val/f2", "val/threshold", "epoch"} <= set(local)
    written = {"W&B": wandb_figures(run), "TensorBoard": tensorboard_figures(run), "MLflow": mlflow_figures(uri, run)}
    for tracker, figures in written.items():
        for key, values in local.items():
            assert figures[key] == pytest.approx(values, rel=1e-6, nan_ok=True), (tracker, key)


@quiet_lightning
def test_every_tracker_gets_every_figure_and_the_pictures_of_some_epochs(config, folder, tmp_path):
    messages = []
    with tracking(config, tmp_path, 0, messages.append) as loggers:
        fit(loggers, folder.splits["valid"], epochs=5, most=config.wandb_pictures)
    require_the_same_everywhere(tmp_path, config.mlflow)
    assert sorted(local_figures(tmp_path)["val/map"]) == [2, 4, 6, 8, 10]
    shown = [row for row in wandb_rows(tmp_path) if "val/pictures/count" in row]
    assert [row["epoch"] for row in shown] == [0, 1, 3, 4]
    assert [row["val/pictures/count"] for row in shown] == [3] * 4
    media = wandb_files(tmp_path)[0].parent / "files" / "media"
    assert len(list(media.rglob("*.jpg"))) == 12
    groups = [groups for row in shown for groups in row["val/pictures/all_boxes"]]
    assert all(set(one) == {"ground_truth", "predictions"} for one in groups)
    assert all((media.parent / one["path"]).is_file() for both in groups for one in both.values())
    events = tensorboard_events(tmp_path)
    tags = sorted(events.Tags()["images"])
    assert len(tags) == 3
    assert [image.step for image in events.Images(tags[0])] == [2, 4, 8, 10]
    assert messages == [f"W&B ran offline; to upload: wandb sync {wandb_files(tmp_path)[0].parent}"]


@quiet_lightning
def test_pictures_that_went_away_do_not_stop_training(config, folder, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(folder.root, root)
    split = read_folder(root).splits["valid"]
    messages = []
    with tracking(config.model_copy(update={"wandb": "off", "mlflow": None}), tmp_path, 0, messages.append) as loggers:
        shutil.rmtree(root / "valid")
        fit(loggers, split, 3, 3, messages.append)
    assert len(messages) == 1
    assert messages[0].startswith("Warning: no pictures are tracked any more. Picture ")
    assert sorted(tensorboard_figures(tmp_path)["val/map"]) == [2, 4, 6]


@quiet_lightning
def test_no_pictures_where_none_are_wanted(config, folder, tmp_path):
    with tracking(config.model_copy(update={"wandb": "off", "mlflow": None}), tmp_path, 0, print) as loggers:
        fit(loggers, folder.splits["valid"], epochs=1, most=0)
    assert tensorboard_events(tmp_path).Tags()["images"] == []


def test_the_best_model_is_shown_by_its_own_figures(config, folder, tmp_path):
    split = folder.splits["valid"]
    detections = [detected(record, 3) for record in split.pictures]
    figures = measure(ground_truth_of(split), detections, len(NAMES))
    results = SplitResults.of(split, folder.root / "valid", NAMES, detections)
    spec = ModelSpec("tiny", "fasterrcnn_tiny_fpn", folder.classes, InputSpec(64, 64), provenance={"best_epoch": 3})
    spec = measured_spec(spec, results, Objective.parse("f2"))
    (tmp_path / "spec.json").write_text(spec.to_json())
    best = best_model(tmp_path, spec, results, files=[], weights=False)
    messages = []
    with tracking(config, tmp_path, 0, messages.append) as loggers:
        for logger in loggers:
            logger.log_metrics({"val/map": figures.map, "epoch": 3}, 8)
        for logger in loggers[1:]:
            logger.show_best(best)
    assert [line.split(";")[0] for line in messages] == ["W&B ran offline"]
    for read in (wandb_figures(tmp_path), tensorboard_figures(tmp_path), mlflow_figures(config.mlflow, tmp_path)):
        assert read["best/map"] == pytest.approx({8: figures.map})
        assert read["best/f2"] == pytest.approx({8: figures.f2})
        assert read["best/recall"] == pytest.approx({8: figures.recall})
        assert read["best/epoch"] == {8: 3}
    assert not any(key.startswith("best/") for key in local_figures(tmp_path))
    assert {f"best/precision_recall/{name}" for name in NAMES} <= set(tensorboard_events(tmp_path).Tags()["tensors"])


def names_of_loggers(config, folder):
    with tracking(config, folder, 0, print) as loggers:
        return [logger.name for logger in loggers]


def test_the_local_file_comes_first_and_alone_for_a_trial(config, tmp_path):
    assert names_of_loggers(config, tmp_path) == ["local", "W&B", "TensorBoard", "MLflow"]
    trial = config.model_copy(update={"fast_dev_run": True})
    assert names_of_loggers(trial, tmp_path) == ["local"]


def test_the_address_of_mlflow_stays_here(config, tmp_path):
    """It may hold a password; W&B and MLflow get the other settings."""
    from mlflow.tracking import MlflowClient

    names_of_loggers(config, tmp_path)
    run_id = (tmp_path / "mlflow_run_id").read_text().strip()
    params = MlflowClient(config.mlflow).get_run(run_id).data.params
    assert params["epochs"] == "12"
    assert "mlflow" not in params
    assert b"mlflow.db" not in wandb_files(tmp_path)[0].read_bytes()


def test_a_new_run_in_the_folder_of_a_killed_one_is_another_run_to_the_trackers(config, tmp_path):
    """A resumed one is the same."""
    ids = []
    for is_new in (True, False, True):
        with tracking(config, tmp_path, 0, print, is_new):
            ids.append([(tmp_path / name).read_text() for name in ("mlflow_run_id", "wandb_run_id")])
    assert ids[0] == ids[1]
    assert all(one != other for one, other in zip(ids[1], ids[2], strict=True))


def test_the_best_of_a_resumed_run_is_not_logged_before_its_epochs(config, tmp_path):
    spec = ModelSpec("tiny", "fasterrcnn_tiny_fpn", (), InputSpec(64, 64))
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "step": 41, "val/map": 0.5}\n')
    with tracking(config, tmp_path, 2, print) as loggers:
        tracker = next(one for one in loggers if one.name == "TensorBoard")
        tracker.show_best(BestModel(spec, {"best/map": 0.5}, (), (), (), ()))
    assert tensorboard_figures(tmp_path)["best/map"] == {41: 0.5}


def test_mlflow_leaves_the_environment_as_it_was(config, tmp_path):
    before = dict(os.environ)
    names_of_loggers(config, tmp_path)
    assert dict(os.environ) == before


def test_a_process_of_another_rank_tracks_nothing(config, tmp_path, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with tracking(config, tmp_path, 0, print) as loggers:
        assert not any(logger.tracking for logger in loggers if isinstance(logger, GuardedLogger))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_what_is_not_installed_is_reported_before_anything_starts(config, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=rf"{package}.*boxwright\[{package}\]"):
        names_of_loggers(config, tmp_path)
    assert list(tmp_path.iterdir()) == []
    require_trackers(TrainConfig(data="d"))  # not asked for, not needed


def test_a_training_is_tracked_everywhere(tmp_path, monkeypatch, capsys, uri):
    """From end to end, the model included; then nothing is left to be done but the upload."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "copies"))
    data = draw_demo_data(tmp_path / "data", sizes={"train": 4, "valid": 3})
    settings = {"model": "fasterrcnn_tiny_fpn", "weights": "none", "epochs": 2, "workers": 0, "out": tmp_path / "runs"}
    trackers = {"wandb": "offline", "wandb_model": True, "tensorboard": True, "mlflow": uri}
    run = boxwright.train(data=data, name="tracked", **settings, **trackers).folder
    require_the_same_everywhere(run, uri)
    shown = [row for row in wandb_rows(run) if "val/pictures/count" in row]
    assert [(row["epoch"], row["val/pictures/count"]) for row in shown] == [(0, 3), (1, 3)]
    media = wandb_files(run)[0].parent / "files" / "media"
    assert all((media.parent / name).is_file() for row in shown for name in row["val/pictures/filenames"])
    assert any("best/classes/path" in row for row in wandb_rows(run))
    messages = capsys.readouterr().out
    assert "W&B gets model_state_dict.pth and spec.json, " in messages
    assert f"wandb sync {wandb_files(run)[0].parent}" in messages
    assert (run / "wandb_run_id").read_text().strip() in wandb_files(run)[0].name
