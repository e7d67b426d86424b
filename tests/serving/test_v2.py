"""The Open Inference Protocol, by requests made from its specification."""

import base64
import gzip
import json
import shutil
import struct
import zlib
from importlib.metadata import version

import numpy as np
import pytest

from boxwright.inputs import Predictor
from boxwright.runtime import Execution
from boxwright.serving import kserve_v1, torchserve, v2
from boxwright.serving.app import make_app
from boxwright.serving.calls import Service
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.settings import Limits, ServerSettings
from support.folder import Folder
from support.tensors import LENGTH, image, outputs, raw

INFER = "/v2/models/tiny/infer"
NAMES = ("circle", "square", "triangle")
SMALL = ServerSettings(limits=Limits(max_body=200_000))
ALWAYS = ["boxes", "scores", "labels", "label_names"]


def app_of(service):
    return make_app(service, (v2.PROTOCOL, kserve_v1.PROTOCOL, torchserve.PROTOCOL))


@pytest.fixture
def service(engine):
    return Service(engine, SMALL)


@pytest.fixture
def call(ask, service):
    """A request, after which nothing is held for bodies any more."""

    def answered(method, path, **options):
        response = ask(method, path, app=app_of(service), **options)
        assert service.intake.in_flight == 0
        return response

    return answered


@pytest.fixture
def own_engine(mar):
    engine = Engine(load_models([mar], Execution("onnxruntime")))
    yield engine
    engine.close(10.0)


@pytest.fixture(scope="module")
def predictor(mar):
    return Predictor(mar, backend="onnxruntime")


