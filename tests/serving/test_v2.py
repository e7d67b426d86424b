"""The Open Inference Protocol, by requests made from its specification."""

import base64
import gzip
import json
import struct
import zlib

import numpy as np
import pytest

from boxwright.runtime import Execution, PicturePredictor
from boxwright.serving.app import create_app
from boxwright.serving.engine import Engine, load_models

INFER = "/v2/models/tiny/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def picture(engine, demo_data):
    predictor = engine.models["tiny"].predictor
    return max(demo_data.glob("test/*.jpg"), key=lambda path: len(predictor(path))).read_bytes()


@pytest.fixture(scope="module")
def found(engine, picture):
    detections = engine.models["tiny"].predictor(picture)
    assert len(detections) > 1
    return detections


def image(picture, **others):
    text = base64.b64encode(picture).decode()
    return {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text], **others}


def raw(picture, **others):
    """A body with its one input as raw bytes behind the JSON, and the headers it needs."""
    element = struct.pack("<I", len(picture)) + picture
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(element)}}
    header = json.dumps({"inputs": [tensor], **others}).encode()
    return {"content": header + element, "headers": {LENGTH: str(len(header))}}


def outputs(response):
    assert response.status_code == 200, response.text
    return {one["name"]: one for one in response.json()["outputs"]}


def test_the_server_and_its_models_describe_themselves(ask):
    assert ask("GET", "/v2").json() == {
        "name": "boxwright",
        "version": ask("GET", "/v2").json()["version"],
        "extensions": ["binary_tensor_data"],
    }
    assert ask("GET", "/v2/health/live").json() == {"live": True}
    assert ask("GET", "/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/1.0"):
        described = ask("GET", path).json()
        assert (described["name"], described["versions"]) == ("tiny", ["1.0"])
        assert described["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [1]}]
        assert [one["name"] for one in described["outputs"]] == ["boxes", "scores", "labels", "label_names"]
        assert ask("GET", f"{path}/ready").json() == {"name": "tiny", "ready": True}


def test_json_in_json_out(ask, picture, found):
    """To the last bit what predict finds, for one picture in base64."""
    tensor = image(picture, parameters={"content_type": "base64"})
    response = ask("POST", INFER, json={"id": "7", "inputs": [tensor]})
    answer = outputs(response)
    assert {name: one["shape"] for name, one in answer.items()} == {
        "boxes": [len(found), 4],
        "scores": [len(found)],
        "labels": [len(found)],
        "label_names": [len(found)],
    }
    assert [one["datatype"] for one in answer.values()] == ["FP32", "FP32", "INT64", "BYTES"]
    assert answer["boxes"]["data"] == [float(edge) for edge in found.boxes.ravel()]
    assert answer["scores"]["data"] == [float(score) for score in found.scores]
    assert answer["labels"]["data"] == found.labels.tolist()
    names = ("circle", "square", "triangle")
    assert answer["label_names"]["data"] == [names[label] for label in found.labels]
    document = response.json()
    assert (document["model_name"], document["model_version"], document["id"]) == ("tiny", "1.0", "7")


def test_every_way_to_send_the_picture_gives_the_same_answer(ask, picture):
    expected = outputs(ask("POST", INFER, json={"inputs": [image(picture)]}))
    plain = json.dumps({"inputs": [image(picture)]}).encode()
    ways = {
        "the body is the picture": {"content": picture, "headers": {LENGTH: "0"}},
        "raw behind the JSON": raw(picture),
        "nested data": {"json": {"inputs": [image(picture, shape=[1, 1], data=[image(picture)["data"]])]}},
        "gzip": {"content": gzip.compress(plain), "headers": {"Content-Encoding": "gzip"}},
        "deflate": {"content": zlib.compress(plain), "headers": {"Content-Encoding": "deflate"}},
    }
    for way, options in ways.items():
        assert outputs(ask("POST", "/v2/models/tiny/versions/1.0/infer/", **options)) == expected, way


def test_raw_outputs_are_read_by_the_specification(ask, picture, found):
    response = ask("POST", INFER, **raw(picture, parameters={"binary_data_output": True}))
    length = int(response.headers[LENGTH])
    document, rest = json.loads(response.content[:length]), response.content[length:]
    parts = {}
    for output in document["outputs"]:
        assert "data" not in output
        size = output["parameters"]["binary_data_size"]
        parts[output["name"]], rest = rest[:size], rest[size:]
    assert rest == b""
    assert np.frombuffer(parts["boxes"], "<f4").reshape(-1, 4).tolist() == found.boxes.tolist()
    assert np.frombuffer(parts["scores"], "<f4").tolist() == found.scores.tolist()
    assert np.frombuffer(parts["labels"], "<i8").tolist() == found.labels.tolist()
    (first,) = struct.unpack_from("<I", parts["label_names"])
    assert parts["label_names"][4 : 4 + first].decode() == ("circle", "square", "triangle")[found.labels[0]]


def test_outputs_can_be_chosen_each_in_its_own_form(ask, picture, found):
    chosen = [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "labels"}]
    response = ask("POST", INFER, json={"inputs": [image(picture)], "outputs": chosen})
    length = int(response.headers[LENGTH])
    scores, labels = json.loads(response.content[:length])["outputs"]
    assert (scores["name"], labels["name"], labels["data"]) == ("scores", "labels", found.labels.tolist())
    assert np.frombuffer(response.content[length:], "<f4").tolist() == found.scores.tolist()


