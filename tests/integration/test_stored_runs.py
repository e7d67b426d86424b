"""A run that is kept in an S3 server outlives its machine, and is there what it is in a folder."""

import json
import signal
import subprocess
import sys

import pytest
import s3fs
import torch
import yaml
from rich.console import Console

import boxwright
from boxwright.data import draw_demo_data
from boxwright.host.files import cache_folder
from boxwright.inputs.stores import work_folder
from boxwright.runtime import ConfigError, DataError
from boxwright.tracking.metrics_file import read_metrics
from boxwright.training import resume
from boxwright.training.launch import Task
from support.command_line import boxwright as command
from support.object_store import KEYS, Bucket, object_store
from support.server import served

SETTINGS = {
    "model": "fasterrcnn_tiny_fpn",
    "weights": "none",
    "image_size": 96,
    "wandb": "off",
    "workers": 0,
    "epochs": 2,
    "batch_size": 2,
}

KILLED = """
import os, signal, sys
import lightning as L
import boxwright

class Kill(L.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, index):
        if (trainer.current_epoch, index) == (1, 1):
            os.kill(os.getpid(), signal.SIGKILL)

def trainer(**options):
    return L.Trainer(**{{**options, "callbacks": [*options["callbacks"], Kill()]}})

if __name__ == "__main__":
    boxwright.train(data=sys.argv[1], out=sys.argv[2], name="killed", make_trainer=trainer, **{settings})
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return draw_demo_data(tmp_path_factory.mktemp("small") / "shapes", sizes={"train": 6, "valid": 3})


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with object_store() as address, pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("first")))
        s3fs.S3FileSystem.clear_instance_cache()
        yield Bucket(address)
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def unbroken(small, tmp_path_factory):
    return boxwright.train(data=small, out=tmp_path_factory.mktemp("unbroken"), name="killed", **SETTINGS).folder


@pytest.fixture(scope="module")
def killed(bucket, small, tmp_path_factory):
    """The URL of a run whose machine was lost in its second epoch; what it left there."""
    script = tmp_path_factory.mktemp("script") / "killed.py"
    script.write_text(KILLED.format(settings=SETTINGS))
    out = f"s3://{bucket.name}/runs"
    done = subprocess.run([sys.executable, script, small, out], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return f"{out}/killed", bucket.keys("runs/killed/")


@pytest.fixture(scope="module")
def resumed(killed, tmp_path_factory):
    """It went on on another machine, which has nothing of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("second")))
        return resume(killed[0], console=Console(quiet=True))


def contents(bucket):
    return {key.removeprefix("runs/killed/"): bucket.get(key) for key in bucket.keys("runs/killed/")}


def test_what_is_there_after_a_kill_is_enough_to_go_on(killed):
    names = {key.removeprefix("runs/killed/") for key in killed[1]}
    assert names == {"config.yaml", "metrics.jsonl", "checkpoints/best.ckpt", "checkpoints/last.ckpt"}


def test_the_resumed_run_has_the_bits_of_one_in_a_folder(resumed, unbroken, bucket, tmp_path):
    there = contents(bucket)
    assert set(there) == {one.relative_to(unbroken).as_posix() for one in unbroken.rglob("*") if one.is_file()}
    for name, content in there.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    left, right = (torch.load(run / "model_state_dict.pth", weights_only=True) for run in (tmp_path, unbroken))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert there["detections.npz"] == (unbroken / "detections.npz").read_bytes()
    lines = [
        [{name: value for name, value in line.items() if "per_s" not in name} for line in read_metrics(run)]
        for run in (tmp_path, unbroken)
    ]
    assert lines[0] == lines[1]
    specs = [json.loads((run / "spec.json").read_text()) for run in (tmp_path, unbroken)]
    assert specs[0]["measured"] == specs[1]["measured"]
    assert specs[0]["operating_point"] == specs[1]["operating_point"]


def test_nothing_in_the_store_names_a_folder_of_the_cache(resumed, killed, bucket):
    assert resumed.store == killed[0]
    there = contents(bucket)
    assert yaml.safe_load(there["config.yaml"])["out"] == f"s3://{bucket.name}/runs"
    places = [str(cache_folder()).encode(), str(resumed.folder.parent).encode()]
    named = {name for name, content in there.items() if any(place in content for place in places)}
    assert named <= {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}  # what Lightning notes, and we do not read
    assert f"boxwright predict {killed[0]} PICTURE".encode() in there["report.html"]


def test_verbs_take_the_run_from_the_store(resumed, killed, unbroken, small, tmp_path):
    url, _ = killed
    left, right = (boxwright.evaluate(run, small).to_document() for run in (url, unbroken))
    assert {**left, "seconds": 0} == {**right, "seconds": 0}
    contenders, _ = boxwright.compare([url, unbroken])
    assert len(contenders) == 2
    done = command("archive", url, "--store", tmp_path, "--no-export")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "killed.mar").is_file()
    done = command("predict", url, next((small / "valid").glob("*.jpg")), "--backend", "torch")
    assert done.returncode == 0, done.stderr


