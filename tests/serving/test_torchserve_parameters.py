"""What a request says beside its picture is honoured or refused, never ignored."""

import base64
import threading

import pytest

from boxwright.runtime import Execution, open_bundle
from boxwright.serving import torchserve
from boxwright.serving.app import create_app, make_app
from boxwright.serving.calls import Service
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.model import ModelOptions, load_model
from boxwright.serving.settings import Limits, ServerSettings
from boxwright.serving.torchserve import PROTOCOL


@pytest.fixture
def picture(demo_data):
    return min((demo_data / "test").glob("*.jpg")).read_bytes()


def scores(response):
    assert response.status_code == 200, response.text
    return [one["score"] for one in response.json()]


@pytest.mark.parametrize("name", ["threshold", "conf"])
def test_the_lowest_score_is_taken_from_the_url_and_from_a_form(ask, picture, name):
    every = scores(ask("POST", f"/predictions/tiny?{name}=0", content=picture))
    middle = sorted(every)[len(every) // 2]
    expected = [score for score in every if score >= middle]
    assert 0 < len(expected) < len(every)
    assert scores(ask("POST", f"/predictions/tiny?{name}={middle}", content=picture)) == expected
    form = {"files": {"data": ("a.jpg", picture)}, "data": {name: str(middle)}}
    assert scores(ask("POST", "/predictions/tiny", **form)) == expected


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("?threshold=0.1&threshold=0.2", {}),
        ("?threshold=0.1&conf=0.1", {}),
        ("?threshold=0.1", {"threshold": "0.1"}),
        ("", {"threshold": "0.1", "conf": "0.1"}),
        ("?threshold=2", {}),
        ("?threshold=", {}),
        ("?model_name=tiny", {}),
        ("", {"note": "hello"}),
    ],
)
def test_what_cannot_be_honoured_is_refused(ask, picture, query, fields):
    response = ask("POST", f"/predictions/tiny{query}", files={"data": ("a.jpg", picture)}, data=fields)
    assert response.status_code == 400, response.text
    assert response.json()["type"] == "BadRequestException"


def test_a_picture_in_a_field_without_a_file_name_stays_whole(ask, picture):
    expected = ask("POST", "/predictions/tiny?threshold=0", content=picture)
    for name in ("data", "body"):
        form = ask("POST", "/predictions/tiny?threshold=0", files={name: (None, picture)})
        assert scores(form) == scores(expected)


def test_bytes_that_are_declared_as_text_are_the_picture(ask, picture):
    expected = scores(ask("POST", "/predictions/tiny?threshold=0", content=picture))
    for kind in ("text/plain", "application/json"):
        headers = {"content-type": kind}
        assert scores(ask("POST", "/predictions/tiny?threshold=0", content=picture, headers=headers)) == expected


def test_sagemaker_names_no_model(ask, picture):
    assert ask("POST", "/invocations", content=picture).status_code == 200
    assert ask("POST", "/invocations?model_name=tiny", content=picture).status_code == 200
    assert ask("POST", "/invocations?model_name=none", content=picture).status_code == 404


@pytest.mark.parametrize("path", ["/explanations/tiny", "/explanations/tiny/1.0", "/wfpredict/flow"])
def test_what_is_not_there_says_so(ask, picture, path):
    response = ask("POST", path, content=picture)
    assert (response.status_code, response.json()["type"]) == (501, "NotImplementedException")


@pytest.mark.parametrize(
    "body",
    [b"%", rb'{"data": "\u00e9"}', rb'{"data": "\ud800"}', b'{"data": 1}', b"[" + b"{}," * 50_000 + b"{}]"],
    ids=["no base64", "no ASCII", "half a character", "a number", "many values"],
)
def test_a_text_that_is_no_picture_is_refused(ask, body):
    response = ask("POST", "/predictions/tiny", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (400, "BadRequestException")


def test_more_pictures_than_ever_fit_are_refused_for_good(ask, mar, picture):
    small = create_app(Engine(load_models([mar], Execution("onnxruntime"), ModelOptions(queue_size=2))))
    response = ask("POST", "/predictions/tiny", small, files=[("data", ("a.jpg", picture))] * 3)
    assert (response.status_code, "retry-after" in response.headers) == (400, False)
    assert response.json()["message"] == "The request holds 3 pictures, and model tiny takes 2 at a time."
    assert ask("POST", "/predictions/tiny", small, files=[("data", ("a.jpg", picture))] * 2).status_code == 200


def test_large_forms_and_texts_are_read_beside_the_event_loop(engine, ask, picture, monkeypatch):
    threads = set()

    def noted(name):
        before = getattr(torchserve, name)

        def call(*given):
            threads.add((name, threading.current_thread() is threading.main_thread()))
            return before(*given)

        monkeypatch.setattr(torchserve, name, call)

    noted("_form")
    noted("_decoded")
    app = create_app(engine)
    text = {"content-type": "text/plain"}
    for size in (0, 400_000):
        content = picture + bytes(size)  # a picture may have bytes behind its end
        assert ask("POST", "/predictions/tiny", app, files={"data": ("a.jpg", content)}).status_code == 200
        sent = base64.b64encode(content)
        assert ask("POST", "/predictions/tiny", app, content=sent, headers=text).status_code == 200
    assert threads == {(name, here) for name in ("_form", "_decoded") for here in (True, False)}


def test_a_large_form_that_is_broken_is_a_bad_request(engine, ask):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    content = b"--y\r\n" + bytes(300_000)
    assert ask("POST", "/predictions/tiny", create_app(engine), content=content, headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/predict", 200),
        ("GET", "/models/predict", 200),
        ("GET", "/v1/models/predict", 200),
        ("POST", "/predict/predict", 400),
        ("POST", "/predict/1.0/predict", 400),
    ],
)
def test_a_model_may_be_called_predict(ask, mar, method, path, status):
    model = load_model(mar, open_bundle(mar), Execution("onnxruntime"), name="predict")
    engine = Engine({"predict": model})
    assert ask(method, path, create_app(engine)).status_code == status
    engine.close(5)


def test_a_body_for_which_there_is_no_room_is_given_back(engine, ask, picture, monkeypatch):
    service = Service(engine, ServerSettings(limits=Limits(in_memory=10)))
    app = make_app(service, [PROTOCOL])
    monkeypatch.setattr("boxwright.serving.torchserve._read", _without_room(monkeypatch))
    headers = {"content-type": "text/plain"}
    assert ask("POST", "/predictions/tiny", app, content=base64.b64encode(picture), headers=headers).status_code == 503
    assert service.intake.in_flight == 0


def _without_room(monkeypatch):
    """Read a body, after which the disk is full."""

    def read(body):
        content = body.read()
        body.release()
        monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
        return content

    return read
