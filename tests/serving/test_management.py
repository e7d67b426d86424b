"""TorchServe's management calls, word for word where they are the same."""

import gzip
import json
import shutil
import threading

import anyio
import httpx
import pytest

from boxwright.runtime import Execution
from boxwright.serving.app import create_app, management_app
from boxwright.serving.calls import Service
from boxwright.serving.engine import Engine
from boxwright.serving.management import StoreRepository
from boxwright.serving.metrics import Metrics
from boxwright.serving.model import ServedModel
from boxwright.serving.refusals import Refusal
from boxwright.serving.registry import Registry
from boxwright.serving.settings import Limits, Security, ServerSettings
from support.exported import with_export
from support.hostile_archives import listed, members_of, packed

FIELDS = [
    "modelName", "modelVersion", "modelUrl", "runtime", "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay",
    "responseTimeout", "startupTimeout", "maxRetryTimeoutInSec", "clientTimeoutInMills", "parallelType",
    "parallelLevel", "deviceType", "continuousBatching", "useJobTicket", "useVenv", "stateful",
    "sequenceMaxIdleMSec", "sequenceTimeoutMSec", "maxNumSequence", "maxSequenceJobQueueSize", "loadedAtStartup",
    "workers", "jobQueueStatus",
]  # fmt: skip
"""As TorchServe 0.12 answers, in its order."""


@pytest.fixture(scope="module")
def archives(mar, tmp_path_factory):
    """Two versions of a model that answers at once."""
    folder = tmp_path_factory.mktemp("archives")
    with_export(mar, folder / "tiny.mar", "onnxruntime-fp32")
    members = members_of(folder / "tiny.mar")
    manifest = json.loads(members["MAR-INF/MANIFEST.json"])
    manifest["model"]["modelVersion"] = "2.0"
    members["MAR-INF/MANIFEST.json"] = json.dumps(manifest).encode()
    (folder / "tiny2.mar").write_bytes(packed(listed(members)))
    (folder / "bad.mar").write_bytes(b"junk")
    return folder