def test_a_picture_without_detections_has_empty_outputs(ask, picture, monkeypatch):
    monkeypatch.setattr(PicturePredictor, "report", lambda predictor, found: found.filter_by_score(1.0))
    answer = outputs(ask("POST", INFER, json={"inputs": [image(picture)]}))
    assert {name: (one["shape"], one["data"]) for name, one in answer.items()} == {
        "boxes": ([0, 4], []),
        "scores": ([0], []),
        "labels": ([0], []),
        "label_names": ([0], []),
    }


WRONG = [
    ("/v2/models/none", None, 404, "Model not found: none"),
    ("/v2/models/none/ready", None, 404, "Model not found: none"),
    ("/v2/models/tiny/versions/9", None, 404, "Model version: 9 does not exist"),
    ("/v2/nothing", None, 404, "Requested resource is not found"),
    ("/v2/models/none/infer", {"content": b"{}"}, 404, "Model not found: none"),
    (INFER, {"content": b""}, 400, "malformed"),
    (INFER, {"content": b"hello"}, 400, "malformed"),
    (INFER, {"content": b"[" * 100_000}, 400, "malformed"),
    (INFER, {"json": []}, 400, "malformed"),
    (INFER, {"json": {}}, 400, "key 'inputs' is missing"),
    (INFER, {"json": [1]}, 400, "not an object with inputs"),
    (INFER, {"json": {"inputs": [image(b"x")], "parameters": 1}}, 400, "parameters are not an object"),
    (INFER, {"content": b"x", "headers": {LENGTH: "9" * 5000}}, 400, LENGTH),
    ("/v2", {"content": b""}, 405, "method is not allowed"),
    (INFER, {"json": {"inputs": []}}, 400, "one input, image"),
    (INFER, {"json": {"inputs": [image(b"x", name="picture")]}}, 400, "one input, image"),
    (INFER, {"json": {"inputs": [image(b"x", datatype="UINT8")]}}, 400, "BYTES of shape [1]"),
    (INFER, {"json": {"inputs": [image(b"x", shape=[2])]}}, 400, "BYTES of shape [1]"),
    (INFER, {"json": {"inputs": [image(b"x", data=["%"])]}}, 400, "not base64"),
    (INFER, {"json": {"inputs": [image(b"x", data=[1, 2])]}}, 400, "one text"),
    (INFER, {"json": {"inputs": [image(b"x", parameters={"binary_data_size": 5})]}}, 400, "raw data of image"),
    (INFER, {"json": {"inputs": [image(b"x")], "outputs": [{"name": "masks"}]}}, 400, "no output 'masks'"),
    (INFER, {"json": {"inputs": [image(b"hello")]}}, 415, "not a JPEG"),
    (INFER, {"json": {"inputs": [image(b"\xff\xd8\xff\xe0" + b"0" * 99)]}}, 400, "cannot be decoded"),
    (INFER, {"content": b"0" * 300_000}, 413, "larger than 200000 bytes"),
    (INFER, {"content": b"x", "headers": {LENGTH: "2"}}, 400, LENGTH),
    (INFER, {"content": b"x", "headers": {LENGTH: "-1"}}, 400, LENGTH),
    (INFER, {"content": b"hello", "headers": {LENGTH: "0"}}, 415, "not a JPEG"),
    (INFER, {"content": b"x", "headers": {"Content-Encoding": "br"}}, 415, "'br'"),
    (INFER, {"content": b"x", "headers": {"Content-Encoding": "gzip"}}, 400, "cannot be unpacked"),
    (INFER, {"content": gzip.compress(b"x" * 99)[:-9], "headers": {"Content-Encoding": "gzip"}}, 400, "too early"),
    (INFER, {"content": gzip.compress(bytes(10**6)), "headers": {"Content-Encoding": "gzip"}}, 413, "larger than"),
]


@pytest.mark.parametrize(("path", "options", "status", "said"), WRONG)
def test_errors_have_the_protocols_shape(ask, path, options, status, said):
    response = ask("GET" if options is None else "POST", path, **(options or {}))
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    assert said in response.json()["error"]


def test_parameters_may_be_null(ask, picture):
    tensor = image(picture, parameters=None)
    response = ask("POST", INFER, json={"inputs": [tensor], "parameters": None, "outputs": None})
    assert response.status_code == 200, response.text


def test_a_full_queue_says_try_again(ask, engine, picture):
    full = create_app(Engine(engine.models, queue_size=0))
    response = ask("POST", INFER, app=full, json={"inputs": [image(picture)]})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "0 requests waiting" in response.json()["error"]


def test_a_failing_network_is_503(ask, mar, picture):
    broken = Engine(load_models([mar], Execution("onnxruntime")))
    broken.models["tiny"].predictor._backend = None
    response = ask("POST", INFER, app=create_app(broken), json={"inputs": [image(picture)]})
    assert (response.status_code, response.json()) == (503, {"error": "Prediction failed"})
