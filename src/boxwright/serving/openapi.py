"""The document of TorchServe's calls, for programs: ``openapi.yaml``, as far as it holds for a port."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from importlib.metadata import version as version_of
from importlib.resources import files
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .calls import Protocol, Service
from .settings import ServerSettings
from .torchserve import answer_json, error_json

__all__ = ["Port", "describe", "describe_model", "description_protocol"]

Port = Literal["predictions", "management"]

_METHODS = ("get", "put", "post", "delete", "options", "patch")
_OWN = ("x-on", "x-if", "x-methods", "x-operation")


def description_protocol(port: Port) -> Protocol:
    """The calls that give the document: ``OPTIONS /``, ``/api-description``, and ``OPTIONS`` of one model.

    Args:
        port: of the application.
    """

    def routes(service: Service) -> list[BaseRoute]:
        document = functools.cache(lambda: describe(port, service.settings))

        async def whole(request: Request) -> Response:
            return answer_json(document())

        async def of_model(request: Request) -> Response:
            model = service.find(request.path_params["name"])
            return answer_json(describe_model(port, service.settings, model.name))

        one = "/predictions/{name}" if port == "predictions" else "/models/{name}"
        return [
            Route("/", whole, methods=["OPTIONS"]),
            Route("/api-description", whole, methods=["GET"]),
            Route(one, of_model, methods=["OPTIONS"]),
        ]

    return Protocol("", routes, error_json)


def describe(port: Port, settings: ServerSettings) -> dict[str, Any]:
    """The OpenAPI document of a port.

    Args:
        port: whose calls it describes.
        settings: which leave out some of them.
    """
    there = {"model_api": settings.security.model_api, "tokens": settings.security.tokens}
    source = copy.deepcopy(_source())
    paths: dict[str, dict[str, Any]] = {}
    for path, method, operation in _operations(source["paths"]):
        if port in operation["x-on"] and there.get(operation.get("x-if", ""), True):
            shown = {key: value for key, value in operation.items() if key not in _OWN}
            paths.setdefault(path, {})[method] = shown
    document = {**source, "paths": paths}
    document["info"]["version"] = version_of("boxwright")
    _limit_workers(document, settings.limits.workers)
    if settings.security.tokens:
        document["security"] = [{"token": []}]
        for path, method in (("/", "options"), ("/api-description", "get")):
            paths[path][method]["security"] = []
        for path, item in paths.items():
            if path not in ("/", "/api-description"):
                _add_bad_request(item)
    else:
        del document["components"]["securitySchemes"]
    return document


def describe_model(port: Port, settings: ServerSettings, name: str) -> dict[str, Any]:
    """The part of ``describe`` that is of one model, with its name in the paths."""
    document = describe(port, settings)
    prefix = "/predictions/{name}" if port == "predictions" else "/models/{name}"
    mine = {path: item for path, item in document["paths"].items() if path == prefix or path.startswith(f"{prefix}/")}
    for item in mine.values():
        for operation in item.values():
            left = [one for one in operation["parameters"] if one.get("$ref") != "#/components/parameters/name"]
            operation["parameters"] = left
    document["info"]["title"] = f"boxwright: {name}"
    return {**document, "paths": {path.replace("{name}", name): item for path, item in mine.items()}}


@functools.cache
def _source() -> Mapping[str, Any]:
    import yaml

    text = files("boxwright.serving").joinpath("openapi.yaml").read_text(encoding="utf-8")
    document: Mapping[str, Any] = yaml.safe_load(text)
    return document


def _operations(paths: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation of each."""
    for path, item in paths.items():
        for method in item.get("x-methods", ()):
            operation = copy.deepcopy(item["x-operation"])
            yield path, method, {**operation, "operationId": operation["operationId"] + method.capitalize()}
        for method in _METHODS:
            if method in item:
                yield path, method, copy.deepcopy(item[method])


def _limit_workers(document: dict[str, Any], most: int) -> None:
    """Say how many workers can be asked for."""
    parameters = document["components"]["parameters"]
    wanted = [parameters["min_worker"], parameters["max_worker"]]
    register = document["paths"].get("/models", {}).get("post", {"parameters": ()})
    wanted += [one for one in register["parameters"] if one.get("name") == "initial_workers"]
    for one in wanted:
        one["schema"]["maximum"] = most


def _add_bad_request(item: Mapping[str, Any]) -> None:
    """Say that a missing token is a bad request."""
    for operation in item.values():
        operation["responses"].setdefault("400", {"$ref": "#/components/responses/Error"})