class Server:
    """A management application and its registry, asked without a socket."""

    def __init__(self, store, **security):
        self.settings = ServerSettings(
            store=store,
            security=Security(**{"model_api": True, **security}),
            limits=Limits(workers=4, max_body=200_000),
        )
        self.engine = Engine()
        self.registry = Registry(self.engine, self.settings, Execution("onnxruntime"))
        service = Service(self.engine, self.settings)
        self.app = management_app(service, self.registry, Metrics(self.engine, service.intake))
        self.predictions = create_app(self.engine, self.settings)

    def __call__(self, method, path, app=None, **options):
        async def send():
            transport = httpx.ASGITransport(app or self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.request(method, path, **options)

        return anyio.run(send)

    def said(self, method, path, **options):
        """Status, and the text or the kind and the text of an error."""
        response = self(method, path, **options)
        document = response.json()
        if response.status_code < 400:
            assert document.keys() == {"status"}
            return response.status_code, document["status"]
        assert document.keys() == {"code", "type", "message"}
        assert document["code"] == response.status_code
        return response.status_code, document["type"], document["message"]


@pytest.fixture
def server(archives, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(archives, store)
    server = Server(store)
    yield server
    server.engine.close(5.0)


REFUSED = [
    ("POST", "/models", 400, "BadRequestException", "Parameter url is required."),
    ("POST", "/models?url=", 404, "ModelNotFoundException", "empty url"),
    (
        "POST",
        "/models?url=../x.mar",
        404,
        "ModelNotFoundException",
        "Relative path is not allowed in url: ../x.mar",
    ),
    ("POST", "/models?url=none.mar", 404, "ModelNotFoundException", "Model not found at: none.mar"),
    (
        "POST",
        "/models?url=http://h/x.mar",
        404,
        "ModelNotFoundException",
        "Given URL http://h/x.mar does not match any allowed URL(s)",
    ),
    ("POST", "/models?url=tiny.mar&runtime=foo", 400, "BadRequestException", "Invalid RuntimeType value: foo"),
    (
        "POST",
        "/models?url=tiny.mar",
        409,
        "ConflictStatusException",
        "Model version 1.0 is already registered for model tiny",
    ),
    (
        "PUT",
        "/models/tiny?min_worker=2&max_worker=1",
        400,
        "BadRequestException",
        "max_worker cannot be less than min_worker.",
    ),
    ("PUT", "/models/tiny/9", 404, "ModelVersionNotFoundException", "Model version: 9 does not exist for model: tiny"),
    ("PUT", "/models/none", 404, "ModelNotFoundException", "Model not found: none"),
    (
        "PUT",
        "/models/tiny/9/set-default",
        404,
        "ModelVersionNotFoundException",
        "Model version 9 does not exist for model tiny",
    ),
    ("PUT", "/models/none/9/set-default", 404, "ModelNotFoundException", "Model not found: none"),
    ("GET", "/models/tiny/9", 404, "ModelVersionNotFoundException", "Model version: 9 does not exist for model: tiny"),
    ("GET", "/models/none", 404, "ModelNotFoundException", "Model not found: none"),
    ("GET", "/models/none/all", 404, "ModelNotFoundException", "Model not found: none"),
    ("GET", "/v1/models/none", 404, "ModelNotFoundException", "Model not found: none"),
    ("DELETE", "/models/none", 404, "ModelNotFoundException", "Model not found: none"),
    (
        "DELETE",
        "/models/tiny/9",
        404,
        "ModelVersionNotFoundException",
        "Model version: 9 does not exist for model: tiny",
    ),
    ("DELETE", "/models/tiny", 403, "InvalidModelVersionException", "Cannot remove default version for model tiny"),
    (
        "GET",
        "/models/tiny?customized=true",
        503,
        "ServiceUnavailableException",
        'Model "tiny" has no worker to serve describe request. Please use scale workers API to add workers.',
    ),
    (
        "GET",
        "/nothing",
        404,
        "ResourceNotFoundException",
        "Requested resource is not found, please refer to API document.",
    ),
    (
        "GET",
        "/predictions/tiny",
        404,
        "ResourceNotFoundException",
        "Requested resource is not found, please refer to API document.",
    ),
    (
        "PATCH",
        "/models",
        405,
        "MethodNotAllowedException",
        "Requested method is not allowed, please refer to API document.",
    ),
]  # fmt: skip


def test_refusals_have_torchserves_words(server):
    server.registry.load("tiny.mar")
    server.registry.load("tiny2.mar")
    server.registry.scale(server.engine.find("tiny"), 0, 0)
    for method, path, status, kind, message in REFUSED:
        assert server.said(method, path) == (status, kind, message), (method, path)


NOT_UNDERSTOOD = [
    ("POST", "/models?url=tiny.mar&initial_workers=x", "initial_workers"),
    ("POST", "/models?url=tiny.mar&initial_workers=5", "initial_workers"),
    ("POST", "/models?url=tiny.mar&initial_workers=-1", "initial_workers"),
    ("POST", "/models?url=tiny.mar&batch_size=0", "batch_size"),
    ("POST", "/models?url=tiny.mar&max_batch_delay=1.5", "max_batch_delay"),
    ("POST", "/models?url=tiny.mar&response_timeout=0", "response_timeout"),
    ("POST", "/models?url=tiny.mar&synchronous=yes", "synchronous"),
    ("POST", "/models?url=tiny.mar&workers=2", "'workers' is unknown"),
    ("POST", "/models?url=tiny.mar&url=tiny2.mar", "url is given twice"),
    ("POST", "/models?url=tiny.mar&model_name=a%20b", "cannot stand in a URL"),
    ("PUT", "/models/tiny?min_worker=-1", "min_worker"),
    ("PUT", "/models/tiny?min_worker=5", "min_worker"),
    ("PUT", "/models/tiny?max_worker=many", "max_worker"),
]


def test_a_parameter_that_cannot_be_honoured_is_a_bad_request(server):
    server.registry.load("tiny.mar")
    for method, path, culprit in NOT_UNDERSTOOD:
        status, kind, message = server.said(method, path)
        assert (status, kind) == (400, "BadRequestException"), path
        assert culprit in message, path
    assert [(model.name, model.least) for model in server.registry.served()] == [("tiny", 1)]


def test_a_corrupt_archive(server):
    status, kind, message = server.said("POST", "/models?url=bad.mar")
    assert (status, kind) == (400, "InvalidModelException")
    assert "bad.mar" in message


def test_registering_scaling_and_unregistering(server, demo_data):
    none = 'Model "tiny" Version: 1.0 registered with 0 initial workers. '
    none += "Use scale workers API to add workers for the model."
    assert server.said("POST", "/models?url=tiny.mar") == (200, none)
    assert server("GET", "/v1/models/tiny").json() == {"name": "tiny", "ready": False}
    expected = (200, "Workers scaled to 2 for model: tiny")
    assert server.said("PUT", "/models/tiny?min_worker=2&max_worker=3&synchronous=true") == expected
    assert server("GET", "/v1/models/tiny/").json() == {"name": "tiny", "ready": True}
    expected = (200, "Workers scaled to 1 for model: tiny, version: 1.0")
    assert server.said("PUT", "/models/tiny/1.0?synchronous=TRUE") == expected
    assert server.said("PUT", "/models/tiny?synchronous=true&model_version=1.0") == expected
    picture = next((demo_data / "test").glob("*.jpg")).read_bytes()
    answered = server("PUT", "/predictions/tiny", app=server.predictions, content=picture)
    assert (answered.status_code, len(answered.json())) == (200, 2)
    expected = (200, 'Model "tiny" Version: 2.0 registered with 1 initial workers')
    assert server.said("POST", "/models?url=tiny2.mar&initial_workers=1") == expected
    assert server.engine.find("tiny").version == "1.0"
    expected = (200, 'Default version successfully updated for model "tiny" to "2.0"')
    assert server.said("PUT", "/models/tiny/2.0/set-default") == expected
    assert server.engine.find("tiny").version == "2.0"
    assert server.said("DELETE", "/models/tiny/1.0") == (200, 'Model "tiny" unregistered')
    assert server.said("DELETE", "/models/tiny") == (200, 'Model "tiny" unregistered')
    assert server("GET", "/models").json() == {"models": []}
    assert server("PUT", "/predictions/tiny", app=server.predictions, content=picture).status_code == 404


def test_without_waiting(server):
    body = {"url": "tiny.mar", "initial_workers": 1, "synchronous": False}
    assert server.said("POST", "/models", json=body) == (202, "Processing worker updates...")
    until(lambda: server.engine.find("tiny").workers)
    assert server.said("PUT", "/models/tiny?min_worker=2") == (202, "Processing worker updates...")
    until(lambda: len(server.engine.find("tiny").workers) == 2)
    zero = {"url": "tiny.mar", "model_name": "other", "synchronous": False}
    assert "registered with 0 initial workers" in server.said("POST", "/models", json=zero)[1]


def until(condition):
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not happen")


def test_workers_that_cannot_start(server, monkeypatch):
    def out_of_processes(self):
        raise OSError("no more")

    failed = (500, "InternalServerException", "Failed to start workers for model tiny version: 1.0")
    with monkeypatch.context() as patch:
        patch.setattr(ServedModel, "_hired", out_of_processes)
        assert server.said("POST", "/models?url=tiny.mar&initial_workers=1") == failed
        assert server("GET", "/models/tiny").status_code == 404
        assert server.said("POST", "/models?url=tiny.mar&initial_workers=1&synchronous=false")[0] == 202
        until(lambda: not server.engine.models)
    with monkeypatch.context() as patch:
        patch.setattr(ServedModel, "_hired", lambda self: (_ for _ in ()).throw(MemoryError()))
        assert server.said("POST", "/models?url=tiny.mar&initial_workers=1")[:2] == (507, "OutOfResourcesException")
    assert server.said("POST", "/models?url=tiny.mar&initial_workers=1")[0] == 200


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"url": "tiny.mar", "model_name": "mine", "batch_size": 3, "max_batch_delay": "70"}},
        {"data": {"url": "tiny.mar", "model_name": "mine", "batch_size": "3", "max_batch_delay": "70"}},
        {
            "files": {
                "url": (None, "tiny.mar"),
                "model_name": (None, "mine"),
                "batch_size": (None, "3"),
                "max_batch_delay": (None, "70"),
            }
        },
        {"params": {"url": "tiny.mar", "model_name": "mine", "batch_size": "3", "max_batch_delay": "70"}},
        {"params": {"url": "tiny.mar", "model_name": "mine"}, "json": {"batch_size": 3.0, "max_batch_delay": 70}},
    ],
)
def test_parameters_may_be_sent_anyhow(server, options):
    assert server.said("POST", "/models", **options)[0] == 200
    model = server.engine.find("mine")
    assert (model.options.batch_size, model.options.batch_delay) == (3, 0.07)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"url":', "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"url": ["tiny.mar"]}', "application/json", 400),
        (b"[" * 5000, "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff=1", "application/x-www-form-urlencoded", 400),
        (b"nothing", "application/x-www-form-urlencoded", 400),
        (b"--y\r\nnonsense", "multipart/form-data; boundary=x", 400),
        (b"x", "multipart/form-data", 400),
        (b"x", "image/jpeg", 400),
        (b"x" * 65_537, "application/json", 413),
        (b"x" * 210_000, "application/json", 413),
        (b"a=b&" * 20_000, "application/x-www-form-urlencoded", 413),
    ],
)
def test_bodies_that_cannot_be_read(server, content, kind, status):
    response = server("POST", "/models", content=content, headers={"content-type": kind})
    assert response.status_code == status, response.text
    assert server.engine.models == {}


