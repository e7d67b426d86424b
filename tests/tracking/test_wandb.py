"""The real library, offline: the file it wrote is read back with its own record types."""

import json
import shlex
import signal

import pytest
from PIL import Image

from boxwright.tracking.wandb import (
    WandbTracker,
    _interrupts_wait,
    resolve_wandb_mode,
    wandb_sync_command,
)
from support.readers import wait_for_the_next_second, wandb_figures, wandb_files, wandb_records, wandb_rows
from support.samples import best_model, gallery


@pytest.fixture
def no_key(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("wanted", "environment", "mode"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": "k" * 40}, "online"),
        ("auto", {"WANDB_MODE": "disabled"}, "off"),
        ("auto", {"WANDB_MODE": "offline", "WANDB_API_KEY": "k" * 40}, "offline"),
        ("online", {}, "offline"),
        ("online", {"WANDB_API_KEY": "k" * 40}, "online"),
        ("off", {"WANDB_API_KEY": "k" * 40}, "off"),
    ],
)
def test_offline_without_a_key_and_never_a_prompt(no_key, monkeypatch, wanted, environment, mode):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert resolve_wandb_mode(wanted) == mode


def test_a_key_in_netrc_counts(no_key, tmp_path):
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert resolve_wandb_mode("auto") == "online"


