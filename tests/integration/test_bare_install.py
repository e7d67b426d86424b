"""What `pip install boxwright` gives, without extras: an environment made by the steps of docker/Dockerfile."""

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from boxwright.data import read_split
from boxwright.evaluation import SplitResults
from boxwright.inputs import Predictor
from boxwright.metrics.figures import figures_of
from support.dockerfile import REPOSITORY, carry_out, health_check, only, stages

BUILD, IMAGE = stages(REPOSITORY / "docker" / "Dockerfile")
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A Python environment with the bare install, and an empty home beside it."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "home").mkdir()
    return carry_out(BUILD, folder)


@pytest.fixture(scope="module")
def command(bare):
    """Runs its `boxwright`, and nothing else of this environment."""

    def run(*arguments):
        program = [str(bare / "bin" / "boxwright"), *map(str, arguments)]
        return subprocess.run(program, capture_output=True, text=True, timeout=300, env=environment(bare))

    return run


def environment(bare):
    hidden = ("ORT_DISABLE_TELEMETRY", "PYTHONPATH", "VIRTUAL_ENV")
    return {
        **{key: value for key, value in os.environ.items() if key not in hidden},
        "PATH": f"{bare}/bin",
        "HOME": str(bare.parent / "home"),
    }


@contextmanager
def server(bare, mar):
    """The image's ENTRYPOINT on a free port of loopback; yields process and prediction URL."""
    program, *arguments = json.loads(only(IMAGE, "ENTRYPOINT"))
    arguments = ["127.0.0.1" if one == "0.0.0.0" else "0" if one == "8080" else one for one in arguments]
    process = subprocess.Popen(
        [bare / "bin" / program, *arguments, mar.name],
        cwd=mar.parent,
        env=environment(bare),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        first = process.stdout.readline()
        assert first, process.stderr.read()
        yield process, first.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def served(bare, mar):
    with server(bare, mar) as started:
        yield started


@pytest.fixture(scope="module")
def predictor(mar):
    """The archive in this process, run as the bare install runs it."""
    return Predictor(mar, backend="onnxruntime", precision="fp32")


def ask(url, picture):
    request = urllib.request.Request(url, data=picture.read_bytes(), method="PUT")
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def measured(predictor, data, split):
    records = read_split(data, split, predictor.spec.classes)
    detections = [predictor.detect([predictor.prepare(record.path)])[0] for record in records.pictures]
    results = SplitResults.of(records, data / split, predictor.spec.class_names, detections)
    return figures_of(results.matches(), np.array(predictor.thresholds))


def test_neither_torch_nor_anything_else_of_an_extra_is_there(bare):
    code = (
        "import importlib.metadata as metadata;"
        "print('\\n'.join(sorted(one.metadata['Name'].lower() for one in metadata.distributions())))"
    )
    python = bare / "bin" / "python"
    listed = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env=environment(bare))
    installed = set(listed.stdout.split())
    assert {"boxwright", "onnxruntime"} <= installed
    assert not installed & {"torch", "torchvision", "lightning", "onnx", "onnxscript", "openvino", "wandb", "pip"}


def test_it_takes_little_space(bare):
    size = sum(file.lstat().st_size for file in bare.rglob("*") if not file.is_dir())
    print(f"{size / MEGABYTE:.0f} MB")
    assert size <= 350 * MEGABYTE


def test_it_serves_what_the_predictor_finds(served, predictor, odd_pictures):
    _, url = served
    total = 0
    for path in odd_pictures:
        expected = predictor(path).to_answer(predictor.spec.class_names)
        assert ask(url, path) == expected, path.name
        total += len(expected)
    assert total > 0


def test_it_serves_in_little_memory(served, odd_pictures):
    process, url = served
    for path in odd_pictures:
        ask(url, path)
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())[1]) * 1024
    print(f"{resident / MEGABYTE:.0f} MB")
    assert resident <= 250 * MEGABYTE  # torch alone takes more


def test_it_leaves_nothing_at_home(served, bare, odd_pictures):
    _, url = served
    ask(url, odd_pictures[0])
    assert list((bare.parent / "home").rglob("*")) == []  # onnxruntime's telemetry would keep its queue there


def test_the_health_check_fails_without_a_server(served, bare):
    _, url = served
    port = int(re.search(r":(\d+)/", url)[1])
    assert health_check(IMAGE, port, bare) == 0
    assert health_check(IMAGE, 1, bare) != 0


def test_predict_evaluate_and_check_need_no_torch(command, mar, predictor, demo_data, tmp_path):
    picture = next((demo_data / "test").glob("*.jpg"))
    predicted = command("predict", mar, picture, "--json", tmp_path / "found.json")
    assert predicted.returncode == 0, predicted.stderr
    assert [row["score"] for row in json.loads((tmp_path / "found.json").read_text())] == pytest.approx(
        predictor(picture).scores.tolist(), abs=1e-4
    )
    evaluated = command("evaluate", mar, "--data", demo_data, "--split", "test", "--json", tmp_path / "figures.json")
    assert evaluated.returncode == 0, evaluated.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    expected = measured(predictor, demo_data, "test")
    assert (figures["map"], figures["f2"]) == pytest.approx((expected.map, expected.f2), abs=1e-6)
    checked = command("check", demo_data)
    assert checked.returncode == 0, checked.stderr


def test_a_command_that_needs_torch_says_in_one_sentence_what_to_install(command, run, demo_data, tmp_path):
    weights_alone = tmp_path / "run"
    weights_alone.mkdir()
    for name in ("spec.json", "model_state_dict.pth"):
        (weights_alone / name).write_bytes((run / name).read_bytes())
    for arguments in (
        ("train", "--data", demo_data),
        ("evaluate", weights_alone, "--data", demo_data),
        ("predict", weights_alone, demo_data / "test"),
        ("demo", "--out", tmp_path / "demo"),
    ):
        refused = command(*arguments)
        assert refused.returncode == 2, arguments
        assert refused.stderr.startswith("Error: ")
        assert "pip install 'boxwright[train]'" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1, refused.stderr
