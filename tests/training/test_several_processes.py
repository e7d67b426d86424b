"""Several processes train as one does: the same pictures, losses, figures and run; if one ends, all do."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import boxwright
from boxwright.data import draw_demo_data
from boxwright.runtime import ConfigError, Detections, InputSpec, ModelSpec
from boxwright.runtime.networks import build_network
from boxwright.tracking.metrics_file import read_metrics
from boxwright.training.module import gathered
from support.networks import CLASSES, SMALL

SCRIPT = Path(__file__).parents[1] / "support" / "in_parallel.py"
TORCHRUN = ("torch.distributed.run", "--nnodes=1", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0")
TINY = {"model": "fasterrcnn_tiny_fpn", "weights": "none", "image_size": 96}


def run_in(processes, *arguments):
    start = [] if processes == 1 else ["-m", *TORCHRUN, f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [str(part) for part in (sys.executable, *start, SCRIPT, *arguments)],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def train_in(processes, data, out, tasks):
    """By task, of each process what it wrote down; and what was printed."""
    printed = run_in(processes, "train", data, out, json.dumps(tasks))
    told = {
        name: [json.loads((out / name / f"{rank}.json").read_text()) for rank in range(processes)] for name in tasks
    }
    return told, printed


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return draw_demo_data(tmp_path_factory.mktemp("small") / "data", sizes={"train": 7, "valid": 3})


def test_two_processes_measure_what_one_measures(tmp_path):
    """Five pictures for two processes: one is validated twice and counted once."""
    data = draw_demo_data(tmp_path / "data", sizes={"train": 4, "valid": 5})
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    run_in(1, "validate", data, alone)
    run_in(2, "validate", data, together)
    wanted = json.loads((alone / "0.json").read_text())
    assert wanted["pictures"] == [0, 1, 2, 3, 4]
    assert sum(wanted["detections"]) > 0
    for rank in ("0", "1"):
        measured = json.loads((together / f"{rank}.json").read_text())
        assert measured["share"] == 3  # of five: the sampler repeats one
        assert measured["pictures"] == wanted["pictures"]
        assert measured["detections"] == wanted["detections"]
        assert measured["figures"] == wanted["figures"]


def test_two_processes_train_one_run(small, tmp_path):
    """Nobody gives the run a name; it is told once what happens."""
    told, printed = train_in(2, small, tmp_path, {"out": {**TINY, "epochs": 2, "batch_size": 3}})
    first, second = told["out"]
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    assert first["folder"] == second["folder"] == str(folder)
    assert (first["spec"], second["spec"]) == (True, False)
    assert first["weights"] == second["weights"]
    for one, other in zip(first["seen"], second["seen"], strict=True):
        assert ([len(batch) for batch in one], [len(batch) for batch in other]) == ([2, 2], [1, 2])  # of 3 and 4
        pictures = itertools.chain(*one, *other)
        assert sorted(pictures) == list(range(7))
    assert first["seen"][0] != first["seen"][1]
    assert printed.count("Classes: ") == 1
    names = {"config.yaml", "metrics.jsonl", "checkpoints", "spec.json", "model_state_dict.pth", "detections.npz"}
    assert {path.name for path in folder.iterdir()} == names | {"report.html"}
    assert yaml.safe_load((folder / "config.yaml").read_text())["devices"] == 2
    lines = [line for line in read_metrics(folder) if "val/f2" in line]
    assert [line["epoch"] for line in lines] == [0, 1]
    best = max(lines, key=lambda line: line["val/f2"])
    document = boxwright.evaluate(folder, small).to_document()
    assert (document["f2"], document["map"]) == (best["val/f2"], best["val/map"])


def sparsely_annotated(folder):
    """Seven pictures, of which two have objects: most steps have none.

    With noise: on even ground many proposals are equally good, and rounding decides which are taken.
    """
    data, random = draw_demo_data(folder, sizes={"train": 7, "valid": 3}), np.random.default_rng(0)
    for picture in sorted(data.glob("*/*.jpg")):
        pixels = np.asarray(Image.open(picture)) + random.normal(0, 40, (1, 1, 3))
        noisy = pixels + random.normal(0, 30, pixels.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(picture)
    path = data / "train" / "_annotations.coco.json"
    document = json.loads(path.read_text())
    kept = {image["id"] for image in document["images"][:2]}
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] in kept]
    path.write_text(json.dumps(document))
    return data


def small_weights(architecture, folder):
    """A folder of a small random network, as transformers writes it."""
    spec = ModelSpec("small", architecture, CLASSES, InputSpec(96, 96), {"config": SMALL[architecture]})
    torch.manual_seed(0)
    build_network(spec).network.save_pretrained(folder)
    return folder


# Settings, and how many steps can be compared. Which boxes are proposed and which anchors are mined depends on
# differences that BatchNorms over several processes round otherwise; and small random D-FINEs have gradients of 1e11.
# Where no BatchNorm learns, the last batch is one picture, and some processes have none.
FAMILIES = {
    "fasterrcnn_tiny_fpn": ({"optimizer": "sgd", "learning_rate": 1e-3}, 2),
    "fasterrcnn_tiny_fpn, frozen": ({"freeze_batchnorm": True}, 6),
    "ssdlite320_mobilenet_v3_large": ({"image_size": 128, "optimizer": "sgd", "learning_rate": 1e-3}, 2),
    "rtdetr_v2_r18": ({}, 4),
    "dfine_n": ({}, 1),
    "rfdetr_nano": ({}, 6),
}


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """By number of processes and family what each process wrote down."""
    place = tmp_path_factory.mktemp("losses")
    data = sparsely_annotated(place / "data")
    tasks = {}
    for family, (own, _) in FAMILIES.items():
        model = family.split(",")[0]
        weights = str(small_weights(model, place / model)) if model in SMALL else "none"
        tasks[family] = {"model": model, "weights": weights, "image_size": 96, "batch_size": 3, "epochs": 2}
        tasks[family] |= {"precision": "fp32", "multi_scale": 0.2, "ema": 0.9, **own}
    return {processes: train_in(processes, data, place / str(processes), tasks)[0] for processes in (1, 2, 3)}


@pytest.mark.timeout(1500)  # with the trainings of all families
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_of_a_step_do_not_depend_on_the_number_of_processes(family, losses):
    _, steps = FAMILIES[family]
    (alone,) = losses[1][family]
    for processes in (2, 3):
        found = losses[processes][family]
        for one in found:
            assert len(one["losses"]) == len(alone["losses"])
            assert one["losses"][:steps] == pytest.approx(alone["losses"][:steps], rel=1e-5), processes
        assert len({one["weights"] for one in found}) == 1


def command(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "boxwright", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def settings_of(settings):
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


def children_of(process):
    """Process ids by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            continue
        ranks = [int(name[5:]) for name in names if name.startswith(b"RANK=")]
        if parent == process.pid and ranks:
            found[ranks[0]] = int(folder.name)
    return found