@pytest.fixture(scope="module")
def pictures(predictor, demo_data):
    """Three, not all with the same number of detections."""
    paths = sorted(demo_data.glob("*/*.jpg"), key=lambda path: len(predictor(path)))
    three = [paths[-1].read_bytes(), paths[len(paths) // 2].read_bytes(), paths[-2].read_bytes()]
    assert len({len(predictor(one)) for one in three}) > 1
    return three


@pytest.fixture(scope="module")
def picture(pictures):
    return pictures[0]


@pytest.fixture(scope="module")
def found(predictor, picture):
    detections = predictor(picture)
    assert len(detections) > 1
    return detections


@pytest.fixture(scope="module")
def everything(mar, picture):
    """All detections, whatever their score."""
    return Predictor(mar, backend="onnxruntime", threshold=0.0)(picture)


# what is said of the server and its models


def test_the_server_describes_itself(call):
    assert call("GET", "/v2").json() == {
        "name": "boxwright",
        "version": version("boxwright"),
        "extensions": ["binary_tensor_data", "parameters", "model_configuration", "statistics"],
    }
    assert call("GET", "/v2/health/live").json() == {"live": True}
    assert call("GET", "/v2/health/ready").json() == {"ready": True}
    assert call("GET", "/v2/models").json() == {"models": ["tiny"]}


@pytest.mark.parametrize("path", ["/v2/models/tiny", "/v2/models/tiny/versions/1.0"])
def test_a_model_describes_itself(call, engine, path):
    spec = engine.models["tiny"].spec
    described = call("GET", path).json()
    assert (described["name"], described["versions"]) == ("tiny", ["1.0"])
    assert described["platform"].startswith("onnxruntime-")
    assert described["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    kinds = [(one["name"], one["datatype"], one["shape"]) for one in described["outputs"]]
    assert kinds == [
        ("boxes", "FP32", [-1, 4]),
        ("scores", "FP32", [-1]),
        ("labels", "INT64", [-1]),
        ("label_names", "BYTES", [-1]),
        ("num_detections", "INT32", [-1]),
    ]
    parameters = described["parameters"]
    assert parameters["class_names"] == list(NAMES)
    assert parameters["operating_point"]["threshold"] == spec.operating_point.threshold
    assert parameters["operating_point"]["thresholds"] == dict(
        zip(NAMES, spec.operating_point.thresholds(NAMES), strict=True)
    )
    assert call("GET", f"{path}/ready").json() == {"name": "tiny", "ready": True}


@pytest.mark.parametrize("path", ["/v2/models/tiny/config", "/v2/models/tiny/versions/1.0/config"])
def test_the_configuration_is_in_tritons_terms(call, path):
    config = call("GET", path).json()
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("tiny", "onnxruntime", 0)
    assert config["input"] == [{"name": "image", "data_type": "TYPE_STRING", "dims": [-1]}]
    assert config["output"][0] == {"name": "boxes", "data_type": "TYPE_FP32", "dims": [-1, 4]}
    assert config["output"][4] == {"name": "num_detections", "data_type": "TYPE_INT32", "dims": [-1]}
    (group,) = config["instance_group"]
    assert (group["kind"], group["count"] >= 1) == ("KIND_CPU", True)
    assert json.loads(config["parameters"]["class_names"]["string_value"]) == list(NAMES)


def test_statistics_count_what_was_asked(ask, own_engine, picture):
    app = app_of(Service(own_engine, SMALL))
    for _ in range(3):
        assert ask("POST", INFER, app=app, json={"inputs": [image(picture)]}).status_code == 200
    by_path = [
        ask("GET", path, app=app).json()
        for path in ("/v2/models/stats", "/v2/models/tiny/stats", "/v2/models/tiny/versions/1.0/stats")
    ]
    assert by_path[0] == by_path[1] == by_path[2]
    (one,) = by_path[0]["model_stats"]
    assert (one["name"], one["version"], one["inference_count"], one["execution_count"]) == ("tiny", "1.0", 3, 3)
    assert one["last_inference"] > 1_700_000_000_000  # milliseconds
    stages = one["inference_stats"]
    assert stages["success"]["count"] == stages["compute_infer"]["count"] == 3
    parts = sum(stages[name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output"))
    assert stages["success"]["ns"] == parts > 0
    assert stages["fail"]["count"] == 0


def test_what_is_not_ready_says_when_to_ask_again(ask, own_engine):
    app = app_of(Service(own_engine, SMALL))
    paths = ("/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny/versions/1.0/ready")
    assert [ask("GET", path, app=app).status_code for path in paths] == [200, 200, 200]
    own_engine.ready = False
    for path in paths:
        response = ask("GET", path, app=app)
        assert (response.status_code, response.headers["retry-after"], response.json()["ready"]) == (503, "1", False)
    assert ask("GET", "/v2/health/live", app=app).status_code == 200
    own_engine.ready = True
    model = own_engine.models["tiny"]
    model.scale(0)
    model.least = 1  # it was asked for one, which has gone
    for path in paths:
        assert ask("GET", path, app=app).status_code == 503
    response = ask("POST", INFER, app=app, json={"inputs": [image(b"x")]})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "no worker" in response.json()["error"]


# answers


def test_json_in_json_out(call, picture, found):
    """To the last bit what predict finds, for one picture in base64."""
    tensor = image(picture, parameters={"content_type": "base64"})
    response = call("POST", INFER, json={"id": "7", "inputs": [tensor]})
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
    assert answer["label_names"]["data"] == [NAMES[label] for label in found.labels]
    document = response.json()
    assert (document["model_name"], document["model_version"], document["id"]) == ("tiny", "1.0", "7")


def test_every_way_to_send_the_picture_gives_the_same_answer(call, picture):
    expected = outputs(call("POST", INFER, json={"inputs": [image(picture)]}))
    plain = json.dumps({"inputs": [image(picture)]}).encode()
    text = image(picture)["data"]
    lines = base64.encodebytes(picture).decode()
    binary = raw(picture)
    packed = {"content": gzip.compress(binary["content"]), "headers": {**binary["headers"], "Content-Encoding": "gzip"}}
    ways = {
        "the body is the picture": {"content": picture, "headers": {LENGTH: "0"}},
        "raw behind the JSON": binary,
        "raw behind the JSON, packed": packed,
        "base64 behind the JSON": raw(text[0].encode(), parameters={"content_type": "base64"}),
        "nested data": {"json": {"inputs": [image(picture, shape=[1, 1], data=[text])]}},
        "one text": {"json": {"inputs": [image(picture, data=text[0])]}},
        "base64 in lines": {"json": {"inputs": [image(picture, data=[lines])]}},
        "gzip": {"content": gzip.compress(plain), "headers": {"Content-Encoding": "gzip"}},
        "deflate": {"content": zlib.compress(plain), "headers": {"Content-Encoding": "deflate"}},
    }
    for way, options in ways.items():
        assert outputs(call("POST", "/v2/models/tiny/versions/1.0/infer/", **options)) == expected, way


def test_raw_outputs_are_read_by_the_specification(call, picture, found):
    assert call("POST", INFER, **raw(picture)).headers["content-type"] == "application/json"
    response = call("POST", INFER, **raw(picture, parameters_of_request={"binary_data_output": True}))
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
    assert parts["label_names"][4 : 4 + first].decode() == NAMES[found.labels[0]]


def test_outputs_can_be_chosen_each_in_its_own_form(call, picture, found):
    chosen = [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "num_detections"}, {"name": "labels"}]
    response = call("POST", INFER, json={"inputs": [image(picture)], "outputs": chosen})
    length = int(response.headers[LENGTH])
    scores, counts, labels = json.loads(response.content[:length])["outputs"]
    assert (scores["name"], labels["name"], labels["data"]) == ("scores", "labels", found.labels.tolist())
    assert (counts["datatype"], counts["shape"], counts["data"]) == ("INT32", [1], [len(found)])
    assert np.frombuffer(response.content[length:], "<f4").tolist() == found.scores.tolist()


@pytest.mark.parametrize("way", ["json", "nested", "raw"])
def test_several_pictures_are_answered_one_after_the_other(call, pictures, predictor, way):
    ways = {
        "json": {"json": {"inputs": [image(*pictures)]}},
        "nested": {
            "json": {"inputs": [image(*pictures, shape=[3, 1], data=[[one] for one in image(*pictures)["data"]])]}
        },
        "raw": raw(*pictures),
    }
    answer = outputs(call("POST", INFER, **ways[way]))
    expected = [predictor(one) for one in pictures]
    assert list(answer) == [*ALWAYS, "num_detections"]
    assert (answer["num_detections"]["datatype"], answer["num_detections"]["shape"]) == ("INT32", [3])
    assert answer["num_detections"]["data"] == [len(one) for one in expected]
    total = sum(len(one) for one in expected)
    assert (answer["boxes"]["shape"], answer["label_names"]["shape"]) == ([total, 4], [total])
    assert answer["boxes"]["data"] == np.concatenate([one.boxes for one in expected]).ravel().tolist()
    assert answer["scores"]["data"] == np.concatenate([one.scores for one in expected]).tolist()
    assert answer["label_names"]["data"] == [NAMES[label] for one in expected for label in one.labels]


def test_one_bad_picture_refuses_all_of_them(call, pictures):
    response = call("POST", INFER, json={"inputs": [image(pictures[0], b"hello", pictures[1])]})
    assert response.status_code == 415
    assert "not a JPEG" in response.json()["error"]


def test_more_pictures_than_the_queue_holds_are_refused_for_good(ask, own_engine, picture):
    own_engine.models["tiny"].reconfigure(queue_size=2)
    service = Service(own_engine, SMALL)
    two, three = ({"inputs": [image(*([picture] * count))]} for count in (2, 3))
    assert ask("POST", INFER, app=app_of(service), json=two).status_code == 200
    response = ask("POST", INFER, app=app_of(service), json=three)
    assert (response.status_code, service.intake.in_flight) == (400, 0)
    assert "takes 2 at a time" in response.json()["error"]


# parameters


@pytest.mark.parametrize("name", ["threshold", "conf"])
@pytest.mark.parametrize("value", [0.02, 0.5, "0.5", 1])
def test_the_threshold_is_honoured_wherever_it_is_named(call, picture, everything, name, value):
    expected = everything.filter_by_score(float(value)).scores.tolist()
    body = {"inputs": [image(picture)]}
    answer = outputs(call("POST", INFER, json={**body, "parameters": {name: value}}))
    assert answer["scores"]["data"] == expected
    in_url = outputs(call("POST", INFER, json=body, params={name: value}))
    assert in_url == answer
    binary = call("POST", INFER, content=picture, headers={LENGTH: "0"}, params={name: value})
    assert outputs(binary) == answer


def test_a_low_threshold_reports_more_than_the_operating_point(everything, found):
    """What the test above compares with does differ."""
    assert len(everything.filter_by_score(0.02)) > len(found) > len(everything.filter_by_score(1.0)) == 0


def test_a_picture_without_detections_has_empty_outputs(call, picture):
    body = {"inputs": [image(picture)], "parameters": {"threshold": 1.0}}
    answer = outputs(call("POST", INFER, json=body))
    assert {name: (one["shape"], one["data"]) for name, one in answer.items()} == {
        "boxes": ([0, 4], []),
        "scores": ([0], []),
        "labels": ([0], []),
        "label_names": ([0], []),
    }


def test_parameters_may_be_null_or_ask_for_nothing(call, picture):
    tensor = image(picture, parameters=None)
    nothing = {"priority": 0, "sequence_id": 0, "sequence_start": False, "sequence_end": False, "timeout": 0}
    for parameters in (None, {}, nothing, {"timeout": 60_000_000}):
        response = call("POST", INFER, json={"inputs": [tensor], "parameters": parameters, "outputs": None})
        assert response.status_code == 200, response.text


def test_a_timeout_ends_the_waiting(ask, own_engine, picture, caplog):
    service = Service(own_engine, SMALL)
    body = {"inputs": [image(picture)], "parameters": {"timeout": 1}}  # microseconds
    response = ask("POST", INFER, app=app_of(service), json=body)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "no answer within the 1e-06 s" in response.json()["error"]
    assert own_engine.close(10.0)
    assert (service.intake.in_flight, caplog.records) == (0, [])


# encodings


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate;q=1.0, gzip;q=0.5", "deflate"),
        ("gzip;q=0", None),
        ("br", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("", None),
        ("gzip;q=x", None),
    ],
)
def test_answers_are_packed_as_the_client_asks(call, picture, accepted, encoding):
    body = {"inputs": [image(picture)], "parameters": {"binary_data_output": True}}
    plain = call("POST", INFER, json=body, headers={"Accept-Encoding": "identity"})
    packed = call("POST", INFER, json=body, headers={"Accept-Encoding": accepted})
    assert packed.headers.get("content-encoding") == encoding
    assert packed.headers["vary"] == "Accept-Encoding"
    assert packed.content == plain.content  # the test's client has unpacked it
    assert packed.headers[LENGTH] == plain.headers[LENGTH]
    if encoding:
        assert packed.headers["content-length"] != plain.headers["content-length"]


# refusals


def test_a_full_queue_says_try_again(ask, own_engine, picture):
    own_engine.models["tiny"].reconfigure(queue_size=0)
    service = Service(own_engine, SMALL)
    response = ask("POST", INFER, app=app_of(service), json={"inputs": [image(picture)]})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "0 pictures waiting" in response.json()["error"]
    assert service.intake.in_flight == 0


def test_bodies_without_room_say_try_again(ask, engine, picture):
    service = Service(engine, ServerSettings(limits=Limits(in_flight=len(picture) // 2)))
    response = ask("POST", INFER, app=app_of(service), content=picture, headers={LENGTH: "0"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert service.intake.in_flight == 0


def test_what_is_unpacked_needs_room_too(ask, engine):
    service = Service(engine, ServerSettings(limits=Limits(in_flight=20_000)))
    headers = {"Content-Encoding": "gzip", LENGTH: "0"}
    response = ask("POST", INFER, app=app_of(service), content=gzip.compress(bytes(30_000)), headers=headers)
    assert (response.status_code, response.headers["retry-after"], service.intake.in_flight) == (503, "1", 0)


X = image(b"x")


def infer(status, said, **document):
    return INFER, {"json": {"inputs": [X], **document}}, status, said


def tensor(said, **changes):
    return INFER, {"json": {"inputs": [{**X, **changes}]}}, 400, said


def body(status, said, content=b"x", **headers):
    return (
        INFER,
        {"content": content, "headers": {name.replace("_", "-"): value for name, value in headers.items()}},
        status,
        said,
    )


WRONG = [
    ("/v2/models/none", None, 404, "Model not found: none"),
    ("/v2/models/none/ready", None, 404, "Model not found: none"),
    ("/v2/models/none/config", None, 404, "Model not found: none"),
    ("/v2/models/none/stats", None, 404, "Model not found: none"),
    ("/v2/models/tiny/versions/9", None, 404, "Model version: 9 does not exist"),
    ("/v2/models/tiny/versions/9/ready", None, 404, "Model version: 9 does not exist"),
    ("/v2/models/tiny/versions/9/config", None, 404, "Model version: 9 does not exist"),
    ("/v2/models/tiny/versions/9/stats", None, 404, "Model version: 9 does not exist"),
    ("/v2/models/tiny/versions/9/infer", {"json": {"inputs": [X]}}, 404, "Model version: 9 does not exist"),
    ("/v2/nothing", None, 404, "Requested resource is not found"),
    ("/v2", {"content": b""}, 405, "method is not allowed"),
    (INFER, None, 405, "method is not allowed"),
    ("/v2/models/none/infer", {"content": b"{}"}, 404, "Model not found: none"),
    body(400, "key 'inputs' is missing", b""),
    body(400, "not JSON", b"hello"),
    body(400, "not JSON", b"\xff\xfe\x00"),
    body(400, "Inference-Header-Content-Length: 0", b"\xff\xd8\xff\xe0"),
    body(400, "not JSON: ", b"{\xff"),
    body(400, "not JSON", b"[" * 9_000),
    body(400, "not a JSON object", b"[1]"),
    body(400, "more than 10000 values", b"[" + b"[]," * 20_000 + b"1]"),
    body(400, "more than 10000 values", gzip.compress(b"[" + b"1," * 20_000 + b"1]"), Content_Encoding="gzip"),
    body(413, "larger than 200000 bytes", b"0" * 300_000),
    body(400, "Inference-Header-Content-Length", Inference_Header_Content_Length="9" * 5000),
    body(400, "Inference-Header-Content-Length", Inference_Header_Content_Length="2"),
    body(400, "Inference-Header-Content-Length", Inference_Header_Content_Length="-1"),
    body(400, "Inference-Header-Content-Length", Inference_Header_Content_Length=""),
    body(415, "not a JPEG", b"hello", Inference_Header_Content_Length="0"),
    body(415, "'br'", Content_Encoding="br"),
    body(400, "cannot be unpacked", Content_Encoding="gzip"),
    body(400, "too early", gzip.compress(b"x" * 99)[:-9], Content_Encoding="gzip"),
    body(413, "larger than", gzip.compress(bytes(10**6)), Content_Encoding="gzip"),
    infer(415, "not a JPEG"),
    infer(415, "not a JPEG", id="1", model_name="tiny", model_version="1.0"),
    infer(400, "key 'input' of the request is unknown; there is id, parameters, inputs", input=[]),
    infer(400, "model_name is 'other', and the URL leads to 'tiny'", model_name="other"),
    infer(400, "model_version is '2.0', and the URL leads to '1.0'", model_version="2.0"),
    infer(415, "not a JPEG", model_name="", model_version=None),
    infer(400, "key 'binary_data' of an output is unknown; there is name, parameters",
          outputs=[{"name": "boxes", "binary_data": True}]),
    tensor("key 'binary_data_size' of an input is unknown; there is name, datatype, shape", binary_data_size=3),
    infer(400, "one input, image", inputs=[]),
    infer(400, "one input, image", inputs=[X, X]),
    infer(400, "inputs are not a list of objects", inputs=1),
    infer(400, "inputs are not a list of objects", inputs=[1]),
    infer(400, "key 'name' is missing", inputs=[{}]),
    infer(400, "parameters are not an object", parameters=1),
    infer(400, "parameters are not an object", parameters=[]),
    infer(400, "parameter 'iou' of the request is unknown", parameters={"iou": 0.5}),
    infer(400, "threshold = '1.5'", parameters={"threshold": 1.5}),
    infer(400, "threshold = ''", parameters={"threshold": True}),
    infer(400, "conf = 'nan'", parameters={"conf": "nan"}),
    infer(400, "conf = '[]'", parameters={"conf": []}),
    infer(400, "the same parameter", parameters={"conf": 0.5, "threshold": 0.5}),
    infer(400, "'priority' of the request cannot be honoured", parameters={"priority": 1}),
    infer(400, "'sequence_id' of the request cannot be honoured", parameters={"sequence_id": 7}),
    infer(400, "timeout = -1", parameters={"timeout": -1}),
    infer(400, "timeout = True", parameters={"timeout": True}),
    infer(400, "timeout = 1000", parameters={"timeout": 10**400}),
    infer(400, "below 2**63", parameters={"timeout": 2**63}),
    infer(415, "not a JPEG", parameters={"timeout": 2**63 - 1}),
    infer(400, "timeout = '9'", parameters={"timeout": "9"}),
    infer(400, "binary_data_output = 'yes'", parameters={"binary_data_output": "yes"}),
    infer(400, "no output 'masks'", outputs=[{"name": "masks"}]),
    infer(400, "outputs are not a list", outputs="boxes"),
    infer(400, "asked for twice", outputs=[{"name": "boxes"}, {"name": "boxes"}]),
    infer(400, "key 'name' is missing", outputs=[{}]),
    infer(400, "1 is no name", outputs=[{"name": 1}]),
    infer(400, "binary_data = 1", outputs=[{"name": "boxes", "parameters": {"binary_data": 1}}]),
    infer(400, "'classification' of output boxes", outputs=[{"name": "boxes", "parameters": {"classification": 3}}]),
    infer(400, "'x' of output boxes is unknown", outputs=[{"name": "boxes", "parameters": {"x": 3}}]),
    (f"{INFER}?iou=0.5", {"json": {"inputs": [X]}}, 400, "Parameter 'iou' of the URL is unknown"),
    (f"{INFER}?threshold=2", {"json": {"inputs": [X]}}, 400, "threshold = '2'"),
    (f"{INFER}?threshold=.2&threshold=.3", {"json": {"inputs": [X]}}, 400, "names 2 thresholds"),
    (f"{INFER}?threshold=.2", {"json": {"inputs": [X], "parameters": {"conf": 0.3}}}, 400, "send one"),
    tensor("one input, image, not 'picture'", name="picture"),
    tensor("one input, image, not []", name=[]),
    tensor("BYTES of shape [N]", datatype="UINT8"),
    tensor("BYTES of shape [N]", shape=[]),
    tensor("BYTES of shape [N]", shape=1),
    tensor("BYTES of shape [N]", shape=[0]),
    tensor("BYTES of shape [N]", shape=[-1]),
    tensor("BYTES of shape [N]", shape=[1.0]),
    tensor("BYTES of shape [N]", shape=[True]),
    tensor("BYTES of shape [N]", shape=[1, 3]),
    tensor("BYTES of shape [N]", shape=[1, 1, 1]),
    tensor("are 1 elements, its shape says 2", shape=[2]),
    tensor("are 2 elements, its shape says 1", data=["eA==", "eA=="]),
    tensor("are 0 elements, its shape says 1", data=[]),
    tensor("not base64", data=["%"]),
    tensor("not base64", data=["ä"]),
    tensor("is one text", data=[1]),
    tensor("is one text", data=[["eA==", "eA=="]]),
    tensor("no list of texts", data=7),
    tensor("'x' of input image is unknown", parameters={"x": 1}),
    tensor("content_type 'str'", parameters={"content_type": "str"}),
    tensor("'shared_memory_region' of input image cannot be", parameters={"shared_memory_region": "r"}),
    tensor("has data and binary_data_size", parameters={"binary_data_size": 5}),
    tensor("binary_data_size of image is 5, and 0 bytes", data=None, parameters={"binary_data_size": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "options", "status", "said"), WRONG)
def test_errors_have_the_protocols_shape(call, path, options, status, said):
    response = call("GET" if options is None else "POST", path, **(options or {}))
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    assert said in response.json()["error"]


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        (b"\x05\0\0\0abcd", "end within an element of 5 bytes"),
        (b"\x01\0\0\0ab", "end within the length"),
        (b"\x01\0\0\0a\x01\0\0\0b", "are 2 elements"),
        (b"", "are 0 elements"),
    ],
)
def test_raw_elements_must_fill_the_tensor(call, elements, said):
    given = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(elements)}}
    header = json.dumps({"inputs": [given]}).encode()
    response = call("POST", INFER, content=header + elements, headers={LENGTH: str(len(header))})
    assert response.status_code == 400
    assert said in response.json()["error"]


def test_bytes_that_no_input_claims_are_refused(call, picture):
    header = json.dumps({"inputs": [image(picture)]}).encode()
    response = call("POST", INFER, content=header + b"rest", headers={LENGTH: str(len(header))})
    assert (response.status_code, "4 bytes behind the JSON" in response.json()["error"]) == (400, True)


ABSENT = [
    *(
        (method, f"/v2/{kind}sharedmemory/{rest}", "No memory is shared")
        for kind in ("system", "cuda")
        for method, rest in (
            ("GET", "status"),
            ("GET", "region/r/status"),
            ("POST", "region/r/register"),
            ("POST", "region/r/unregister"),
            ("POST", "unregister"),
        )
    ),
    ("GET", "/v2/trace/setting", "not traced"),
    ("POST", "/v2/models/tiny/trace/setting", "not traced"),
    ("GET", "/v2/logging", "log is configured"),
    ("POST", "/v2/logging", "log is configured"),
    ("POST", "/v2/models/tiny/explain", "no explanations"),
    ("POST", "/v2/models/tiny/versions/1.0/explain", "no explanations"),
]


@pytest.mark.parametrize(("method", "path", "said"), ABSENT)
def test_extensions_that_are_absent_say_why(call, method, path, said):
    response = call(method, path, **({"json": {}} if method == "POST" else {}))
    assert response.status_code == 501
    assert said in response.json()["error"]


# the model repository


@pytest.fixture
def store(own_engine, mar, tmp_path):
    shutil.copy(mar, tmp_path / "tiny.mar")
    service = Service(own_engine, SMALL, Folder(own_engine, tmp_path))
    return app_of(service), own_engine, tmp_path


def test_models_are_loaded_and_unloaded_by_name(ask, store, picture):
    app, engine, _ = store
    assert "model_repository" in ask("GET", "/v2", app=app).json()["extensions"]
    ready = {"name": "tiny", "version": "1.0", "state": "READY", "reason": ""}
    assert ask("POST", "/v2/repository/index", app=app).json() == [ready]
    before = engine.models["tiny"]
    assert ask("POST", "/v2/repository/models/tiny/load", app=app, json={}).status_code == 200
    assert engine.models["tiny"] is not before
    unload = {"parameters": {"unload_dependents": False}}
    assert ask("POST", "/v2/repository/models/tiny/unload", app=app, json=unload).status_code == 200
    assert ask("GET", "/v2/models/tiny", app=app).status_code == 404
    (gone,) = ask("POST", "/v2/repository/index", app=app, json={}).json()
    assert (gone["state"], gone["reason"]) == ("UNAVAILABLE", "not loaded")
    assert ask("POST", "/v2/repository/index", app=app, json={"ready": True}).json() == []
    response = ask("POST", "/v2/repository/models/tiny/unload", app=app)
    assert (response.status_code, response.json()) == (404, {"error": "Model not found: tiny"})
    assert ask("POST", "/v2/repository/models/tiny/load", app=app).status_code == 200
    assert ask("POST", INFER, app=app, json={"inputs": [image(picture)]}).status_code == 200


@pytest.mark.parametrize(
    ("path", "document", "status", "said"),
    [
        ("index", {"ready": 1}, 400, "an index is asked for"),
        ("index", {"all": True}, 400, "an index is asked for"),
        ("models/none/load", {}, 404, "no archive named 'none'"),
        ("models/broken/load", {}, 400, "broken.mar"),
        ("models/tiny/load", {"parameters": {"config": "{}"}}, 400, "'config' cannot be honoured"),
        ("models/tiny/load", {"parameters": {"file:1/model.onnx": "eA=="}}, 400, "cannot be honoured"),
        ("models/tiny/unload", {"parameters": {"force": True}}, 400, "'force' cannot be honoured"),
        ("models/tiny/unload", {"parameter": {}}, 400, "one key, parameters"),
        ("models/tiny/unload", [], 400, "not a JSON object"),
    ],
)
def test_what_cannot_be_done_with_the_repository_is_said(ask, store, path, document, status, said):
    app, engine, folder = store
    (folder / "broken.mar").write_bytes(b"no archive")
    response = ask("POST", f"/v2/repository/{path}", app=app, json=document)
    assert response.status_code == status, response.text
    assert said in response.json()["error"]
    assert list(engine.models) == ["tiny"]


def test_without_a_repository_the_index_is_what_is_served(call):
    entry = {"name": "tiny", "version": "1.0", "state": "READY", "reason": ""}
    assert call("POST", "/v2/repository/index", json={"ready": True}).json() == [entry]
    for change in ("load", "unload"):
        response = call("POST", f"/v2/repository/models/tiny/{change}")
        assert (response.status_code, "--model-control" in response.json()["error"]) == (400, True)
