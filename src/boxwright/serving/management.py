"""TorchServe's management calls; translation only.

URLs, parameters, answers and error texts are those of TorchServe 0.12's handlers. Where it takes what cannot be read as
if it had not been sent (``min_worker=x``), or answers it with 500, this server says 400.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import anyio
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .bodies import SMALL_BODY
from .calls import Protocol, Service
from .configuration import BATCH_DELAY, BATCH_SIZE, RESPONSE_TIMEOUT
from .engine import DefaultVersion
from .jobs import NotAnswered, VersionNotFound
from .model import ServedModel
from .refusals import Refusal, refusal_of
from .registry import NotRegistered, Reason, Registration, Registry
from .repository import entry_of
from .tokens import Tokens
from .torchserve import answer_json, error_json, no_workflows
from .workers import memory_of

__all__ = ["PROTOCOL", "StoreRepository", "management_protocol", "read_routes"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
_Endpoint = Callable[[Request], Awaitable[Response]]

_PAGE = 100
_NUMBER = re.compile("-?[0-9]{1,9}")
_RUNTIMES = ("python", "python3", "LSP")
_UNUSED = ("handler", "s3_sse_kms", "startup_timeout", "number_gpu", "timeout")
"""Parameters that TorchServe has for what this server does not do; they are named in the answer."""

_REGISTER = (
    "url", "model_name", "runtime", "batch_size", "max_batch_delay", "initial_workers", "synchronous",
    "response_timeout",
)  # fmt: skip
_SCALE = ("min_worker", "max_worker", "synchronous", "model_version")
_UNREGISTER = ("synchronous", "timeout")

_STATUSES: Mapping[Reason, tuple[int, str]] = {
    Reason.NOT_FOUND: (404, "ModelNotFoundException"),
    Reason.NAME: (400, "BadRequestException"),
    Reason.INVALID: (400, "InvalidModelException"),
    Reason.DOWNLOAD: (400, "DownloadArchiveException"),
    Reason.SERVED: (409, "ConflictStatusException"),
    Reason.FILE_EXISTS: (500, "InternalServerException"),
    Reason.NOT_SAVED: (500, "InternalServerException"),
    Reason.NO_ROOM: (507, "InternalServerException"),
    Reason.NO_WORKERS: (500, "InternalServerException"),
    Reason.OUT_OF_MEMORY: (507, "OutOfResourcesException"),
}


# reading


def read_routes(service: Service) -> list[BaseRoute]:
    """The calls that only tell what is served."""

    async def models(request: Request) -> Response:
        return _models(service, request)

    async def describe(request: Request) -> Response:
        return _describe(service, request)

    return [
        Route("/models", models, methods=["GET"]),
        Route("/models/{name}", describe, methods=["GET"]),
        Route("/models/{name}/{version}", describe, methods=["GET"]),
    ]


PROTOCOL = Protocol("", read_routes, error_json)
"""The calls that only tell what is served, e.g. for the predictions' port."""


def _models(service: Service, request: Request) -> Response:
    limit = _lenient(request.query_params.get("limit"), _PAGE)
    start = max(0, _lenient(request.query_params.get("next_page_token"), 0))
    if not 0 <= limit <= _PAGE:
        limit = _PAGE
    models = list(service.engine.models.items())
    shown = [{"modelName": name, "modelUrl": model.url} for name, model in models[start : start + limit]]
    token = {"nextPageToken": str(start + limit)} if start + limit < len(models) else {}
    return answer_json({**token, "models": shown})


def _lenient(text: str | None, default: int) -> int:
    """As TorchServe: what is not a number is the default."""
    return int(text) if text is not None and _NUMBER.fullmatch(text) else default


def _describe(service: Service, request: Request) -> Response:
    name, version = request.path_params["name"], request.path_params.get("version")
    customized = request.query_params.get("customized", "").lower() == "true"
    if version == "all":
        versions = _refusing(lambda: service.engine.versions(name))
        return answer_json([_description(model, customized) for model in sorted(versions, key=lambda one: one.version)])
    model = service.find(name, version)
    if customized and not model.workers:
        message = f'Model "{name}" has no worker to serve describe request. '
        message += "Please use scale workers API to add workers."
        raise Refusal(503, message, "ServiceUnavailableException", {"Retry-After": "1"})
    return answer_json([_description(model, customized)])


