"""The examples of docs/open-inference.md, as they stand there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from boxwright.inputs import Predictor
from boxwright.serving.v2_tensors import OUTPUTS
from support.server import served as serving

PAGE = (Path(__file__).parents[2] / "docs" / "open-inference.md").read_text()
EXAMPLES = re.findall(r"```(console|python)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def served(mar, demo_data, tmp_path_factory):
    """What the examples name, what it is here, and a folder with the picture."""
    folder = tmp_path_factory.mktemp("examples")
    predictor = Predictor(mar)
    best = max(demo_data.glob("test/*.jpg"), key=lambda path: len(predictor(path)))
    shutil.copy(best, folder / "picture.jpg")
    (folder / "model-store").mkdir()
    shutil.copy(mar, folder / "model-store")
    ports = ("--management-port", "0", "--grpc-port", "0")
    with serving("--store", folder / "model-store", "--backend", "onnxruntime", *ports) as server:
        management = server.url_of("management").removeprefix("http://")
        yield (
            {
                "127.0.0.1:8080": f"{server.host}:{server.port}",
                "127.0.0.1:8081": management,
                "127.0.0.1:8001": server.url_of("grpc"),
                "my-run": "tiny",
            },
            folder,
        )


def test_there_are_examples_of_both_kinds():
    assert [kind for kind, _ in EXAMPLES] == ["console", "console", "python", "console", "console", "python", "console"]


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_an_example_does_what_it_says(served, kind, text):
    names, folder = served
    for name, here in names.items():
        text = text.replace(name, here)
    if kind == "python":
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=folder, timeout=120)
        assert (done.returncode, done.stdout.count("[[")) == (0, 2 if "ends" in text else 1), done.stderr
        return
    for line in text.splitlines():
        line = line.replace("curl ", "curl --silent --show-error --fail-with-body ")
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=folder, timeout=120)
        assert (done.returncode, "error" in done.stdout) == (0, False), (line, done.stdout, done.stderr)
        assert done.stdout or line.startswith("echo"), line


def test_the_tensors_are_those_of_the_protocol():
    rows = re.findall(r"^\| `(\w+)` \| ([A-Z0-9]+) \|", PAGE, re.MULTILINE)
    assert rows == [(one.name, one.datatype) for one in OUTPUTS.values()]


def test_who_may_load_and_unload_is_as_it_says(served):
    names, _ = served
    ports = ("127.0.0.1:8080", "127.0.0.1:8081")
    statuses = [
        httpx.post(f"http://{names[port]}/v2/repository/models/none/unload", content=b"{}", timeout=60).status_code
        for port in ports
    ]
    assert statuses == [400, 404]  # not here; here, but there is no such model
