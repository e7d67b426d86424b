"""TorchServe's token authorization."""

import datetime
import json
import stat

import anyio
import httpx
import pytest

from boxwright.runtime import ServingError
from boxwright.serving.app import management_app, predictions_app
from boxwright.serving.calls import Service
from boxwright.serving.engine import Engine
from boxwright.serving.metrics import Metrics
from boxwright.serving.refusals import Refusal
from boxwright.serving.registry import Registry
from boxwright.serving.settings import Security, ServerSettings
from boxwright.serving.tokens import Tokens


class Clock:
    now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def file(tmp_path):
    return tmp_path / "key_file.json"


def keys(file):
    document = json.loads(file.read_text())
    return {kind: f"Bearer {said['key']}" for kind, said in document.items()}


def test_the_file_is_torchserves_and_the_users_alone(file):
    Tokens(file, 30, Clock())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    document = json.loads(file.read_text())
    assert list(document) == ["management", "inference", "API"]
    assert [list(said) for said in document.values()] == [
        ["key", "expiration time"],
        ["key", "expiration time"],
        ["key"],
    ]
    end = datetime.datetime.fromisoformat(document["inference"]["expiration time"])
    assert end.timestamp() == Clock.now + 30 * 60
    assert len({said["key"] for said in document.values()}) == 3
    assert all(len(said["key"]) >= 40 for said in document.values())


def test_a_file_that_others_could_read_is_not_written_into(file):
    file.write_text("old")
    file.chmod(0o666)
    Tokens(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_each_key_opens_its_own(file):
    tokens = Tokens(file)
    given = keys(file)
    for kind in ("inference", "management"):
        assert tokens.allow(kind, given[kind])
        others = [value for name, value in given.items() if name != kind]
        key = given[kind].removeprefix("Bearer ")
        wrong = [
            None,
            "",
            "Bearer",
            "Bearer ",
            key,
            f"bearer {key}",
            f"{given[kind]} ",
            f"Bearer  {key}",
            "Bearer \udcff",
        ]
        for value in [*others, *wrong]:
            assert not tokens.allow(kind, value), value


def test_a_key_ends(file):
    clock = Clock()
    tokens = Tokens(file, 1, clock)
    key = keys(file)["inference"]
    clock.now += 59.9
    assert tokens.allow("inference", key)
    clock.now += 0.2
    assert not tokens.allow("inference", key)
    tokens.renew("inference", keys(file)["API"])
    assert not tokens.allow("inference", key)
    assert tokens.allow("inference", keys(file)["inference"])
    assert not tokens.allow("management", keys(file)["management"])


def test_renewing_changes_one_key(file):
    tokens = Tokens(file)
    before = keys(file)
    tokens.renew("management", before["API"])
    after = keys(file)
    assert {kind for kind in before if before[kind] != after[kind]} == {"management"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for kind, authorization in [("API", after["API"]), (None, after["API"]), ("inference", after["inference"])]:
        with pytest.raises(Refusal) as refused:
            tokens.renew(kind, authorization)
        assert (refused.value.status, refused.value.kind) == (400, "InvalidKeyException")
    assert keys(file) == after


def test_a_file_that_cannot_be_written(file, tmp_path):
    with pytest.raises(ServingError, match="cannot be written"):
        Tokens(tmp_path)
    tokens = Tokens(file)
    given = keys(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(Refusal) as refused:
        tokens.renew("inference", given["API"])
    assert refused.value.status == 500
    assert tokens.allow("inference", given["inference"])


FAILED = {
    "code": 400,
    "type": "InvalidKeyException",
    "message": "Token Authorization failed. Token either incorrect, expired, or not provided correctly",
}


@pytest.fixture
def ports(file, tmp_path):
    engine = Engine()
    settings = ServerSettings(store=tmp_path, security=Security(tokens=True, key_file=file))
    service = Service(engine, settings)
    metrics = Metrics(engine, service.intake)
    tokens = Tokens(file)
    yield {
        "inference": predictions_app(service, metrics, tokens),
        "management": management_app(service, Registry(engine, settings), metrics, tokens),
        "metrics": metrics,
    }
    engine.close(1.0)


def ask(app, method, path, authorization=None, **options):
    async def send():
        headers = {} if authorization is None else {"authorization": authorization}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, path, headers=headers, **options)

    return anyio.run(send)


@pytest.mark.parametrize(
    ("port", "method", "path"),
    [
        ("inference", "GET", "/ping"),
        ("inference", "GET", "/v2/models/tiny"),
        ("inference", "POST", "/predictions/tiny"),
        ("inference", "GET", "/nothing"),
        ("inference", "GET", "/token?type=inference"),
        ("management", "GET", "/models"),
        ("management", "DELETE", "/models/tiny"),
        ("management", "OPTIONS", "/models/tiny"),
    ],
)
def test_every_call_asks_for_the_token_of_its_port(ports, file, port, method, path):
    given = keys(file)
    wrong = [value for kind, value in given.items() if kind != port]
    failed = {"error": FAILED["message"]} if path.startswith("/v2/") else FAILED
    for authorization in [None, "Bearer x", *wrong]:
        response = ask(ports[port], method, path, authorization)
        assert (response.status_code, response.json()) == (400, failed)
        assert response.headers["x-request-id"]
    assert ask(ports[port], method, path, given[port]).json() != failed


def test_refused_tokens_are_counted(ports):
    for _ in range(3):
        ask(ports["inference"], "GET", "/ping", "Bearer x")
    seen = ask(ports["inference"], "GET", "/metrics", "Bearer x")
    assert seen.status_code == 400
    assert 'boxwright_refused_requests_total{kind="InvalidKeyException"} 4.0' in ports["metrics"].text()


def test_what_can_be_asked_is_told_to_everyone(ports):
    for app in (ports["inference"], ports["management"]):
        assert ask(app, "OPTIONS", "/").status_code == 200
        assert ask(app, "GET", "/api-description").json()["security"] == [{"token": []}]


def test_a_token_is_renewed_over_http(ports, file):
    before = keys(file)
    for authorization in (None, before["management"]):
        response = ask(ports["management"], "GET", "/token?type=inference", authorization)
        assert response.status_code == 400
        # TorchServe's other word
        assert response.json() == {**FAILED, "message": FAILED["message"].replace("Authorization", "Authentication")}
    assert ask(ports["management"], "GET", "/token?type=inference", before["API"]).status_code == 200
    after = keys(file)
    assert after["inference"] != before["inference"]
    assert (
        after["inference"].removeprefix("Bearer ")
        not in ask(ports["management"], "GET", "/token?type=management", after["API"]).text
    )
    assert ask(ports["inference"], "GET", "/ping", before["inference"]).status_code == 400
    assert ask(ports["inference"], "GET", "/ping", after["inference"]).status_code == 200


def test_without_tokens_there_is_nothing_to_renew(tmp_path):
    engine = Engine()
    settings = ServerSettings(store=tmp_path)
    service = Service(engine, settings)
    app = management_app(service, Registry(engine, settings), Metrics(engine, service.intake))
    assert ask(app, "GET", "/token?type=inference").status_code == 404
    engine.close(1.0)
