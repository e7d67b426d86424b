"""What the Open Inference Protocol is asked, whichever way the question came: as JSON, or over gRPC.

What is said of servers and models is said in dictionaries that have the protocol's names in both.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version as version_of
from typing import Any

import anyio.to_thread

from boxwright.runtime import BoxwrightError

from .calls import Found, Service
from .intake import Body
from .jobs import NotAnswered
from .model import ServedModel
from .refusals import Refusal, refusal_of
from .repository import Repository, entry_of, is_ready
from .v2_tensors import IMAGE, OUTPUTS, TensorType, malformed

__all__ = [
    "change_repository",
    "is_model_ready",
    "model_config",
    "model_metadata",
    "model_parameters",
    "model_statistics",
    "not_offered",
    "predicted",
    "repository_index",
    "server_metadata",
]

_EXTENSIONS = ("binary_tensor_data", "parameters", "model_configuration", "statistics")

_CONFIG_TYPES = {"FP32": "TYPE_FP32", "INT64": "TYPE_INT64", "INT32": "TYPE_INT32", "BYTES": "TYPE_STRING"}

_NOT_OFFERED: Mapping[str, str] = {
    "shared memory": "No memory is shared with clients. Send tensors in the request.",
    "trace": "Requests are not traced by this call. Use the metrics, or OpenTelemetry.",
    "logging": "The log is configured where the server is started.",
    "explain": "Detectors give no explanations here. Ask for predictions.",
}


# pictures


async def predicted(
    service: Service,
    request: Any,
    asked: tuple[str, str | None],
    pictures: list[bytes],
    threshold: float | None = None,
    timeout: float | None = None,
) -> list[Found]:
    """The detections of pictures, in their order.

    Args:
        service: that answers.
        request: whose client waits; None where leaving cancels the call.
        asked: name of the model, and its version or None.
        pictures: encoded. The list is emptied: while they wait, they lie where the service keeps bodies.
        threshold: lowest reported score; the model's operating point if None.
        timeout: seconds after which nobody waits any more; what was not begun by then is not computed.

    Raises:
        Refusal: see ``Service.predict``; 503 too after the timeout.
        Gone: the client has left.
    """
    bodies = _kept(service, pictures)
    try:
        async with asyncio.timeout(timeout):
            return await service.predict(request, *asked, bodies, threshold)
    except TimeoutError:
        message = f"There was no answer within the {timeout:g} s that the request gives."
        raise Refusal(503, message, "ServiceUnavailableException", {"Retry-After": "1"}) from None


def _kept(service: Service, pictures: list[bytes]) -> list[Body]:
    bodies: list[Body] = []
    pictures.reverse()
    try:
        while pictures:
            bodies.append(service.intake.kept(pictures.pop()))
    except BaseException:
        for body in bodies:
            body.release()
        raise
    return bodies


# descriptions


def server_metadata(service: Service) -> dict[str, Any]:
    """Name and version of the server, and the protocol's extensions that it has."""
    repository = ("model_repository",) if service.repository is not None else ()
    return {
        "name": "boxwright",
        "version": version_of("boxwright"),
        "extensions": [*_EXTENSIONS, *repository],
    }


def is_model_ready(service: Service, model: ServedModel) -> bool:
    """Whether a version has a worker, in a server that takes pictures."""
    return is_ready(service.engine, model)


def model_metadata(service: Service, model: ServedModel) -> dict[str, Any]:
    """What a model takes and gives, and all its versions, the default first."""
    try:
        versions = [one.version for one in service.engine.versions(model.name)]
    except NotAnswered as gone:  # it was taken out since it was found
        raise refusal_of(gone) from None
    return {
        "name": model.name,
        "versions": versions,
        "platform": model.choice.execution.variant,
        "inputs": [_described(IMAGE)],
        "outputs": [_described(one) for one in OUTPUTS.values()],
    }


def model_parameters(model: ServedModel) -> dict[str, Any]:
    """The class names by index, and the operating point: what is reported unless a request says otherwise."""
    point = model.spec.operating_point
    return {
        "class_names": list(model.class_names),
        "operating_point": {
            "threshold": point.threshold,
            "thresholds": dict(zip(model.class_names, model.thresholds, strict=True)),
            "objective": point.objective,
            "value": point.value,
            "split": point.split,
        },
    }