def test_parameters_without_a_meaning_are_named(server):
    answer = server("POST", "/models?url=tiny.mar&handler=image_classifier&startup_timeout=9").json()
    assert answer["notes"] == [
        "Parameter 'handler' has no meaning here.",
        "Parameter 'startup_timeout' has no meaning here.",
    ]


def test_what_a_small_body_unpacks_to_is_bounded_too(server):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert server("POST", "/models", content=gzip.compress(b" " * 70_000), headers=headers).status_code == 413
    body = gzip.compress(json.dumps({"url": "tiny.mar"}).encode())
    assert server("POST", "/models", content=body, headers=headers).status_code == 200


def test_a_parameter_of_another_runtime_is_named(server):
    assert "notes" not in server("POST", "/models?url=tiny2.mar&runtime=python3").json()
    answer = server("POST", "/models?url=tiny.mar&runtime=LSP").json()
    assert answer["notes"] == ["Parameter 'runtime' has no meaning here."]


def test_the_path_and_the_query_name_one_version(server):
    server.registry.load("tiny.mar")
    status, _, message = server.said("PUT", "/models/tiny/1.0?model_version=7.7")
    assert (status, message) == (400, "model_version is '7.7', and the path names '1.0'. Send one.")
    assert server.said("PUT", "/models/tiny/1.0?model_version=1.0&synchronous=true")[0] == 200


