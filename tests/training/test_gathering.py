"""Validation under DDP: detections gathered, each picture counted once."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from boxwright.data import draw_demo_data
from boxwright.runtime import Detections
from boxwright.training.gathering import gathered
from support import validate_in_parallel

SCRIPT = Path(validate_in_parallel.__file__)


def test_two_processes_measure_what_one_measures(tmp_path):
    """Five pictures for two processes: one is validated twice and counted once."""
    data = draw_demo_data(tmp_path / "data", sizes={"train": 4, "valid": 5})
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    _run([sys.executable, SCRIPT, data, alone, "1"])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", "--nproc-per-node=2"]
    _run([*torchrun, "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", SCRIPT, data, together, "2"])
    wanted = json.loads((alone / "0.json").read_text())
    assert wanted["pictures"] == [0, 1, 2, 3, 4]
    assert sum(wanted["detections"]) > 0
    for rank in ("0", "1"):
        measured = json.loads((together / f"{rank}.json").read_text())
        assert measured["share"] == 3  # of five: the sampler repeats one
        assert measured["pictures"] == wanted["pictures"]
        assert measured["detections"] == wanted["detections"]
        assert measured["figures"] == wanted["figures"]


def _run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_one_process_alone_gets_its_own_back_in_order():
    found = {3: _one_box(3), 1: _one_box(1), 2: Detections.empty()}
    together = gathered(found)
    assert list(together) == [1, 2, 3]
    assert [one.boxes[:, 0].tolist() for one in together.values()] == [[1.0], [], [3.0]]
    assert np.array_equal(together[3].labels, found[3].labels)


def _one_box(left):
    return Detections(np.array([[left, 0, 9, 9]]), np.array([0.5]), np.array([1]))
