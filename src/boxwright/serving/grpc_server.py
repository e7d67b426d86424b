"""The Open Inference Protocol over gRPC, as KServe's and Triton's clients speak it; needs ``boxwright[grpc]``.

Translation only: ``v2_tensors`` has the tensors, ``open_inference`` what is said of models. The service of gRPC's
health protocol is there too, for probes.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from boxwright.runtime import MissingDependency, ServingError

from .calls import Found, Service
from .grpc_messages import SERVICE, messages
from .intake import Intake
from .open_inference import (
    change_repository,
    is_model_ready,
    model_config,
    model_metadata,
    model_statistics,
    not_offered,
    predicted,
    repository_index,
    server_metadata,
)
from .refusals import Refusal
from .settings import Limits, Security
from .tokens import Kind, Tokens
from .v2_tensors import (
    Call,
    Output,
    elements_of,
    malformed,
    outputs_of,
    pictures_of_raw,
    read_input,
    read_output,
    read_parameters,
    wanted_outputs,
)

__all__ = ["GrpcServer", "start_grpc"]

_log = logging.getLogger(__name__)

_HEALTH = "grpc.health.v1.Health"

_CALLS = 128
"""Least number of calls at a time: about what a model's queue holds. Half of them may be streams."""

_MESSAGE_EXTRA = 64 * 1024  # of a message beside its pictures: names, shapes, lengths

_STATUS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ALREADY_EXISTS",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}
"""gRPC's name of what HTTP says by a status; other ones are INTERNAL."""

_CONTENTS = {"FP32": "fp32_contents", "INT64": "int64_contents", "INT32": "int_contents", "BYTES": "bytes_contents"}

_Unary = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, eq=False)
class GrpcServer:
    """A started server.

    Attributes:
        port: that is bound.
    """

    port: int
    _server: Any

    async def stop(self, grace: float) -> None:
        """Take no more calls, and return when those that run are answered; after ``grace`` seconds they are ended."""
        await self._server.stop(grace)


