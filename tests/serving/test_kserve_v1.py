"""KServe's protocol, version 1."""

import base64
import gzip
import json

import pytest

from boxwright.inputs import Predictor
from boxwright.runtime import Execution
from boxwright.serving import kserve_v1, torchserve, v2
from boxwright.serving.app import make_app
from boxwright.serving.calls import Service
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.settings import Limits, ServerSettings

PREDICT = "/v1/models/tiny:predict"
SMALL = ServerSettings(limits=Limits(max_body=200_000))


def app_of(service):
    return make_app(service, (v2.PROTOCOL, kserve_v1.PROTOCOL, torchserve.PROTOCOL))


@pytest.fixture
def call(ask, engine):
    """A request, after which nothing is held for bodies any more."""
    service = Service(engine, SMALL)

    def answered(method, path, **options):
        response = ask(method, path, app=app_of(service), **options)
        assert service.intake.in_flight == 0
        return response

    return answered


@pytest.fixture(scope="module")
def pictures(mar, demo_data):
    predictor = Predictor(mar)
    paths = sorted(demo_data.glob("test/*.jpg"), key=lambda path: len(predictor(path)))
    return [paths[-1].read_bytes(), paths[0].read_bytes()]


@pytest.fixture(scope="module")
def expected(mar, pictures):
    predictor = Predictor(mar, backend="onnxruntime")
    return [predictor(picture).to_answer(("circle", "square", "triangle")) for picture in pictures]


def text(picture):
    return base64.b64encode(picture).decode()


def test_models_are_listed_and_say_whether_they_are_ready(call):
    assert call("GET", "/v1/models").json() == {"models": ["tiny"]}
    assert call("GET", "/v1/models/tiny").json() == {"name": "tiny", "ready": True}


def test_a_model_without_workers_is_not_ready(ask, mar, pictures):
    engine = Engine(load_models([mar], Execution("onnxruntime")))
    app = app_of(Service(engine, SMALL))
    engine.models["tiny"].scale(0)
    response = ask("GET", "/v1/models/tiny", app=app)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json() == {"name": "tiny", "ready": False}
    response = ask("POST", PREDICT, app=app, json={"instances": [text(pictures[0])]})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "no worker" in response.json()["error"]
    engine.close(10.0)


def test_each_prediction_is_the_endpoints_answer(call, pictures, expected):
    """To the last bit what the predictor finds, in the order of the instances."""
    assert expected[0]
    assert expected[0] != expected[1]
    instances = [{"b64": text(picture)} for picture in [*pictures, pictures[0]]]
    response = call("POST", PREDICT, json={"instances": instances})
    assert response.json() == {"predictions": [*expected, expected[0]]}
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "around",
    [
        lambda one: one,
        lambda one: f"data:image/jpeg;base64,{one}",
        lambda one: base64.encodebytes(base64.b64decode(one)).decode(),
        lambda one: {"b64": one},
        lambda one: {"data": one},
        lambda one: {"body": one},
        lambda one: {"image": one},
        lambda one: {"image": {"b64": one}},
        lambda one: {"image_bytes": {"b64": one}},
    ],
)
def test_a_picture_may_come_in_any_of_these_forms(call, pictures, expected, around):
    response = call("POST", PREDICT, json={"instances": [around(text(pictures[0]))]})
    assert response.json() == {"predictions": [expected[0]]}, response.text


def test_bodies_may_be_packed_both_ways(call, pictures, expected):
    content = gzip.compress(json.dumps({"instances": [text(pictures[0])]}).encode())
    headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    response = call("POST", PREDICT, content=content, headers=headers)
    assert (response.headers["content-encoding"], response.json()) == ("gzip", {"predictions": [expected[0]]})


@pytest.mark.parametrize("name", ["threshold", "conf"])
def test_the_threshold_is_honoured(call, mar, pictures, expected, name):
    low = Predictor(mar, backend="onnxruntime", threshold=0.02)(pictures[0])
    low = low.to_answer(("circle", "square", "triangle"))
    assert len(low) > len(expected[0])
    body = {"instances": [text(pictures[0])]}
    assert call("POST", PREDICT, json=body, params={name: 0.02}).json() == {"predictions": [low]}
    assert call("POST", PREDICT, json={**body, "parameters": {name: 0.02}}).json() == {"predictions": [low]}