def test_a_name_that_is_there_is_taken(bucket, small):
    """By a run of another machine; or here, by one that could not be sent."""
    out = f"s3://{bucket.name}/others"
    bucket.put("others/taken/config.yaml", b"")
    with pytest.raises(ConfigError, match=rf"{out}/taken exists\. .*--resume {out}/taken\."):
        boxwright.train(data=small, out=out, name="taken", **SETTINGS)
    here = work_folder(f"{out}/unsent")
    (here / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match=rf"{here} exists\."):
        boxwright.train(data=small, out=out, name="unsent", **SETTINGS)


def test_a_bucket_that_is_not_there_ends_a_training_before_its_first_step(bucket, small):
    with pytest.raises(DataError, match=r"s3://nowhere-at-all/runs/shapes-1: there is no such bucket"):
        boxwright.train(data=small, out="s3://nowhere-at-all/runs", **SETTINGS)


def test_a_search_keeps_nothing_in_a_store(small):
    with pytest.raises(ConfigError, match="a search keeps a database, which needs a folder"):
        boxwright.tune(small, 10, out="s3://bucket/runs")


def test_another_operating_point_is_written_where_the_run_lies(resumed, killed, bucket):
    page = bucket.get("runs/killed/report.html")
    done = command("threshold", killed[0], "--objective", "f1")
    assert done.returncode == 0, done.stderr
    assert f"Written to {killed[0]}/spec.json." in " ".join(done.stdout.split())
    assert f"boxwright archive {killed[0]}" in " ".join(done.stdout.split())
    assert json.loads(bucket.get("runs/killed/spec.json"))["operating_point"]["objective"] == "f1"
    assert yaml.safe_load(bucket.get("runs/killed/config.yaml"))["objective"] == "f1"
    assert bucket.get("runs/killed/report.html") != page
    assert f"boxwright predict {killed[0]} PICTURE".encode() in bucket.get("runs/killed/report.html")


def test_a_report_is_written_where_the_run_lies(resumed, killed, bucket):
    bucket.remove("runs/killed/report.html")
    done = command("report", killed[0])
    assert done.returncode == 0, done.stderr
    assert f"Report: {killed[0]}/report.html" in done.stdout
    assert b"<html" in bucket.get("runs/killed/report.html")


def test_a_network_is_exported_from_there(resumed, killed, tmp_path):
    done = command("export", killed[0], "--to", "state-dict", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    exported = torch.load(tmp_path / "exports" / "killed.pth", weights_only=True)
    trained = torch.load(resumed.folder / "model_state_dict.pth", weights_only=True)
    assert exported.keys() == trained.keys()


def test_an_archive_there_is_shown_measured_and_served(resumed, bucket, small, tmp_path):
    made = boxwright.archive(resumed.folder, name="stored", store=tmp_path, precisions=())
    bucket.put("model-store/stored.mar", made.read_bytes())
    url, picture = f"s3://{bucket.name}/model-store/stored.mar", min((small / "valid").glob("*.jpg"))
    assert boxwright.inspect(url).spec == boxwright.inspect(made).spec
    assert boxwright.Predictor(url)(picture).to_answer() == boxwright.Predictor(made)(picture).to_answer()
    assert boxwright.bench(url, batches=(1,), seconds=0.1, rounds=1).runs
    with served(url) as server:
        assert server.ask("/predictions/stored", picture.read_bytes())[0] == 200


def test_a_complete_run_is_said_to_be_complete(resumed, killed):
    with pytest.raises(ConfigError, match="its training is done"):
        resume(killed[0], console=Console(quiet=True))


def test_processes_of_a_cluster_are_told_the_url_of_a_run_and_leave_it_there(resumed, killed, bucket):
    asked = []

    def launch(task, processes):
        asked.append((task, processes))
        return {"folder": "/folder/of/another/machine", "interrupted": False, "store": killed[0]}

    found = boxwright.resume(killed[0], launch=launch)
    assert asked == [(Task("resume", {"run": killed[0], "data": None, "devices": None}), 1)]
    assert found.store == killed[0]
    assert found.spec.to_json().encode() == bucket.get("runs/killed/spec.json")


def test_processes_that_train_together_keep_one_run_there(small, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = {**SETTINGS, "epochs": 1, "devices": 2}
    result = boxwright.train(data=small, out=f"file://{tmp_path}/runs", **given)
    assert result.store == f"file://{tmp_path}/runs/shapes-1"
    there = {one.relative_to(tmp_path / "runs" / "shapes-1") for one in (tmp_path / "runs").rglob("*") if one.is_file()}
    assert there == {one.relative_to(result.folder) for one in result.folder.rglob("*") if one.is_file()}
    assert (tmp_path / "runs" / "shapes-1" / "report.html").is_file()
