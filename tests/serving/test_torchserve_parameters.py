"""What a request says beside its picture is honoured or refused, never ignored."""

import base64

import pytest

from boxwright.serving.app import make_app
from boxwright.serving.calls import Service
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