def test_unregistering_ignores_no_parameter(server):
    server.registry.load("tiny.mar")
    for path in ("/models/tiny?foo=1", "/models/tiny/1.0?foo=1"):
        status, _, message = server.said("DELETE", path)
        assert (status, message) == (400, "Parameter 'foo' is unknown. There are synchronous, timeout.")
    answer = server("DELETE", "/models/tiny?synchronous=true&timeout=9").json()
    assert answer == {
        "status": 'Model "tiny" unregistered',
        "notes": [f"Parameter {name!r} has no meaning here." for name in ("synchronous", "timeout")],
    }


def test_a_default_that_may_still_come_is_no_fault(server):
    server.engine.loading = True
    response = server("PUT", "/models/tiny/1.0/set-default")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


def test_the_index_says_what_the_predictions_port_does(server):
    server.registry.load("tiny.mar")
    server.registry.scale(server.engine.find("tiny"), 0, 0)
    listed = server("POST", "/v2/repository/index").json()
    states = {(one["name"], one["state"]) for one in listed if one["version"]}
    elsewhere = server("POST", "/v2/repository/index", app=server.predictions).json()
    assert states == {(one["name"], one["state"]) for one in elsewhere} == {("tiny", "UNAVAILABLE")}
    assert server("POST", "/v2/repository/index", json={"ready": True}).json() == []


def test_a_large_body_of_the_repository_is_refused(server):
    assert server("POST", "/v2/repository/index", content=b" " * 70_000).status_code == 413


def test_models_are_listed_in_pages(server):
    for name in ("b", "a", "c"):
        assert server("POST", f"/models?url=tiny.mar&model_name={name}").status_code == 200
    every = [{"modelName": name, "modelUrl": "tiny.mar"} for name in "abc"]
    pages = {
        "": {"models": every},
        "?limit=2": {"nextPageToken": "2", "models": every[:2]},
        "?limit=2&next_page_token=2": {"models": every[2:]},
        "?limit=0": {"nextPageToken": "0", "models": []},
        "?limit=-3&next_page_token=-2": {"models": every},
        "?limit=101": {"models": every},
        "?limit=" + "9" * 5000: {"models": every},
        "?limit=two&next_page_token=junk": {"models": every},
        "?next_page_token=7": {"models": []},
    }
    for app in (server.app, server.predictions):
        for query, page in pages.items():
            assert server("GET", f"/models{query}", app=app).json() == page, query


