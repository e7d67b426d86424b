"""Training as the files of deploy/ start it: by torchrun on two nodes of Kubeflow's, and by Slurm's srun.

The nodes are processes on this machine, and srun is a stand-in; the commands and the variables are theirs.
"""

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from boxwright.data import draw_demo_data
from boxwright.tracking.metrics_file import read_metrics
from support.manifests import DEPLOY, the

SBATCH = DEPLOY / "slurm" / "train.sbatch"
STAND_IN = Path(__file__).parents[1] / "support" / "srun.py"
PROGRAMS = Path(sys.executable).parent
TINY = {"model": "fasterrcnn_tiny_fpn", "weights": "none", "image_size": 96, "batch_size": 4, "epochs": 1, "workers": 1}
SETTINGS = [part for key, value in {**TINY, "wandb": "off"}.items() for part in ("--set", f"{key}={value}")]
QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return draw_demo_data(tmp_path_factory.mktemp("small") / "my-folder", sizes={"train": 6, "valid": 2})


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def require_a_run_of_two(run):
    """Two processes trained it, and one of them wrote it."""
    assert yaml.safe_load((run / "config.yaml").read_text())["devices"] == 2
    assert [line["epoch"] for line in read_metrics(run) if "val/f2" in line] == [0]
    assert [path.name for path in run.parent.iterdir() if path.is_dir()] == [run.name]
    assert (run / "spec.json").is_file()  # it ended, and can be archived


def test_torchrun_on_two_nodes_of_kubeflows(small, tmp_path):
    trainer = the("TrainJob")["spec"]["trainer"]
    program, *rest = [*trainer["command"], *trainer["args"]]
    assert program == "torchrun"
    places = {"/shared/my-folder": str(small), "/shared/runs": str(tmp_path)}
    command = [PROGRAMS / program, *(places.get(one, one) for one in rest), *SETTINGS]
    shared = {  # what Kubeflow's Trainer gives to each node
        "PET_NNODES": trainer["numNodes"],
        "PET_NPROC_PER_NODE": trainer["numProcPerNode"],
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": free_port(),
    }
    nodes = []
    for rank in range(trainer["numNodes"]):
        given = {key: str(value) for key, value in {**shared, "PET_NODE_RANK": rank}.items()}
        nodes.append(subprocess.Popen([*map(str, command)], env={**QUIET, **given}, stdout=subprocess.PIPE, text=True))
    said = [node.communicate(timeout=500)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0]
    assert said[0].count("Best epoch") == 1
    assert said[1] == ""  # the first one speaks
    require_a_run_of_two(tmp_path / "my-run")


def with_srun(folder, line):
    """PATH with this program as srun."""
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f"#!/bin/bash\n{line}\n")
    srun.chmod(0o755)
    return f"{srun.parent}{os.pathsep}{PROGRAMS}{os.pathsep}{os.environ['PATH']}"


def options(line):
    """The #SBATCH lines by name."""
    found = [text.removeprefix("#SBATCH --") for text in line.splitlines() if text.startswith("#SBATCH ")]
    return dict(text.partition("=")[::2] for text in found)


def test_slurms_script_trains_with_all_tasks(small, tmp_path):
    line = f'shift; exec {shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))} 2 {free_port()} "$@"'
    given = {"PATH": with_srun(tmp_path, line), "DATA": str(small), "RUNS": str(tmp_path / "runs")}
    done = subprocess.run(
        ["bash", SBATCH, *SETTINGS], env={**QUIET, **given}, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Best epoch") == 1
    assert done.stdout.count("Run: ") == 1
    assert "Fast dev run" not in done.stdout  # as the others said, who keep nothing
    require_a_run_of_two(tmp_path / "runs" / "my-run")


def test_slurms_script_begins_once_and_then_goes_on(tmp_path):
    path = with_srun(tmp_path, 'echo "$@"')
    environment = {"PATH": path, "RUNS": "runs", "DATA": "data with spaces", "NAME": "first"}

    def said():
        return subprocess.check_output(["bash", SBATCH, "--epochs", "3"], env=environment, cwd=tmp_path, text=True)

    program = "--kill-on-bad-exit=1 boxwright train"
    assert said() == f"{program} --data data with spaces --out runs --name first --epochs 3\n"
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "config.yaml").touch()
    word, line = said().splitlines()
    assert word.startswith("Going on with runs/first and its own settings")  # --epochs counts no more
    assert line == f"{program} --resume runs/first"
    assert options(SBATCH.read_text())["ntasks-per-node"] == options(SBATCH.read_text())["gpus-per-node"]
    assert {"requeue", "open-mode", "nodes", "cpus-per-task", "time"} <= options(SBATCH.read_text()).keys()
