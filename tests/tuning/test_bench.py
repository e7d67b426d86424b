"""``boxwright bench`` as people run it, and ``boxwright serve`` after it."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

import boxwright
from boxwright.host.machine import describe_machine
from boxwright.runtime import ConfigError, Execution, InputSpec
from boxwright.tuning.bench import MOST_PICTURES, made_up_pictures, read_pictures, splits
from boxwright.tuning.store import MAX_SESSIONS
from support.command_line import boxwright as command
from support.exported import with_export

SHAPE = {
    *("backend", "precision", "threads", "sessions", "batch"),
    *("latency_ms_p50", "latency_ms_p99", "images_per_s", "images_per_s_low", "images_per_s_high"),
    *("page_faults_per_image", "peak_rss_mib", "calls"),
}


def name_of(run):
    return tuple(run[key] for key in ("backend", "precision", "threads", "sessions", "batch"))


@pytest.fixture(scope="module")
def benched(mar, demo_data, tmp_path_factory):
    """The trained network itself, on pictures; the archive, what was printed, what was written."""
    folder = tmp_path_factory.mktemp("benched")
    archive = shutil.copy(mar, folder / "tiny.mar")
    options = [
        "--backend",
        "torch",
        "--seconds",
        "0.2",
        "--rounds",
        "1",
        "--batch",
        "1,2",
        "--json",
        folder / "bench.json",
    ]
    done = command("bench", archive, "--data", demo_data / "test", *options)
    assert done.returncode == 0, done.stderr
    return archive, done.stdout, json.loads((folder / "bench.json").read_text())


def test_every_split_and_batch_is_measured(benched):
    _, _, document = benched
    machine = describe_machine()
    wanted = {("torch", "fp32", *split, batch) for split in splits(machine.cores) for batch in (1, 2)}
    assert {name_of(run) for run in document["runs"]} == wanted
    assert document["failed"] == []
    assert document["machine"] == json.loads(json.dumps(machine.to_document()))
    assert document["pictures"]["count"] == 8
    assert document["pictures"]["preprocess_ms"] > 0


def test_figures_are_sound(benched):
    _, _, document = benched
    for run in document["runs"]:
        assert run.keys() == SHAPE
        assert 0 < run["latency_ms_p50"] <= run["latency_ms_p99"]
        assert run["images_per_s_low"] == run["images_per_s"] == run["images_per_s_high"]  # of one round
        assert run["calls"] >= 3 * run["sessions"]
        assert run["page_faults_per_image"] >= 0
        assert 50 < run["peak_rss_mib"] < 20_000
    speeds = [run["images_per_s"] for run in document["runs"]]
    assert speeds == sorted(speeds, reverse=True)


def test_what_people_read_says_what_serve_will_do(benched):
    archive, text, _ = benched
    assert "decoding and resizing one takes" in text
    stored, following = text.splitlines()[-2:]
    assert following == f"Next: boxwright serve {archive}"
    assert stored.startswith(f"Stored in {archive.with_name('tiny.bench.json')}; boxwright serve will run torch-fp32, ")


def test_serve_runs_what_is_stored_as_best(benched, tmp_path):
    archive, _, _ = benched
    shutil.copy(archive, tmp_path)
    stored = json.loads(archive.with_name("tiny.bench.json").read_text())
    (entry,) = stored["machines"].values()
    for run in entry["runs"]:  # what no warm-up and no default would come to
        run["images_per_s"] = 5000.0 if name_of(run)[2:] == (1, 1, 1) else 1.0
    entry["runs"].append({**entry["runs"][0], "threads": 1, "sessions": 3, "batch": 1, "images_per_s": 7000.0})
    (tmp_path / "tiny.bench.json").write_text(json.dumps(stored))
    assert setting_line(tmp_path / "tiny.mar").startswith(
        "  torch-fp32, 1 thread x 3 sessions: stored by boxwright bench, 7000.0"
    )


def setting_line(archive):
    """What the real server says of how it runs a model."""
    line = [sys.executable, "-m", "boxwright", "serve", str(archive), "--port", "0"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert "/predictions/" in process.stdout.readline()
        return process.stdout.readline()
    finally:
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.communicate(timeout=60)[1]


def test_what_fails_is_listed_and_the_others_are_measured(mar, tmp_path):
    archive = with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32", content=b"not a graph")
    bench = boxwright.bench(archive, batches=[1], seconds=0.05, rounds=1)
    assert {run["backend"] for run in bench.runs} == {run["backend"] for run in bench.stored.runs} == {"torch"}
    assert {run["backend"] for run in bench.failed} == {"onnxruntime"}
    for run in bench.failed:
        assert "model.onnx: cannot be read by onnxruntime" in run["reason"]
    assert bench.best["backend"] == "torch"
    nothing = boxwright.bench(archive, backend="onnxruntime", batches=[1], seconds=0.05, rounds=1)
    assert (nothing.runs, nothing.stored.path, nothing.best) == ((), None, None)


def test_each_runtime_is_measured_and_the_rest_of_a_file_stays(mar, tmp_path):
    archive = with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32", "openvino-fp32")
    steps = []
    first = boxwright.bench(
        archive, backend="onnxruntime", batches=[3], seconds=0.05, rounds=2, advance=lambda *step: steps.append(step)
    )
    count = len(splits(describe_machine().cores))
    assert steps == [(done, 2 * count) for done in range(1, 2 * count + 1)]
    assert first.best is None  # three at a time tell nothing of one at a time
    assert all(run["images_per_s_low"] <= run["images_per_s"] <= run["images_per_s_high"] for run in first.runs)
    second = boxwright.bench(archive, backend="openvino", batches=[1], seconds=0.05, rounds=1)
    assert {run["backend"] for run in second.runs} == {"openvino"}
    assert {run["backend"] for run in second.stored.runs} == {"openvino", "onnxruntime"}
    assert second.best is not None
    assert second.best["backend"] == "openvino"


def test_what_cannot_be_measured_is_one_sentence(mar, tmp_path):
    for arguments, culprit in (
        ([tmp_path / "none.mar"], "no such file"),
        ([mar, "--data", tmp_path / "none"], "no such folder"),
        ([mar, "--data", tmp_path], "no pictures"),
        ([mar, "--batch", "0"], "[0] do not fit"),
        ([mar, "--batch", "1,x"], "'1,x' does not fit"),
        ([mar, "--seconds", "0"], "0.0 seconds"),
        ([mar, "--backend", "caffe"], "'caffe' is unknown"),
        ([mar, "--precision", "int8"], "int8"),
        ([mar, "--backend", "onnxruntime", "--precision", "bf16"], "'onnxruntime' does not run bf16"),
    ):
        done = command("bench", *arguments)
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("Error: "), done.stderr
        assert culprit in done.stderr
        assert "Traceback" not in done.stderr


def test_splits_use_all_cores_and_one():
    assert splits(1) == ((1, 1),)
    assert splits(2) == ((2, 1), (1, 2), (1, 1))
    assert splits(6) == ((6, 1), (3, 2), (1, 4), (1, 6), (1, 1))
    assert max(sessions for _, sessions in splits(64)) == MAX_SESSIONS
    assert str(Execution("openvino", "bf16", threads=1, sessions=2)) == "openvino-bf16, 1 thread x 2 sessions"


def test_pictures_are_taken_evenly_and_bad_ones_told(demo_data, tmp_path):
    spec = InputSpec(64, 96)
    pictures = read_pictures(demo_data, spec)  # 120 in three subfolders
    assert pictures.canvases.shape == (MOST_PICTURES, 3, 64, 96)
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    shutil.copy(next((demo_data / "test").glob("*.jpg")), tmp_path / "good.jpg")
    some = read_pictures(tmp_path, spec)
    assert len(some.canvases) == 1
    assert "bad.jpg" in some.unusable[0]
    (tmp_path / "good.jpg").unlink()
    with pytest.raises(ConfigError, match="no usable pictures"):
        read_pictures(tmp_path, spec)


def test_made_up_pictures_differ_and_are_always_the_same():
    spec = InputSpec(64, 96)
    made = made_up_pictures(spec).canvases
    assert (made.shape[1:], made.dtype) == ((3, 64, 96), np.uint8)
    assert len({canvas.tobytes() for canvas in made}) == len(made)
    assert np.array_equal(made, made_up_pictures(spec).canvases)
