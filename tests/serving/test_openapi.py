"""The document of what can be asked: it is true, both ways, and what it says is so."""

import re
import shutil

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from boxwright.runtime import Execution
from boxwright.serving import management, torchserve
from boxwright.serving.app import management_app, predictions_app
from boxwright.serving.calls import Service
from boxwright.serving.engine import Engine
from boxwright.serving.metrics import Metrics
from boxwright.serving.openapi import describe, describe_model, description_protocol
from boxwright.serving.registry import Registration, Registry
from boxwright.serving.settings import Limits, Security, ServerSettings
from boxwright.serving.tokens import Tokens
from support.exported import with_export

OPEN = ServerSettings(security=Security(model_api=True), limits=Limits(workers=2, max_body=100_000))
EXAMPLES = 10  # of each operation


def operations_of(routes):
    """Path and method of each route, as a document has them."""
    found = set()
    for route in routes:
        path = re.sub(r":\w+}", "}", route.path)
        found |= {(path, method.lower()) for method in route.methods - {"HEAD"}}
    return found


def operations_in(document):
    return {(path, method) for path, item in document["paths"].items() for method in item}


@pytest.mark.parametrize("model_api", [True, False])
@pytest.mark.parametrize("tokens", [True, False])
def test_routes_and_document_agree(tmp_path, model_api, tokens):
    chosen = ServerSettings(security=Security(model_api=model_api, tokens=tokens))
    engine = Engine()
    service = Service(engine, chosen)
    given = Tokens(tmp_path / "key_file.json") if tokens else None
    ours = {
        "predictions": [torchserve.PROTOCOL, management.PROTOCOL],
        "management": [management.management_protocol(Registry(engine, chosen), given)],
    }
    for port, protocols in ours.items():
        offered = [*protocols, description_protocol(port)]
        routes = [route for one in offered for route in (*one.routes(service), *one.late_routes(service))]
        assert operations_of(routes) == operations_in(describe(port, chosen)), port
    engine.close(1.0)