def _description(model: ServedModel, customized: bool) -> dict[str, Any]:
    """All that TorchServe tells of a version; what there is not here has the value that TorchServe has without it."""
    options, device = model.options, model.choice.execution.device
    document: dict[str, Any] = {
        "modelName": model.name,
        "modelVersion": model.version,
        "modelUrl": model.url,
        "runtime": "python",
        "minWorkers": model.least,
        "maxWorkers": model.most,
        "batchSize": options.batch_size,
        "maxBatchDelay": round(1000 * options.batch_delay),
        "responseTimeout": round(options.timeout),
        "startupTimeout": 120,
        "maxRetryTimeoutInSec": 300,
        "clientTimeoutInMills": 0,
        "parallelType": "",
        "parallelLevel": 0,
        "deviceType": "cpu" if device == "cpu" else "gpu",
        "continuousBatching": False,
        "useJobTicket": False,
        "useVenv": False,
        "stateful": False,
        "sequenceMaxIdleMSec": 0,
        "sequenceTimeoutMSec": 0,
        "maxNumSequence": 0,
        "maxSequenceJobQueueSize": 0,
        "loadedAtStartup": model.at_startup,
        "workers": _workers(model, device != "cpu"),
        "jobQueueStatus": {
            "remainingCapacity": max(0, options.queue_size - model.pending),
            "pendingRequests": model.pending,
        },
    }
    if customized:
        document["customizedMetadata"] = model.spec.to_json()
    return document


def _workers(model: ServedModel, gpu: bool) -> list[dict[str, Any]]:
    return [
        {
            "id": str(number),
            "startTime": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "status": "READY",
            "memoryUsage": memory_of(worker.pid),
            "pid": worker.pid,
            "gpu": gpu,
            "gpuUsage": "N/A",
        }
        for number, worker, started in model.workers
    ]


# changing


def management_protocol(registry: Registry, tokens: Tokens | None = None) -> Protocol:
    """All management calls.

    Args:
        registry: registers and scales.
        tokens: to be renewed; None leaves the call out.
    """
    return Protocol("", lambda service: _routes(service, registry, tokens), error_json)


def _routes(service: Service, registry: Registry, tokens: Tokens | None) -> list[BaseRoute]:
    async def models(request: Request) -> Response:
        return _models(service, request)

    async def describe(request: Request) -> Response:
        return _describe(service, request)

    async def register(request: Request) -> Response:
        return await _register(service, registry, request)

    async def scale(request: Request) -> Response:
        return await _scale(service, registry, request)

    async def set_default(request: Request) -> Response:
        return _set_default(service, request)

    async def unregister(request: Request) -> Response:
        return await _unregister(service, registry, request)

    async def kserve_ready(request: Request) -> Response:
        model = service.find(request.path_params["name"])
        return answer_json({"name": model.name, "ready": bool(model.workers)})

    async def workflows(request: Request) -> Response:
        raise no_workflows()

    async def renew(request: Request) -> Response:
        assert tokens is not None, "else there is no such route"
        kind, authorization = request.query_params.get("type"), request.headers.get("authorization")
        await anyio.to_thread.run_sync(tokens.renew, kind, authorization)
        return answer_json({"status": f"The {kind} token was renewed; the key file holds it."})

    may_register = service.settings.security.model_api
    of_version = {"GET": describe, "PUT": scale, **({"DELETE": unregister} if may_register else {})}
    return [
        _route("/models", {"GET": models, **({"POST": register} if may_register else {})}),
        _route("/models/{name}", of_version),
        _route("/models/{name}/{version}", of_version),
        _route("/models/{name}/{version}/set-default", {"PUT": set_default}),
        _route("/v1/models/{name}", {"GET": kserve_ready}),
        _route("/workflows", {"GET": workflows, "POST": workflows}),
        _route("/workflows/{name}", {"GET": workflows, "PUT": workflows, "DELETE": workflows}),
        *([_route("/token", {"GET": renew, "POST": renew})] if tokens is not None else []),
    ]


def _route(path: str, endpoints: Mapping[str, _Endpoint]) -> Route:
    """One route for all methods of a path, so that a refused one learns of all the others (``Allow``)."""

    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, endpoint, methods=list(endpoints))