def test_all_of_a_version_is_told(server):
    server("POST", "/models?url=tiny.mar&initial_workers=1&batch_size=3&max_batch_delay=7&response_timeout=33")
    server("POST", "/models?url=tiny2.mar")
    for app in (server.app, server.predictions):
        first, second = server("GET", "/models/tiny/all", app=app).json()
        assert list(first) == list(second) == FIELDS
        (alone,) = server("GET", "/models/tiny", app=app).json()
        assert {**alone, "workers": 1} == {**first, "workers": 1}  # whose memory is never the same
        assert [second] == server("GET", "/models/tiny/2.0", app=app).json()
    assert (first["modelVersion"], second["modelVersion"], second["workers"]) == ("1.0", "2.0", [])
    assert (first["batchSize"], first["maxBatchDelay"], first["responseTimeout"]) == (3, 7, 33)
    assert (first["minWorkers"], first["maxWorkers"], second["maxWorkers"]) == (1, 1, 0)
    assert (first["loadedAtStartup"], first["deviceType"], first["runtime"]) == (False, "cpu", "python")
    assert first["jobQueueStatus"] == {"remainingCapacity": 100, "pendingRequests": 0}
    (worker,) = first["workers"]
    assert list(worker) == ["id", "startTime", "status", "memoryUsage", "pid", "gpu", "gpuUsage"]
    assert (worker["id"], worker["status"], worker["gpu"], worker["gpuUsage"]) == ("9000", "READY", False, "N/A")
    assert worker["memoryUsage"] > 0
    (customized,) = server("GET", "/models/tiny?customized=true").json()
    assert json.loads(customized["customizedMetadata"])["name"] == "tiny"
    versions = server("GET", "/models/tiny/all?customized=TRUE").json()
    assert all("customizedMetadata" in one for one in versions)


def test_registering_is_off_unless_switched_on(archives):
    server = Server(archives, model_api=False)
    server.registry.load("tiny.mar")
    for method, path, allowed in [
        ("POST", "/models?url=tiny2.mar", {"GET", "HEAD"}),
        ("DELETE", "/models/tiny", {"GET", "HEAD", "PUT"}),
        ("DELETE", "/models/tiny/1.0", {"GET", "HEAD", "PUT"}),
    ]:
        response = server(method, path)
        assert (response.status_code, response.json()["type"]) == (405, "MethodNotAllowedException")
        assert set(response.headers["allow"].split(", ")) - {"OPTIONS"} == allowed
    assert server.said("PUT", "/models/tiny?synchronous=true")[0] == 200
    assert [model.version for model in server.engine.versions("tiny")] == ["1.0"]
    server.engine.close(5.0)


def test_the_predictions_port_changes_nothing(server):
    server.registry.load("tiny.mar")
    for method, path in [("POST", "/models?url=tiny2.mar"), ("DELETE", "/models/tiny"), ("PUT", "/models/tiny")]:
        response = server(method, path, app=server.predictions)
        assert (response.status_code, response.json()["type"]) == (405, "MethodNotAllowedException")
        assert "GET" in response.headers["allow"]
    assert server("PUT", "/models/tiny/1.0/set-default", app=server.predictions).status_code == 404


def test_workflows_are_not_offered(server):
    for method, path in [("GET", "/workflows"), ("POST", "/workflows?url=x.war"), ("DELETE", "/workflows/x")]:
        status, kind, message = server.said(method, path)
        assert (status, kind) == (501, "NotImplementedException")
        assert "workflow" in message


def test_the_store_as_a_repository(server):
    repository = StoreRepository(server.registry)
    repository.load("tiny")
    before = server.engine.find("tiny")
    repository.load("tiny")
    assert server.engine.find("tiny") is not before
    assert {(one["name"], one["version"], one["state"]) for one in repository.index()} == {
        ("tiny", "1.0", "READY"), ("tiny2", "", "UNAVAILABLE"), ("bad", "", "UNAVAILABLE"),
    }  # fmt: skip
    with pytest.raises(Refusal) as refused:
        repository.load("bad")
    assert refused.value.status == 400
    repository.unload("tiny")
    assert server.engine.models == {}
    with pytest.raises(Refusal) as refused:
        repository.unload("tiny")
    assert refused.value.status == 404