@pytest.mark.parametrize("port", ["predictions", "management"])
@pytest.mark.parametrize("tokens", [True, False])
def test_the_document_is_sound(port, tokens):
    document = describe(port, ServerSettings(security=Security(model_api=True, tokens=tokens)))
    assert document["openapi"] == "3.0.3"
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for reference in set(re.findall(r"#/[\w/]+", str(document))):
        part = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
    for path, item in document["paths"].items():
        for operation in item.values():
            resolved = [resolve(document, one) for one in operation.get("parameters", [])]
            in_path = {one["name"] for one in resolved if one["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path)), path
            if tokens and "security" not in operation:
                assert "400" in operation["responses"], path
    assert "x-" not in str([list(operation) for operation in operations])
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft4Validator.check_schema(schema)


def resolve(document, part):
    return document["components"]["parameters"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def test_the_limit_of_workers_is_that_of_the_server():
    document = describe("management", OPEN)
    assert document["components"]["parameters"]["max_worker"]["schema"]["maximum"] == 2
    (parameter,) = [
        one for one in document["paths"]["/models"]["post"]["parameters"] if one.get("name") == "initial_workers"
    ]
    assert parameter["schema"]["maximum"] == 2


def test_the_document_of_one_model():
    document = describe_model("predictions", ServerSettings(), "tiny")
    assert "/predictions/tiny" in document["paths"]
    assert all(path.startswith("/predictions/tiny") for path in document["paths"])
    assert "{name}" not in str(document["paths"])
    assert set(describe_model("management", OPEN, "tiny")["paths"]["/models/tiny"]) == {
        "get",
        "put",
        "delete",
        "options",
    }


def test_it_is_given_on_each_port(ask, engine):
    service = Service(engine, OPEN)
    ports = {
        "predictions": predictions_app(service, Metrics(engine, service.intake)),
        "management": management_app(service, Registry(engine, OPEN), Metrics(engine, service.intake)),
    }
    for port, app in ports.items():
        assert ask("OPTIONS", "/", app=app).json() == describe(port, OPEN)
        assert ask("GET", "/api-description", app=app).json() == describe(port, OPEN)
    one = ask("OPTIONS", "/predictions/tiny", app=ports["predictions"]).json()
    assert one == describe_model("predictions", OPEN, "tiny")
    assert ask("OPTIONS", "/models/tiny", app=ports["management"]).json() == describe_model("management", OPEN, "tiny")
    for path, app in [("/predictions/none", ports["predictions"]), ("/models/none", ports["management"])]:
        response = ask("OPTIONS", path, app=app)
        assert (response.status_code, response.json()["type"]) == (404, "ModelNotFoundException")


# what the document says is tried


@pytest.fixture(scope="module")
def world(mar, demo_data, tmp_path_factory):
    """A server of both ports, with a model that answers at once."""
    store = tmp_path_factory.mktemp("store")
    with_export(mar, store / "tiny.mar", "onnxruntime-fp32")
    chosen = ServerSettings(store=store, security=OPEN.security, limits=OPEN.limits)
    engine = Engine()
    registry = Registry(engine, chosen, Execution("onnxruntime"))
    registry.register(Registration("tiny.mar", workers=1))
    shutil.copy(store / "tiny.mar", store / "other.mar")
    service = Service(engine, chosen)
    metrics = Metrics(engine, service.intake)
    yield {
        "predictions": predictions_app(service, metrics),
        "management": management_app(service, registry, metrics),
        "picture": min((path.read_bytes() for path in (demo_data / "test").glob("*.jpg")), key=len),
    }
    engine.close(5.0)


def tried_of(port):
    """Paths and methods to try: where all methods are one call, POST stands for them."""
    for path, method in sorted(operations_in(describe(port, OPEN))):
        if port == "management" or method in ("post", "options") or path.startswith(("/models", "/api")):
            yield port, method, path


OPERATIONS = [*tried_of("predictions"), *tried_of("management")]


@pytest.mark.parametrize(("port", "method", "path"), OPERATIONS)
def test_what_the_document_says_is_so(world, port, method, path):
    """No answer to a request as it describes them is a fault, and each is one of those that it names.

    Body and headers are as it describes them, too.
    """
    operation = schemathesis.openapi.from_asgi("/api-description", world[port])[path][method]
    tried = set()

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(), known=booleans())
    def hold(case, known):
        if known:
            make_it_fit(case, world)
        response = case.call()
        tried.add(response.status_code)
        case.validate_response(response, excluded_checks=[not_a_server_error, positive_data_acceptance])
        # not offered (501) and come again (503) are no faults
        assert response.status_code in (501, 503) or response.status_code < 500, response.text

    hold()
    assert tried
    if (
        path in ("/ping", "/invocations", "/v1/models/{name}")
        or method == "options"
        or (path, method) == ("/models", "get")
    ):
        assert 200 in tried


def make_it_fit(case, world):
    """Name what is there, and send a picture: what is made up is neither."""
    if "name" in case.path_parameters and case.method != "DELETE":
        case.path_parameters["name"] = "tiny"
    if "version" in case.path_parameters and case.method != "DELETE":
        case.path_parameters["version"] = "1.0"
    if "url" in case.query:
        case.query["url"] = "other.mar"
    if case.path == "/invocations":
        case.query["model_name"] = "tiny"
    if case.media_type == "application/octet-stream":
        case.body = world["picture"]


RULED_OUT = [
    one for one in OPERATIONS if one[2] in ("/invocations", "/models", "/models/{name}") and one[1] in ("post", "put")
]


@pytest.mark.parametrize(("port", "method", "path"), RULED_OUT)
def test_what_the_document_rules_out_is_refused(world, port, method, path):
    operation = schemathesis.openapi.from_asgi("/api-description", world[port])[path][method]

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def hold(case):
        response = case.call()
        case.validate_response(response, excluded_checks=[not_a_server_error])
        assert 400 <= response.status_code < 500 or response.status_code == 503, response.text

    hold()