def model_config(model: ServedModel) -> dict[str, Any]:
    """The model's configuration in Triton's terms.

    ``max_batch_size`` is 0: there, a batch is an axis of every tensor, which boxes do not have.
    """
    execution = model.choice.execution
    count = len(model.workers)
    kind = "KIND_CPU" if execution.device == "cpu" else "KIND_GPU"
    return {
        "name": model.name,
        "platform": execution.variant,
        "backend": execution.backend,
        "max_batch_size": 0,
        "input": [_configured(IMAGE)],
        "output": [_configured(one) for one in OUTPUTS.values()],
        "instance_group": [{"name": model.name, "kind": kind, "count": count}] if count else [],
        "parameters": {name: {"string_value": json.dumps(value)} for name, value in model_parameters(model).items()},
    }


def _described(kind: TensorType) -> dict[str, Any]:
    return {"name": kind.name, "datatype": kind.datatype, "shape": list(kind.shape)}


def _configured(kind: TensorType) -> dict[str, Any]:
    return {"name": kind.name, "data_type": _CONFIG_TYPES[kind.datatype], "dims": list(kind.shape)}


def model_statistics(service: Service, models: Iterable[ServedModel] | None = None) -> dict[str, Any]:
    """What versions did since they were loaded; of all if None.

    ``fail`` are pictures whose network failed or whose deadline passed. Durations of failures, and of what makes an
    answer of detections, are not measured: they are 0. There are no statistics by batch size.
    """
    models = _all(service) if models is None else models
    return {"model_stats": [_statistics(one) for one in models]}


def _statistics(model: ServedModel) -> dict[str, Any]:
    counts = model.counts
    took = {stage: round(1e9 * seconds) for stage, seconds in counts.seconds.items()}

    def duration(count: int, nanoseconds: int = 0) -> dict[str, int]:
        return {"count": count, "ns": nanoseconds}

    return {
        "name": model.name,
        "version": model.version,
        "last_inference": counts.last,
        "inference_count": counts.answered,
        "execution_count": counts.batches,
        "inference_stats": {
            "success": duration(counts.answered, sum(took.values())),
            "fail": duration(counts.failed + counts.expired),
            "queue": duration(counts.answered, took["queue"]),
            "compute_input": duration(counts.answered, took["decode"]),
            "compute_infer": duration(counts.answered, took["network"]),
            "compute_output": duration(counts.answered),
            "cache_hit": duration(0),
            "cache_miss": duration(0),
        },
        "batch_stats": [],
    }


def _all(service: Service) -> list[ServedModel]:
    found: list[ServedModel] = []
    for name in service.engine.models:
        try:
            found += service.engine.versions(name)
        except NotAnswered:
            continue  # it was taken out meanwhile
    return found


# the model repository


async def repository_index(service: Service, only_ready: bool) -> list[dict[str, str]]:
    """Name, version, state and reason of what the repository holds; of what is served, where there is none."""
    repository = service.repository
    if repository is None:
        entries: list[Mapping[str, str]] = [entry_of(service.engine, one) for one in _all(service)]
    else:
        entries = await _on_thread(repository.index)
    return [dict(one) for one in entries if one["state"] == "READY" or not only_ready]


async def change_repository(service: Service, name: str, load: bool, parameters: Mapping[str, Any]) -> None:
    """Load a model, or take it out.

    Args:
        service: whose repository it is.
        name: of the model.
        load: or unload.
        parameters: of the request. ``unload_dependents`` is granted whatever it says: no model depends on another.

    Raises:
        Refusal: 400, there is no repository, or a parameter cannot be honoured; what the repository says.
    """
    for key in parameters:
        if load or key != "unload_dependents":
            raise malformed(f"parameter {key!r} cannot be honoured: a model is served as its archive says")
    repository = _require_repository(service)
    change = repository.load if load else repository.unload
    await _on_thread(lambda: change(name))


def _require_repository(service: Service) -> Repository:
    if service.repository is None:
        hint = "Ask its management port (--management-port), or start it with --store and --model-control."
        raise Refusal(400, f"Models cannot be loaded or unloaded here. {hint}")
    return service.repository


async def _on_thread(call: Callable[[], Any]) -> Any:
    try:
        return await anyio.to_thread.run_sync(call)
    except NotAnswered as error:
        raise refusal_of(error) from None
    except BoxwrightError as error:
        raise Refusal(400, str(error)) from None


def not_offered(what: str) -> Refusal:
    """501 with the reason: ``shared memory``, ``trace``, ``logging`` or ``explain``."""
    return Refusal(501, _NOT_OFFERED[what], "NotImplementedException")