async def start_grpc(service: Service, host: str, port: int, tokens: Tokens | None = None) -> GrpcServer:
    """Serve on the running event loop, until the server is stopped.

    Args:
        service: that answers.
        host: address to bind.
        port: 0 takes a free one.
        tokens: asked for, in the metadata ``authorization``: the management one for calls that change what is served,
            the inference one for others, none for probes.

    Raises:
        MissingDependency: gRPC is not installed.
        ServingError: the port is taken, a certificate cannot be used, or there are tokens and nobody to check them.
    """
    try:
        import grpc.aio

        messages()
    except ImportError as error:
        raise MissingDependency("gRPC is not installed.", 'pip install "boxwright[grpc]"') from error
    if service.settings.security.tokens and tokens is None:
        raise ServingError("Tokens are asked for, and gRPC was not given them.", "Serve without --grpc-port.")
    limits = service.settings.limits
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.max_body + _MESSAGE_EXTRA),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else a second server on the same port would take half of the calls, unsaid
            ("grpc.max_connection_idle_ms", int(1000 * limits.idle_seconds)),
        ],
        maximum_concurrent_rpcs=_most_calls(limits),
    )
    server.add_generic_rpc_handlers(_handlers(service, tokens))
    bound = _bind(server, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", service.settings.security)
    await server.start()
    return GrpcServer(bound, server)


def _most_calls(limits: Limits) -> int:
    return max(_CALLS, limits.in_flight // limits.max_body)


def _bind(server: Any, address: str, security: Security) -> int:
    import grpc

    try:
        if security.certificate is None or security.private_key is None:
            return int(server.add_insecure_port(address))
        pair = security.private_key.read_bytes(), security.certificate.read_bytes()
        return int(server.add_secure_port(address, grpc.ssl_server_credentials([pair])))
    except (RuntimeError, OSError, OverflowError) as error:
        raise ServingError(f"{address} cannot be bound for gRPC: {error}.", "Choose another --grpc-port.") from error


# the calls


def _handlers(service: Service, tokens: Tokens | None) -> tuple[Any, ...]:
    import grpc

    def handler(name: str, call: _Unary, changes: bool = False) -> Any:
        asked = None if name in _OPEN else tokens
        return grpc.unary_unary_rpc_method_handler(_unary(name, call, service.intake, asked, changes))

    calls = {name: handler(name, call) for name, call in _calls(service).items()}
    calls |= {name: handler(name, call, changes=True) for name, call in _repository_calls(service).items()}
    calls |= {name: grpc.unary_unary_rpc_method_handler(_absent(what)) for name, what in _ABSENT.items()}
    calls["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(_stream(service, tokens))
    health = {"Check": handler("HealthCheck", lambda request: _health(service, request))}
    return (
        grpc.method_handlers_generic_handler(SERVICE, calls),
        grpc.method_handlers_generic_handler(_HEALTH, health),
    )


_OPEN = ("ServerLive", "ServerReady", "HealthCheck")
"""Probes have no token."""

_ABSENT = {
    **{
        f"{kind}SharedMemory{call}": "shared memory"
        for kind in ("System", "Cuda")
        for call in ("Status", "Register", "Unregister")
    },
    "TraceSetting": "trace",
    "LogSettings": "logging",
}


def _calls(service: Service) -> dict[str, _Unary]:
    kinds = messages()

    async def live(request: Any) -> Any:
        return kinds["ServerLiveResponse"](live=True)

    async def ready(request: Any) -> Any:
        return kinds["ServerReadyResponse"](ready=service.ready)

    async def model_ready(request: Any) -> Any:
        model = service.find(request.name, request.version or None)
        return kinds["ModelReadyResponse"](ready=is_model_ready(service, model))

    async def server(request: Any) -> Any:
        return _message("ServerMetadataResponse", server_metadata(service))

    async def describe(request: Any) -> Any:
        model = service.find(request.name, request.version or None)
        return _message("ModelMetadataResponse", model_metadata(service, model))

    async def configuration(request: Any) -> Any:
        model = service.find(request.name, request.version or None)
        return _message("ModelConfigResponse", {"config": model_config(model)})

    async def statistics(request: Any) -> Any:
        return _message("ModelStatisticsResponse", _statistics(service, request))

    async def infer(request: Any) -> Any:
        return await _infer(service, request)

    async def index(request: Any) -> Any:
        _require_one_repository(request)
        return _message("RepositoryIndexResponse", {"models": await repository_index(service, request.ready)})

    return {
        "ServerLive": live,
        "ServerReady": ready,
        "ModelReady": model_ready,
        "ServerMetadata": server,
        "ModelMetadata": describe,
        "ModelConfig": configuration,
        "ModelStatistics": statistics,
        "ModelInfer": infer,
        "RepositoryIndex": index,
    }


def _repository_calls(service: Service) -> dict[str, _Unary]:
    async def load(request: Any) -> Any:
        name = _repository_model(request)
        await change_repository(service, name, True, request.parameters)
        return messages()["RepositoryModelLoadResponse"](model_name=name, isLoaded=True)

    async def unload(request: Any) -> Any:
        name = _repository_model(request)
        await change_repository(service, name, False, request.parameters)
        return messages()["RepositoryModelUnloadResponse"](model_name=name, isUnloaded=True)

    return {"RepositoryModelLoad": load, "RepositoryModelUnload": unload}


def _require_one_repository(request: Any) -> None:
    if request.repository_name:
        raise malformed(f"there is one repository, without a name, and none named {request.repository_name!r}")


def _repository_model(request: Any) -> str:
    """The model's name: Triton's clients send it in field 2, behind the repository's, and KServe's in field 1."""
    if request.model_name:
        _require_one_repository(request)
    return str(request.model_name or request.repository_name)


def _statistics(service: Service, request: Any) -> dict[str, Any]:
    if not request.name:
        if request.version:
            raise malformed("a version needs the name of its model")
        return model_statistics(service)
    model = service.find(request.name, request.version or None)
    return model_statistics(service, [model] if request.version else service.engine.versions(request.name))


async def _health(service: Service, request: Any) -> Any:
    if request.service not in ("", SERVICE):
        raise Refusal(404, f"There is no service {request.service!r}, only {SERVICE}.")
    return _message("HealthCheckResponse", {"status": "SERVING" if service.ready else "NOT_SERVING"})


def _message(name: str, document: Mapping[str, Any]) -> Any:
    from google.protobuf import json_format

    return json_format.ParseDict(document, messages()[name]())


# their errors


def _unary(
    name: str, call: _Unary, intake: Intake, tokens: Tokens | None, changes: bool
) -> Callable[[bytes, Any], Any]:
    """A call from bytes to bytes; gRPC itself would answer INTERNAL to bytes that are no message."""
    kind = messages()[f"{name}Request"]

    async def answer(raw: bytes, context: Any) -> bytes:
        try:
            _check(context, tokens, changes)
            with _held(intake, len(raw)):  # by gRPC, beside the pictures in it, until it is answered
                response: bytes = (await call(_parsed(kind, raw))).SerializeToString()
        except Refusal as error:
            refusal = error
        except Exception as error:
            refusal = _fault(name, error)
        else:
            return response
        return await _abort(context, refusal)

    return answer


@contextmanager
def _held(intake: Intake, size: int) -> Iterator[None]:
    intake.hold(size)
    try:
        yield
    finally:
        intake.give(size)


def _absent(what: str) -> Callable[[bytes, Any], Any]:
    async def answer(raw: bytes, context: Any) -> bytes:
        return await _abort(context, not_offered(what))

    return answer


def _stream(service: Service, tokens: Tokens | None) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
    """Requests one after the other, each with one answer, in their order; an error ends the request, not the stream."""
    places = _most_calls(service.settings.limits) // 2  # a stream may be idle for hours: others must get through

    async def answers(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        nonlocal places
        try:
            _check(context, tokens, changes=False)
            _require_place(places)
        except Refusal as refusal:
            await _abort(context, refusal)
        places -= 1
        try:
            async for raw in requests:
                yield (await _streamed(service, tokens, raw, context)).SerializeToString()
        finally:
            places += 1

    return answers


def _require_place(places: int) -> None:
    if not places:
        raise Refusal(503, "Too many streams are open. Close one.", "ServiceUnavailableException", {"Retry-After": "5"})


async def _streamed(service: Service, tokens: Tokens | None, raw: bytes, context: Any) -> Any:
    """The answer to one request of a stream; its token may have run out since the one before."""
    response = messages()["ModelStreamInferResponse"]()
    try:
        _check(context, tokens, changes=False)
        with _held(service.intake, len(raw)):
            request = _parsed(messages()["ModelInferRequest"], raw)
            response.infer_response.id = request.id
            marked = _pop_flag(request.parameters, _LAST_OF_REQUEST)
            response.infer_response.CopyFrom(await _infer(service, request))
        if marked:
            response.infer_response.parameters["triton_final_response"].bool_param = True
    except Refusal as refusal:
        response.error_message = refusal.message
    except Exception as error:
        response.error_message = _fault("ModelStreamInfer", error).message
    return response


_LAST_OF_REQUEST = "triton_enable_empty_final_response"
"""Whether a stream marks the last answer to each request; here each has one."""


def _pop_flag(parameters: Any, name: str) -> bool:
    if name not in parameters:  # reading what is not there would add it
        return False
    flag = bool(parameters[name].bool_param)
    del parameters[name]
    return flag


def _check(context: Any, tokens: Tokens | None, changes: bool) -> None:
    if tokens is None:
        return
    given = dict(context.invocation_metadata() or ()).get("authorization")  # gRPC has no upper case in names
    kind: Kind = "management" if changes else "inference"
    if not tokens.allow(kind, given):
        raise Refusal(401, f"The metadata hold no valid {kind} token, authorization: Bearer KEY.")


def _parsed(kind: Any, raw: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(raw)
    except DecodeError:
        raise malformed(f"it is no {kind.DESCRIPTOR.name}") from None


def _fault(call: str, error: Exception) -> Refusal:
    _log.error("%s failed", call, exc_info=error)
    return Refusal(500, "Internal error; see the server's log.", "InternalServerException")


async def _abort(context: Any, refusal: Refusal) -> bytes:
    import grpc

    code = getattr(grpc.StatusCode, _STATUS.get(refusal.status, "INTERNAL"))
    again = refusal.headers.get("Retry-After")
    await context.abort(code, refusal.message, (("retry-after", again),) if again else ())
    raise AssertionError("abort raises")


# inference


async def _infer(service: Service, request: Any) -> Any:
    asked = request.model_name, request.model_version or None
    service.require_room(*asked)
    call, raw = _read_call(request)
    found = await predicted(service, None, asked, call.pictures, call.parameters.threshold, call.parameters.timeout)
    return _answer(call, found, raw)


def _read_call(request: Any) -> tuple[Call, bool]:
    """The call, and whether all outputs are raw. They are where the input is, and where that is asked for."""
    parameters = read_parameters(_plain(request.parameters))
    pictures = _pictures(request)
    raw = bool(request.raw_input_contents) or parameters.binary
    named = {one.name: read_output(one.name, _plain(one.parameters), raw) for one in request.outputs}
    outputs = wanted_outputs(named, len(pictures), raw)
    if len(set(outputs.values())) > 1:
        raise malformed("over gRPC either all outputs are raw or none is")
    return Call(pictures, outputs, parameters, request.id), all(outputs.values())


def _pictures(request: Any) -> list[bytes]:
    if len(request.inputs) != 1 or len(request.raw_input_contents) > 1:
        raise malformed("there is one input, image")
    tensor = request.inputs[0]
    parameters = _plain(tensor.parameters)
    count, in_base64 = read_input(tensor.name, tensor.datatype, list(tensor.shape), parameters)
    if not request.raw_input_contents:
        given = [field.name for field, _ in tensor.contents.ListFields()]
        if given not in ([], ["bytes_contents"]):
            raise malformed(f"the contents of image are bytes_contents, not {', '.join(given)}")
        return pictures_of_raw(list(tensor.contents.bytes_contents), count, in_base64)
    (raw,) = request.raw_input_contents
    if tensor.HasField("contents"):
        raise malformed("input image has contents and raw contents; send one")
    if parameters.get("binary_data_size", len(raw)) != len(raw):
        raise malformed(f"binary_data_size of image is {parameters['binary_data_size']}, its data are {len(raw)} bytes")
    return pictures_of_raw(elements_of(raw), count, in_base64)


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    # protobuf keeps maps in no order; which of two wrong parameters is named is not to change from call to call
    chosen = {name: parameters[name].WhichOneof("parameter_choice") for name in sorted(parameters)}
    return {name: getattr(parameters[name], choice) if choice else None for name, choice in chosen.items()}


def _answer(call: Call, found: Sequence[Found], raw: bool) -> Any:
    values = outputs_of(found)
    response = messages()["ModelInferResponse"](
        model_name=found[0].model.name, model_version=found[0].model.version, id=call.id or ""
    )
    for name in call.outputs:
        output = values[name]
        tensor = response.outputs.add(name=name, datatype=output.type.datatype, shape=output.shape)
        if raw:
            response.raw_output_contents.append(output.raw())
        else:
            getattr(tensor.contents, _CONTENTS[output.type.datatype]).extend(_typed(output))
    return response


def _typed(output: Output) -> list[Any]:
    return [one.encode() if isinstance(one, str) else one for one in output.plain()]
