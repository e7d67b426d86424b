"""In front of replicas: what is passed on, what is asked again, and who gets which share."""

import asyncio
import json

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from boxwright.scale.figures import Figures
from boxwright.scale.relay import Asked, Group, Lost, Told, answer_of, make_relay
from boxwright.serving.metrics import CONTENT_TYPE
from boxwright.serving.settings import Limits, ServerSettings


class Replicas:
    """Answers with its name, and is lost as often as it is told: of some replicas, one after the other."""

    def __init__(self, name, losses=0, of=1000):
        self.name, self.losses, self.of, self.asked = name, losses, of, []

    async def ask(self, asked):
        self.asked.append(asked)
        if self.losses:
            self.losses -= 1
            raise Lost(f"{self.name}-{self.losses % self.of}")
        return Told(200, ((b"content-type", b"application/json"),), json.dumps({"by": self.name}).encode())


def client(*groups, drawn=0.0, settings=ServerSettings()):
    return TestClient(make_relay(groups, settings, lambda: drawn))


def test_a_request_is_passed_on_whole():
    stable = Replicas("stable")
    answer = client(Group(stable.ask)).post(
        "/predictions/tiny%20one?threshold=0.5", content=b"picture", headers={"Content-Type": "image/jpeg"}
    )
    assert answer.json() == {"by": "stable"}
    (asked,) = stable.asked
    assert (asked.method, asked.path, asked.query, asked.body) == (
        "POST", "/predictions/tiny one", b"threshold=0.5", b"picture",
    )  # fmt: skip
    headers = dict(asked.headers)
    assert headers[b"content-type"] == b"image/jpeg"
    assert headers[b"content-length"] == b"7"
    assert headers[b"x-request-id"].decode() == answer.headers["x-request-id"]


def test_chunks_are_one_body():
    stable = Replicas("stable")
    client(Group(stable.ask)).post("/predictions/tiny", content=iter([b"pic", b"ture"]))
    assert stable.asked[0].body == b"picture"
    assert b"transfer-encoding" not in dict(stable.asked[0].headers)


def test_what_a_lost_replica_had_is_asked_again():
    stable = Replicas("stable", losses=1)
    assert client(Group(stable.ask)).post("/predictions/tiny", content=b"picture").status_code == 200
    assert [asked.body for asked in stable.asked] == [b"picture"] * 2


def test_a_replica_that_is_chosen_again_after_its_end_is_lost_once():
    stable = Replicas("stable", losses=3, of=1)
    assert client(Group(stable.ask)).post("/predictions/tiny", content=b"picture").status_code == 200
    assert len(stable.asked) == 4


@pytest.mark.parametrize("drawn", [0.0, 0.99])
def test_a_request_that_two_replicas_were_lost_with_gets_no_third(drawn):
    stable, canary = Replicas("stable", losses=99), Replicas("canary", losses=99)
    answer = client(Group(stable.ask), Group(canary.ask, share=0.1), drawn=drawn).post("/predictions/a", content=b"x")
    assert (answer.status_code, answer.json()["type"]) == (503, "ServiceUnavailableException")
    assert answer.json()["message"] == "2 replicas were lost with this request; it gets no other."
    assert "retry-after" not in answer.headers
    assert len(stable.asked) + len(canary.asked) == 2


def test_if_none_answers_it_says_when_to_come_back():
    stable = Replicas("stable", losses=99, of=1)
    answer = client(Group(stable.ask)).post("/predictions/tiny", content=b"picture")
    assert (answer.status_code, answer.json()["message"]) == (503, "No replica answers.")
    assert answer.headers["retry-after"] == "5"
    assert len(stable.asked) == 4


