import json

import pytest

from boxwright.inputs import Predictor
from boxwright.runtime import Execution
from boxwright.serving.app import create_app
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.model import ModelOptions


@pytest.fixture
def picture(demo_data):
    return max((demo_data / "test").glob("*.jpg"), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ping(ask, method):
    response = ask(method, "/ping")
    assert (response.status_code, response.json()) == (200, {"status": "Healthy"})
    assert response.text.endswith("\n")
    assert response.headers["x-request-id"]


def test_the_answer_is_the_predictors(ask, mar, picture):
    predictor = Predictor(mar)
    expected = predictor(picture).to_answer(predictor.spec.class_names)
    for method in ("PUT", "POST"):
        response = ask(method, "/predictions/tiny", content=picture.read_bytes())
        assert response.status_code == 200
        assert response.text == json.dumps(expected, indent=2)


@pytest.mark.parametrize("field", ["data", "body", "anything"])
def test_forms_are_read(ask, picture, field):
    plain = ask("POST", "/predictions/tiny", content=picture.read_bytes())
    form = ask("POST", "/predictions/tiny/1.0/", files={field: ("a.jpg", picture.read_bytes())})
    assert form.status_code == 200
    assert form.json() == plain.json()


def test_form_content_type_of_curl_does_no_harm(ask, picture):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert ask("POST", "/predictions/tiny", content=picture.read_bytes(), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "kind"),
    [
        ("POST", "/predictions/none", {"content": b"x"}, 404, "ModelNotFoundException"),
        ("POST", "/predictions/tiny/9.9", {"content": b"x"}, 404, "ModelVersionNotFoundException"),
        ("POST", "/predictions/tiny", {"content": b""}, 400, "BadRequestException"),
        ("POST", "/predictions/tiny", {"content": b"hello"}, 415, "UnsupportedPicture"),
        ("POST", "/predictions/tiny", {"content": b"\xff\xd8\xff\xe0" + b"0" * 99}, 400, "PictureError"),
        ("POST", "/predictions/tiny", {"content": b"0" * 300_000}, 413, "RequestEntityTooLargeException"),
        ("POST", "/predictions/tiny", {"data": {"data": "no file"}, "files": {}}, 415, "UnsupportedPicture"),
        (
            "POST",
            "/predictions/tiny",
            {"files": {"data": ("a", b"0" * 300_000)}},
            413,
            "RequestEntityTooLargeException",
        ),
        ("GET", "/models/none", {}, 404, "ModelNotFoundException"),
        ("GET", "/nothing", {}, 404, "ResourceNotFoundException"),
        ("DELETE", "/ping", {}, 405, "MethodNotAllowedException"),
        ("POST", "/explanations/none", {"content": b"x"}, 404, "ModelNotFoundException"),
        ("POST", "/explanations/tiny", {"content": b"x"}, 501, "NotImplementedException"),
        ("POST", "/wfpredict/flow", {"content": b"x"}, 501, "NotImplementedException"),
        ("GET", "/", {}, 405, "MethodNotAllowedException"),
    ],
)
def test_errors_have_torchserves_shape(ask, method, path, options, status, kind):
    response = ask(method, path, **options)
    assert response.status_code == status, response.text
    assert response.json().keys() == {"code", "type", "message"}
    assert "allow" in response.headers or status != 405
    assert (response.json()["code"], response.json()["type"]) == (status, kind)
    assert response.headers["connection"] == "close"


def test_of_several_files_the_bad_one_is_named(ask, picture):
    good = ("a.jpg", picture.read_bytes())
    for bad in (0, 1, 2):
        files = [("data", ("b.jpg", b"no picture") if place == bad else good) for place in range(3)]
        response = ask("POST", "/predictions/tiny", files=files)
        assert response.status_code == 415
        assert response.json()["message"].startswith(f"Picture {bad + 1} of 3: ")
    alone = ask("POST", "/predictions/tiny", content=b"no picture").json()["message"]
    assert response.json()["message"] == f"Picture 3 of 3: {alone}"


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("POST", "/models?url=tiny.mar", "--management-port and ask that port."),
        ("PUT", "/models/tiny", "--management-port and ask that port."),
        ("DELETE", "/models/tiny/1.0", "--management-port and ask that port."),
        ("PUT", "/invocations", "by POST."),
        ("PUT", "/models/tiny/invoke", "by POST."),
        ("DELETE", "/ping", "API document."),
    ],
)
def test_a_method_that_is_not_there_says_what_is(ask, method, path, hint):
    response = ask(method, path)
    assert response.status_code == 405
    assert response.json()["message"].endswith(hint)


def test_a_broken_form_is_a_bad_request(ask):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    response = ask("POST", "/predictions/tiny", content=b"--y\r\nnonsense", headers=headers)
    assert response.status_code == 400
    headers = {"content-type": "Multipart/form-data; boundary=x; charset=undefined"}
    content = b'--x\r\nContent-Disposition: form-data; name="data"\r\n\r\nx\r\n--x--\r\n'
    # what a field's characters are does not matter to a picture: this one is read, and is none
    assert ask("POST", "/predictions/tiny", content=content, headers=headers).status_code == 415


def test_models_are_listed_and_described(ask):
    assert ask("GET", "/models").json() == {"models": [{"modelName": "tiny", "modelUrl": "tiny.mar"}]}
    assert ask("GET", "/models?limit=" + "9" * 5000).status_code == 200
    assert ask("GET", "/models?limit=0&next_page_token=junk").json() == {"nextPageToken": "0", "models": []}
    (description,) = ask("GET", "/models/tiny").json()
    assert (description["modelName"], description["modelVersion"]) == ("tiny", "1.0")
    assert description["workers"][0]["status"] == "READY"
    (customized,) = ask("GET", "/models/tiny/all?customized=true").json()
    assert json.loads(customized["customizedMetadata"])["architecture"] == "fasterrcnn_tiny_fpn"


def test_a_full_queue_says_try_again(ask, mar, picture):
    full = create_app(Engine(load_models([mar], Execution("onnxruntime"), ModelOptions(queue_size=0))))
    response = ask("POST", "/predictions/tiny", app=full, content=picture.read_bytes())
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["type"] == "ServiceUnavailableException"


def test_a_failing_network_is_503_and_the_server_lives(ask, mar, picture):
    broken = Engine(load_models([mar], Execution("onnxruntime")))
    ((_, worker, _),) = broken.models["tiny"].workers
    worker.predictor._backend = None
    app = create_app(broken)
    response = ask("POST", "/predictions/tiny", app=app, content=picture.read_bytes())
    assert (response.status_code, response.json()["message"]) == (503, "Prediction failed")
    assert ask("GET", "/ping", app=app).status_code == 200
    assert broken.models["tiny"].pending == 0