async def _register(service: Service, registry: Registry, request: Request) -> Response:
    given = await _parameters(service, request, (*_REGISTER, *_UNUSED))
    url = given.get("url")
    if url is None:
        raise Refusal(400, "Parameter url is required.")
    if given.get("runtime", "python") not in _RUNTIMES:
        raise Refusal(400, f"Invalid RuntimeType value: {given['runtime']}")
    workers = _whole(given, "initial_workers", 0, service.settings.limits.workers)
    asked = Registration(
        url, given.get("model_name") or None, workers, _changes(given), _flag(given, "synchronous", True)
    )
    model = await _on_thread(lambda: registry.register(asked))
    workers = model.most  # not ``least``: workers that fail to start may have lowered it already
    if workers and not asked.wait:
        return _status("Processing worker updates...", given, 202)
    what = f'Model "{model.name}" Version: {model.version} registered with'
    if not workers:
        return _status(f"{what} 0 initial workers. Use scale workers API to add workers for the model.", given)
    return _status(f"{what} {workers} initial workers", given)


def _changes(given: Mapping[str, str]) -> dict[str, Any]:
    """Options of a model that a registration names."""
    changes: dict[str, Any] = {}
    named = {"batch_size": BATCH_SIZE, "max_batch_delay": BATCH_DELAY, "response_timeout": RESPONSE_TIMEOUT}
    for key, setting in named.items():
        number = _whole(given, key, setting.least, setting.most)
        if number is not None:
            changes |= setting.option(number)
    return changes


async def _scale(service: Service, registry: Registry, request: Request) -> Response:
    given = await _parameters(service, request, (*_SCALE, *_UNUSED))
    most_of_all = service.settings.limits.workers
    least = _whole(given, "min_worker", 0, most_of_all)
    least = 1 if least is None else least
    most = _whole(given, "max_worker", 0, most_of_all)
    most = least if most is None else most
    if most < least:
        raise Refusal(400, "max_worker cannot be less than min_worker.")
    name, version = request.path_params["name"], _version(request, given)
    model = service.find(name, version)
    if not _flag(given, "synchronous", False):
        registry.scale_soon(model, least, most)
        return _status("Processing worker updates...", given, 202)
    await _on_thread(lambda: registry.scale(model, least, most))
    of_version = "" if version is None else f", version: {version}"
    return _status(f"Workers scaled to {least} for model: {name}{of_version}", given)


def _version(request: Request, given: Mapping[str, str]) -> str | None:
    """The version that the path or ``model_version`` names.

    Raises:
        Refusal: 400, they name two.
    """
    in_path, in_query = request.path_params.get("version"), given.get("model_version")
    if None not in (in_path, in_query) and in_path != in_query:
        raise Refusal(400, f"model_version is {in_query!r}, and the path names {in_path!r}. Send one.")
    return in_query if in_path is None else in_path


def _set_default(service: Service, request: Request) -> Response:
    name, version = request.path_params["name"], request.path_params["version"]
    try:
        service.engine.set_default(name, version)
    except VersionNotFound:
        # another sentence than elsewhere, as TorchServe has it
        message = f"Model version {version} does not exist for model {name}"
        raise Refusal(404, message, "ModelVersionNotFoundException") from None
    except NotAnswered as error:
        raise refusal_of(error) from None
    return answer_json({"status": f'Default version successfully updated for model "{name}" to "{version}"'})


async def _unregister(service: Service, registry: Registry, request: Request) -> Response:
    given = await _parameters(service, request, _UNREGISTER)
    name, version = request.path_params["name"], request.path_params.get("version")
    await _on_thread(lambda: registry.unregister(name, version, service.settings.grace))
    return _status(f'Model "{name}" unregistered', given, unused=_UNREGISTER)


def _status(text: str, given: Mapping[str, str], status: int = 200, unused: Sequence[str] = _UNUSED) -> Response:
    """The answer to a change; parameters that mean nothing here are named in it."""
    notes = [f"Parameter {key!r} has no meaning here." for key in given if key in unused]
    if given.get("runtime") == "LSP":  # the others are what runs here
        notes.append("Parameter 'runtime' has no meaning here.")
    return answer_json({"status": text, **({"notes": notes} if notes else {})}, status)


async def _on_thread(call: Callable[[], T]) -> T:
    """What may take long, without holding up others."""
    return await anyio.to_thread.run_sync(functools.partial(_refusing, call))


