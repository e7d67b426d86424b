"""Two processes under DDP: each picture is counted once, and training leaves one run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import boxwright
from boxwright.data import draw_demo_data
from boxwright.runtime import Detections
from boxwright.tracking.metrics_file import read_metrics
from boxwright.training.module import gathered

SCRIPT = Path(__file__).parents[1] / "support" / "in_parallel.py"
TORCHRUN = (
    "torch.distributed.run",
    "--nnodes=1",
    "--nproc-per-node=2",
    "--rdzv-backend=c10d",
    "--rdzv-endpoint=127.0.0.1:0",
)


def run_alone(*arguments):
    _run([sys.executable, SCRIPT, *arguments, "1"])


def run_together(*arguments):
    return _run([sys.executable, "-m", *TORCHRUN, SCRIPT, *arguments, "2"])


def _run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_measure_what_one_measures(tmp_path):
    """Five pictures for two processes: one is validated twice and counted once."""
    data = draw_demo_data(tmp_path / "data", sizes={"train": 4, "valid": 5})
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    run_alone("validate", data, alone)
    run_together("validate", data, together)
    wanted = json.loads((alone / "0.json").read_text())
    assert wanted["pictures"] == [0, 1, 2, 3, 4]
    assert sum(wanted["detections"]) > 0
    for rank in ("0", "1"):
        measured = json.loads((together / f"{rank}.json").read_text())
        assert measured["share"] == 3  # of five: the sampler repeats one
        assert measured["pictures"] == wanted["pictures"]
        assert measured["detections"] == wanted["detections"]
        assert measured["figures"] == wanted["figures"]


def test_two_processes_train_one_run(tmp_path):
    """Seven pictures for two processes, in another order each epoch; nobody gives the run a name."""
    data = draw_demo_data(tmp_path / "data", sizes={"train": 7, "valid": 3})
    printed = run_together("train", data, tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    (folder,) = (tmp_path / "runs").iterdir()
    assert first["folder"] == second["folder"] == str(folder)
    assert (first["spec"], second["spec"]) == (True, False)
    assert first["weights"] == second["weights"]
    for one, other in zip(first["seen"], second["seen"], strict=True):
        assert len(one) == len(other) == 4
        assert set(one) | set(other) == set(range(7))
    assert first["seen"][0] != first["seen"][1]
    assert printed.count("Classes: ") == 1
    names = {"config.yaml", "metrics.jsonl", "checkpoints", "spec.json", "model_state_dict.pth", "detections.npz"}
    assert {path.name for path in folder.iterdir()} == names | {"report.html"}
    lines = [line for line in read_metrics(folder) if "val/f2" in line]
    assert [line["epoch"] for line in lines] == [0, 1]
    best = max(lines, key=lambda line: line["val/f2"])
    document = boxwright.evaluate(folder, data).to_document()
    assert (document["f2"], document["map"]) == (best["val/f2"], best["val/map"])


def test_one_process_alone_gets_its_own_back_in_order():
    detections = {3: _one_box(3), 1: _one_box(1), 2: Detections.empty()}
    together = gathered(detections)
    assert list(together) == [1, 2, 3]
    assert [one.boxes[:, 0].tolist() for one in together.values()] == [[1.0], [], [3.0]]
    assert np.array_equal(together[3].labels, detections[3].labels)


def _one_box(left):
    return Detections(np.array([[left, 0, 9, 9]]), np.array([0.5]), np.array([1]))