def test_metrics_are_of_all_replicas_and_requests_count_once():
    figures, stable = Figures(), Replicas("stable", losses=1)
    figures.tell("a", "# TYPE boxwright_pictures_total counter\nboxwright_pictures_total 7\n")

    async def page(front, names):
        return figures.page(front, names)

    asked = TestClient(make_relay([Group(stable.ask)], ServerSettings(limits=Limits(max_body=10)), page=page))
    for body in (b"picture", b"picture", b"0" * 11):
        asked.post("/predictions/tiny", content=body)
    told = asked.get("/metrics")
    assert told.headers["content-type"] == CONTENT_TYPE
    assert "boxwright_pictures_total 7.0\n" in told.text
    assert 'boxwright_requests_total{method="POST",status="200"} 2.0\n' in told.text
    assert 'boxwright_requests_total{method="POST",status="413"} 1.0\n' in told.text
    assert 'boxwright_refused_requests_total{kind="' in told.text
    assert asked.get("/metrics?name[]=boxwright_pictures").text.count("\n") == 3
    assert len(stable.asked) == 3


@pytest.mark.parametrize(("drawn", "by"), [(0.0, "canary"), (0.0999, "canary"), (0.1, "stable"), (0.99, "stable")])
def test_a_share_goes_to_the_canary(drawn, by):
    groups = Group(Replicas("stable").ask), Group(Replicas("canary").ask, share=0.1)
    assert client(*groups, drawn=drawn).post("/predictions/tiny").json() == {"by": by}


def test_a_canary_that_does_not_answer_costs_no_answer():
    groups = Group(Replicas("stable").ask), Group(Replicas("canary", losses=99).ask, share=0.1)
    assert client(*groups, drawn=0.0).post("/predictions/tiny").json() == {"by": "stable"}


@pytest.mark.parametrize(
    "path",
    [
        "/predictions/tiny/2.0",
        "/explanations/tiny/2.0",
        "/tiny/2.0/predict",
        "/v2/models/tiny/versions/2.0/infer",
        "/v2/models/tiny/versions/2.0",
    ],
)
@pytest.mark.parametrize("drawn", [0.0, 0.99])
def test_a_version_that_is_named_is_asked_for_itself(path, drawn):
    stable = Group(Replicas("stable").ask, frozenset({("tiny", "1.0")}))
    canary = Group(Replicas("canary").ask, frozenset({("tiny", "2.0")}), 0.1)
    asked = client(stable, canary, drawn=drawn)
    assert asked.post(path).json() == {"by": "canary"}
    assert asked.post(path.replace("2.0", "1.0")).json() == {"by": "stable"}
    assert asked.post(path.replace("2.0", "3.0")).json() == {"by": "stable"}  # which says that there is none


@pytest.mark.parametrize(
    ("path", "by"),
    [
        ("/predictions/tiny", "canary"),
        ("/v1/models/tiny:predict", "canary"),
        ("/v2/models/tiny/infer", "canary"),
        ("/models/tiny/invoke", "canary"),
        ("/tiny/predict", "canary"),
        ("/predictions/cars", "stable"),
        ("/v1/models/cars:predict", "stable"),
        ("/cars/predict", "stable"),
        ("/v2/models", "stable"),  # all of them are asked for
    ],
)
def test_a_share_is_of_the_requests_for_the_canarys_model(path, by):
    stable = Group(Replicas("stable").ask, frozenset({("tiny", "1.0"), ("cars", "1.0")}))
    canary = Group(Replicas("canary").ask, frozenset({("tiny", "2.0")}), 0.1)
    assert client(stable, canary, drawn=0.0).post(path).json() == {"by": by}


def test_limits_hold_before_anything_is_passed_on():
    stable = Replicas("stable")
    answer = client(Group(stable.ask), settings=ServerSettings(limits=Limits(max_body=10))).post(
        "/x", content=b"0" * 11
    )
    assert answer.status_code == 413
    assert not stable.asked


def test_an_application_is_asked_as_a_server_asks_it():
    async def echo(request):
        body = await request.body()
        return JSONResponse(
            {"method": request.method, "path": request.url.path, "query": request.url.query, "body": body.decode()}, 201
        )

    app = Starlette(routes=[Route("/{name:path}", echo, methods=["PUT"])])
    asked = Asked("PUT", "/a/b", b"/a/b", b"c=1", ((b"host", b"x"),), b"text")
    told = asyncio.run(answer_of(app, asked))
    assert told.status == 201
    assert json.loads(told.body) == {"method": "PUT", "path": "/a/b", "query": "c=1", "body": "text"}
    assert dict(told.headers)[b"content-type"] == b"application/json"
