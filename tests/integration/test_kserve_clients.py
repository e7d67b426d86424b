"""KServe's own clients, REST and gRPC, against our server.

They ask for other versions of pandas and protobuf than the rest, so they live in an environment of their own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from boxwright.inputs import Predictor
from boxwright.runtime import Execution
from boxwright.serving.app import create_app
from boxwright.serving.calls import Service
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.settings import ServerSettings
from support.listening import grpc_listening, listening

CALLS = Path(__file__).parents[1] / "support" / "kserve_calls.py"
NAMES = ("circle", "square", "triangle")


@pytest.fixture(scope="module")
def python():
    """Of the environment that the Makefile makes for KServe's package, in ours."""
    program = Path(sys.prefix) / "kserve" / "bin" / "python"
    assert program.exists(), "KServe's clients are not installed: make .venv/.kserve"
    return program


@pytest.fixture(scope="module")
def paths(mar, demo_data):
    predictor = Predictor(mar)
    ordered = sorted(demo_data.glob("test/*.jpg"), key=lambda path: len(predictor(path)))
    return [ordered[-1], ordered[0]]


@pytest.fixture(scope="module")
def found(mar, paths):
    predictor = Predictor(mar, backend="onnxruntime")
    return [predictor(path) for path in paths]


@pytest.fixture(scope="module")
def calls(python, mar, paths):
    """What each call gave, by its name; see ``kserve_calls``."""
    engine = Engine(load_models([mar], Execution("onnxruntime")))
    service = Service(engine, ServerSettings())
    with listening(create_app(engine)) as http, grpc_listening(service) as grpc:
        command = [python, CALLS, f"http://{http}", grpc, *paths]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    engine.close(10.0)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def as_outputs(*found):
    labels = [label for one in found for label in one.labels.tolist()]
    return {
        "boxes": [edge for one in found for edge in one.boxes.ravel().tolist()],
        "scores": [score for one in found for score in one.scores.tolist()],
        "labels": labels,
        "label_names": [NAMES[label] for label in labels],
        "id": "7",
        "model": "tiny",
    }


def test_it_sees_what_lives_and_is_ready(calls):
    for protocol in ("v2", "grpc"):
        assert [calls[f"{protocol} {what}"] for what in ("live", "ready", "model ready")] == [True, True, True]
    assert calls["v1 model ready"] is True
    assert calls["v2 model not there"] is False
    assert calls["v1 model not there"]["refused"][0] == 404
    assert calls["grpc model not there"]["refused"] == ["NOT_FOUND", "Model not found: none"]


@pytest.mark.parametrize("form", ["v2 binary", "v2 json", "grpc raw", "grpc typed"])
def test_it_reads_the_outputs_to_the_last_bit(calls, found, form):
    assert calls[f"{form} 1"] == as_outputs(found[0])
    counts = {"num_detections": [len(one) for one in found]}
    assert calls[f"{form} 2"] == {**as_outputs(*found), **counts}


@pytest.mark.parametrize("call", ["v2 binary named", "v2 json named", "grpc named"])
def test_it_names_the_outputs_that_it_wants(calls, found, call):
    assert calls[call] == {**as_outputs(found[0]), "num_detections": [len(found[0])]}


@pytest.mark.parametrize("protocol", ["v2", "grpc"])
def test_its_parameters_are_honoured(calls, protocol):
    assert calls[f"{protocol} threshold"]["scores"] == []


def test_version_one_answers_as_the_endpoint(calls, found):
    assert calls["v1 predict"] == {"predictions": [one.to_answer(NAMES) for one in found]}


def test_refusals_reach_it_with_their_reasons(calls):
    for call, status, said in (
        ("v2 no picture", 415, "not a JPEG"),
        ("v2 no model", 404, "Model not found: none"),
        ("v1 no picture", 415, "not a JPEG"),
        ("v1 explain", 501, "no explanations"),
        ("grpc no picture", "INVALID_ARGUMENT", "not a JPEG"),
        ("grpc load", "INVALID_ARGUMENT", "cannot be loaded or unloaded here"),
    ):
        found, message = calls[call]["refused"]
        assert (found, said in message) == (status, True), message


def test_its_stubs_read_our_descriptions(calls):
    assert calls["grpc server"] == "boxwright"
    assert calls["grpc metadata"] == ["boxes", "scores", "labels", "label_names", "num_detections"]