def _refusing(call: Callable[[], T]) -> T:
    """Raise what a registry or an engine refuses as a ``Refusal``."""
    try:
        return call()
    except NotRegistered as failed:
        status, kind = _STATUSES[failed.reason]
        raise Refusal(status, failed.message, kind) from failed
    except DefaultVersion as error:
        raise Refusal(403, str(error), "InvalidModelVersionException") from None
    except NotAnswered as error:
        raise refusal_of(error) from None


# parameters


async def _parameters(service: Service, request: Request, known: Sequence[str]) -> dict[str, str]:
    """The parameters of the query and of the body, a form or JSON.

    Raises:
        Refusal: 400, one is unknown or given twice, or the body cannot be read; 413, it is too large for parameters.
    """
    pairs = [*request.query_params.multi_items(), *await _of_body(service, request)]
    given: dict[str, str] = {}
    for key, value in pairs:
        if key not in known:
            raise Refusal(400, f"Parameter {key!r} is unknown. There are {', '.join(known)}.")
        if given.setdefault(key, value) != value:
            raise Refusal(400, f"Parameter {key} is given twice.")
    return given


async def _of_body(service: Service, request: Request) -> list[tuple[str, str]]:
    body = await service.receive(request, SMALL_BODY)
    content = body.read()
    body.release()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not content:
        return []
    if kind == "application/json":
        return _of_json(content)
    if kind == "multipart/form-data":
        return await _of_form(request, content)
    if kind in ("application/x-www-form-urlencoded", ""):
        try:
            return parse_qsl(content.decode(), keep_blank_values=True, strict_parsing=True)
        except ValueError as error:
            raise Refusal(400, f"The body is not a form: {error}.") from None
    raise Refusal(400, f"Content-Type {kind!r} is not understood. Send a form or JSON.")


def _of_json(content: bytes) -> list[tuple[str, str]]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise Refusal(400, "The body is JSON, but not an object.")
    return [(key, _text(key, value)) for key, value in document.items() if value is not None]


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise Refusal(400, f"Parameter {key} is neither a text nor a number.")
    return str(value)


async def _of_form(request: Request, content: bytes) -> list[tuple[str, str]]:
    async def once() -> Any:
        yield content

    try:
        form = await MultiPartParser(request.headers, once()).parse()
    except (MultiPartException, KeyError, ValueError, LookupError) as error:
        raise Refusal(400, f"The form cannot be read: {error}") from None
    try:
        pairs: list[tuple[str, str]] = []
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                raise Refusal(400, f"Parameter {key!r} is a file.")
            pairs.append((key, value))
        return pairs
    finally:
        await form.close()


def _whole(given: Mapping[str, str], key: str, least: int, most: int) -> int | None:
    """A number that a client asks for; None if it does not.

    Raises:
        Refusal: 400, it is no number, or out of bounds.
    """
    text = given.get(key)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise Refusal(400, f"{key} = {text[:20]!r} is not a number from {least} to {most}.")
    return int(text)


def _flag(given: Mapping[str, str], key: str, default: bool) -> bool:
    text = given.get(key, str(default)).lower()
    if text not in ("true", "false"):
        raise Refusal(400, f"{key} = {text[:20]!r} is neither true nor false.")
    return text == "true"


class StoreRepository:
    """The store, for protocols that load and unload models by name; see ``repository.Repository``.

    Args:
        registry: of the store.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def index(self) -> Sequence[Mapping[str, str]]:
        """What is served, and the archives in the store that are not, by the names of their files."""
        served = self._registry.served()
        listed = [entry_of(self._registry.engine, one) for one in served]
        files = {one.path.absolute() for one in served}
        idle = {"version": "", "state": "UNAVAILABLE", "reason": "not loaded"}
        paths = self._registry.archives()
        listed += [{"name": path.stem, **idle} for path in paths if path.absolute() not in files]
        return listed

    def load(self, name: str) -> None:
        """Serve ``NAME.mar``, or serve a model anew from its file; see ``Repository.load``."""
        _refusing(lambda: self._registry.load_named(name))

    def unload(self, name: str) -> None:
        """Serve no version of a model any longer; see ``Repository.unload``."""
        _refusing(lambda: self._registry.unregister_all(name))