def test_ctrl_c_waits_until_wandb_has_started():
    done = []

    def start():
        with _interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def started(no_key, tmp_path, monkeypatch):
    """A function that starts a tracker on one run folder; what it prints."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "copies"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "copies"))
    messages = []
    return lambda: WandbTracker(tmp_path, "tiny", "boxwright", "offline", {"epochs": 3}, messages.append), messages


def of_kind(run, kind):
    records = (record for file in wandb_files(run) for record in wandb_records(file))
    return [getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind]


def test_figures_are_drawn_over_steps_and_summed_up_by_their_best(started, tmp_path):
    tracker = started[0]()
    for step, value in ((3, 0.1), (6, 0.4), (9, 0.2)):
        tracker.log_figures({"val/map": value, "val/f2": value, "train/loss": value, "val/threshold": 0.5}, step)
    tracker.finish("success")
    metrics = {metric.name or metric.glob_name: metric for metric in of_kind(tmp_path, "metric")}
    assert all(metrics[key].step_metric == "trainer/global_step" for key in ("*", "val/map", "val/f2", "train/loss"))
    assert metrics["val/map"].summary.max
    assert metrics["val/f2"].summary.max
    assert metrics["train/loss"].summary.min
    assert wandb_figures(tmp_path)["val/map"] == {3: 0.1, 6: 0.4, 9: 0.2}


def test_pictures_have_boxes_to_show_and_hide(started, tmp_path):
    tracker = started[0]()
    tracker.show_pictures(gallery(epoch=1, step=7))
    tracker.finish("success")
    (row,) = wandb_rows(tmp_path)
    assert (row["epoch"], row["trainer/global_step"]) == (1, 7)
    files = wandb_files(tmp_path)[0].parent / "files"
    assert row["val/pictures/captions"] == ["large.jpg", "small.jpg"]
    for name in row["val/pictures/filenames"]:
        with Image.open(files / name) as image:  # of one size, or W&B misplaces the boxes
            assert (image.format, image.size) == ("JPEG", (640, 480))
    (there, found), nothing = (
        [json.loads((files / groups[group]["path"]).read_text()) for group in ("ground_truth", "predictions")]
        for groups in row["val/pictures/all_boxes"]
    )
    assert there["class_labels"] == {"0": "cat", "1": "dog"}
    place = {"minX": 50.0, "minY": 100.0, "maxX": 150.0, "maxY": 200.0}  # half of the picture's size
    assert there["box_data"] == [{"position": place, "domain": "pixel", "class_id": 1, "box_caption": "dog"}]
    dog, cat = found["box_data"]  # that of score .01 is left out
    assert dog["position"] == place
    assert dog["box_caption"] == "dog 0.93"
    assert dog["scores"]["score"] == pytest.approx(0.93)
    assert cat["box_caption"] == "cat 0.20"
    assert [one["box_data"] for one in nothing] == [[], []]


def test_the_best_model_has_a_table_and_curves(started, tmp_path):
    tracker = started[0]()
    tracker.show_best(best_model(tmp_path), 9)
    tracker.finish("success")
    files = wandb_files(tmp_path)[0].parent / "files"
    (row,) = wandb_rows(tmp_path)
    table = json.loads((files / row["best/classes/path"]).read_text())
    assert table["columns"] == ["class", "boxes", "AP", "AP50", "F2", "precision", "recall"]
    assert table["data"][1] == ["dog", 10, 0.5, 0.7, 0.8, 0.9, 0.75]
    points = json.loads((files / row["best/precision_recall_table/path"]).read_text())
    assert points["columns"] == ["class", "recall", "precision", "threshold"]
    assert len(points["data"]) == 101
    assert points["data"][0] == pytest.approx(["dog", 0.1, 1.0, 0.99])
    assert all(one.type == "run_table" for one in of_kind(tmp_path, "artifact"))


def test_a_model_is_kept_only_when_asked_for_and_its_size_is_printed(started, tmp_path):
    start, messages = started
    tracker = start()
    tracker.show_best(best_model(tmp_path, weights=True), 9)
    tracker.finish("success")
    assert messages == ["W&B gets model_state_dict.pth and spec.json, 1.5 MB."]
    (model,) = (one for one in of_kind(tmp_path, "artifact") if one.type == "model")
    assert model.name == "tracked"
    assert sorted(entry.path for entry in model.manifest.contents) == ["model_state_dict.pth", "spec.json"]
    about = json.loads(model.metadata)
    assert about["classes"] == ["cat", "dog"]
    assert len(about["contract"]) == len(about["data_fingerprint"]) == 64
    assert about["operating_point"]["threshold"] == 0.4
    assert about["measured"] == {"valid": {"map": 0.5}}


def test_a_resumed_run_keeps_its_id(started, tmp_path):
    start, _ = started
    for step, status in ((3, "failed"), (6, "success")):
        wait_for_the_next_second()
        tracker = start()
        tracker.log_figures({"val/map": step / 10}, step)
        tracker.finish(status)
    kept = (tmp_path / "wandb_run_id").read_text().strip()
    assert {run.run_id for run in of_kind(tmp_path, "run")} == {kept}
    assert [record.exit_code for record in of_kind(tmp_path, "exit")] == [1, 0]
    assert wandb_figures(tmp_path)["val/map"] == {3: 0.3, 6: 0.6}
    files = [str(file.parent) for file in wandb_files(tmp_path)]
    assert shlex.split(wandb_sync_command(tmp_path)) == ["wandb", "sync", *files]


def test_a_run_of_the_callers_own_goes_on(started, tmp_path):
    import wandb

    place = tmp_path / "own"
    place.mkdir()
    own = wandb.init(project="own", dir=place, mode="offline", settings=wandb.Settings(silent=True))
    tracker = started[0]()
    tracker.log_figures({"val/map": 0.5}, 3)
    tracker.finish("success")
    own.log({"mine": 1})
    own.finish()
    wandb.teardown()  # until both files are written
    assert wandb_figures(tmp_path) == {"val/map": {3: 0.5}}
    assert [row["mine"] for row in wandb_rows(place)] == [1]


def test_the_command_that_uploads_can_be_pasted(tmp_path):
    folder = tmp_path / "my runs; all" / "wandb" / "offline-run-1"
    folder.mkdir(parents=True)
    assert shlex.split(wandb_sync_command(tmp_path / "my runs; all")) == ["wandb", "sync", str(folder)]
    assert wandb_sync_command(tmp_path) is None