X = {"b64": "eA=="}
WRONG = [
    ("GET", "/v1/models/none", {}, 404, "Model not found: none"),
    ("GET", PREDICT, {}, 405, "is asked with POST"),
    ("GET", "/v1/models/tiny:explain", {}, 405, "is asked with POST"),
    ("POST", "/v1/models/tiny", {}, 405, "method is not allowed"),
    ("GET", "/v1/nothing", {}, 404, "Requested resource is not found"),
    ("POST", "/v1/models/none:predict", {"json": {"instances": [X]}}, 404, "Model not found: none"),
    ("POST", "/v1/models/tiny:explain", {"json": {"instances": [X]}}, 501, "no explanations"),
    ("POST", PREDICT, {"content": b""}, 400, "holds no pictures"),
    ("POST", PREDICT, {"content": b"hello"}, 400, "not JSON"),
    ("POST", PREDICT, {"content": b"[" * 9_000}, 400, "not JSON"),
    ("POST", PREDICT, {"content": b"0" * 300_000}, 413, "larger than 200000 bytes"),
    ("POST", PREDICT, {"json": [X]}, 400, "not a JSON object"),
    ("POST", PREDICT, {"json": {"instances": []}}, 400, "holds no pictures"),
    ("POST", PREDICT, {"json": {"instances": X}}, 400, "holds no pictures"),
    ("POST", PREDICT, {"json": {"instances": [X], "signature_name": "x"}}, 400, "'signature_name' is unknown"),
    ("POST", PREDICT, {"json": {"instances": [X], "parameters": {"iou": 1}}}, 400, "'iou' of the request is unknown"),
    ("POST", PREDICT, {"json": {"instances": [X], "parameters": [1]}}, 400, "are not an object"),
    ("POST", PREDICT, {"json": {"instances": [X], "parameters": {"conf": True}}}, 400, "conf = ''"),
    ("POST", PREDICT, {"json": {"instances": [X], "parameters": {"conf": 0, "threshold": 0}}}, 400, "Send one"),
    ("POST", f"{PREDICT}?iou=1", {"json": {"instances": [X]}}, 400, "Parameter 'iou' of the URL is unknown"),
    ("POST", f"{PREDICT}?conf=.2&conf=.3", {"json": {"instances": [X]}}, 400, "Send one"),
    ("POST", f"{PREDICT}?conf=.2", {"json": {"instances": [X], "parameters": {"conf": 0}}}, 400, "Send one"),
    ("POST", PREDICT, {"json": {"instances": [X, 1]}}, 400, "Instance 1 is no picture"),
    ("POST", PREDICT, {"json": {"instances": [{"b64": "eA==", "more": 1}]}}, 400, "Instance 0 is no picture"),
    ("POST", PREDICT, {"json": {"instances": [{"url": "http://x"}]}}, 400, "Instance 0 is no picture"),
    ("POST", PREDICT, {"json": {"instances": [{"image": {"image": "eA=="}}]}}, 400, "Instance 0 is no picture"),
    ("POST", PREDICT, {"json": {"instances": [[1, 2]]}}, 400, "Instance 0 is no picture"),
    ("POST", PREDICT, {"json": {"instances": ["%"]}}, 400, "Instance 0 is not base64"),
    ("POST", PREDICT, {"json": {"instances": ["ä"]}}, 400, "Instance 0 is not base64"),
    ("POST", PREDICT, {"json": {"instances": [X]}}, 415, "not a JPEG"),
]


@pytest.mark.parametrize(("method", "path", "options", "status", "said"), WRONG)
def test_errors_have_the_protocols_shape(call, method, path, options, status, said):
    response = call(method, path, **options)
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    assert said in response.json()["error"]
    if status == 405:
        assert response.headers["allow"]