def wait_for(condition, seconds=300):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)


LONG = {**TINY, "epochs": 200, "batch_size": 4, "wandb": "off", "workers": 1, "checkpoint_minutes": 0}


def test_if_one_process_is_killed_all_end_and_another_number_goes_on(small, tmp_path):
    run = tmp_path / "killed"
    process = command(
        "train", "--data", small, "--out", tmp_path, "--name", "killed", "--devices", 2, *settings_of(LONG)
    )
    wait_for((run / "checkpoints" / "best.ckpt").is_file)
    os.kill(children_of(process)[1], signal.SIGKILL)
    killed = time.monotonic()
    out, errors = process.communicate(timeout=30)
    assert time.monotonic() - killed < 30
    assert process.returncode == 2
    assert errors == (
        "Error: Process 2 of 2 that trained together was ended from outside (SIGKILL), often because memory ran out; "
        f"the others were ended too. To go on: boxwright train --resume {run}\n"
    )
    config = yaml.safe_load((run / "config.yaml").read_text())
    done = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["epoch"] + 1
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "epochs": done + 2}))
    process = command("train", "--resume", run, "--devices", 1)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "devices from 2 to 1" in out
    assert (run / "spec.json").is_file()


def test_ctrl_c_ends_all_of_them_and_leaves_a_run_to_continue(small, tmp_path):
    run = tmp_path / "stopped"
    process = command(
        "train", "--data", small, "--out", tmp_path, "--name", "stopped", "--devices", 2, *settings_of(LONG)
    )
    wait_for((run / "checkpoints" / "best.ckpt").is_file)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=180)
    assert (process.returncode, errors) == (130, "")
    assert f"To continue: boxwright train --resume {run}" in out
    assert "Best epoch" in out


def test_ctrl_c_before_the_training_is_one_word_too(small, tmp_path):
    process = command("train", "--data", small, "--out", tmp_path, "--devices", 2, *settings_of(LONG))
    wait_for(lambda: len(children_of(process)) == 2)
    time.sleep(1)  # Python has begun
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=180)
    assert process.returncode in (1, 130)
    assert "Traceback" not in errors
    assert "from outside" not in errors


def test_an_error_of_several_processes_is_raised_as_that_of_one(small, tmp_path):
    """Every process finds it."""
    settings = {**LONG, "image_size": 100}
    with pytest.raises(ConfigError, match="100"):
        boxwright.train(data=small, out=tmp_path, devices=2, **settings)
    with pytest.raises(ConfigError, match="batch_size = 2: fewer pictures than the 3 devices"):
        boxwright.train(data=small, out=tmp_path, devices=3, **{**LONG, "batch_size": 2})
    with pytest.raises(ConfigError, match="make_trainer"):
        boxwright.train(data=small, out=tmp_path, devices=2, make_trainer=print, **LONG)


def test_one_process_alone_gets_its_own_back_in_order():
    detections = {3: _one_box(3), 1: _one_box(1), 2: Detections.empty()}
    together = gathered(detections)
    assert list(together) == [1, 2, 3]
    assert [one.boxes[:, 0].tolist() for one in together.values()] == [[1.0], [], [3.0]]
    assert np.array_equal(together[3].labels, detections[3].labels)


def _one_box(left):
    return Detections(np.array([[left, 0, 9, 9]]), np.array([0.5]), np.array([1]))
