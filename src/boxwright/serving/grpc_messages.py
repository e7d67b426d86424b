"""The messages of the Open Inference Protocol over gRPC, as far as this server reads or writes them.

They are built when they are first needed, from the table below, and not generated with ``protoc``. Generated modules
ask for the version of protobuf they were generated for, which is another one in every environment with Triton's or
KServe's client, and they enter their names in one registry per process, so that they cannot be imported beside those
clients' own modules of the same protocol. Messages built in a registry of their own do neither, and the table is
shorter than what would be generated. On the wire only the numbers and types of fields count; they are the published
ones of KServe's ``grpc_predict_v2.proto``, of Triton's ``grpc_service.proto`` and ``model_config.proto``, and of gRPC's
``health.proto``. Fields that are missing here are skipped where they come, as protobuf does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

__all__ = ["SERVICE", "messages"]

SERVICE = "inference.GRPCInferenceService"

_PACKAGE = "inference"

_NAME_AND_VERSION = "1 string name, 2 string version"
_DURATION = "StatisticDuration"

_MESSAGES: Mapping[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 bool ready",
    "ModelReadyRequest": _NAME_AND_VERSION,
    "ModelReadyResponse": "1 bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "1 string name, 2 string version, 3 string* extensions",
    "ModelMetadataRequest": _NAME_AND_VERSION,
    "TensorMetadata": "1 string name, 2 string datatype, 3 int64* shape",
    "ModelMetadataResponse": "1 string name, 2 string* versions, 3 string platform, 4 TensorMetadata* inputs, "
    "5 TensorMetadata* outputs",
    # inference
    "InferParameter": "1 bool? bool_param, 2 int64? int64_param, 3 string? string_param, 4 double? double_param, "
    "5 uint64? uint64_param",
    "InferTensorContents": "1 bool* bool_contents, 2 int32* int_contents, 3 int64* int64_contents, "
    "4 uint32* uint_contents, 5 uint64* uint64_contents, 6 float* fp32_contents, 7 double* fp64_contents, "
    "8 bytes* bytes_contents",
    "InferInputTensor": "1 string name, 2 string datatype, 3 int64* shape, 4 InferParameter{} parameters, "
    "5 InferTensorContents contents",
    "InferRequestedOutputTensor": "1 string name, 2 InferParameter{} parameters",
    "ModelInferRequest": "1 string model_name, 2 string model_version, 3 string id, 4 InferParameter{} parameters, "
    "5 InferInputTensor* inputs, 6 InferRequestedOutputTensor* outputs, 7 bytes* raw_input_contents",
    "InferOutputTensor": "1 string name, 2 string datatype, 3 int64* shape, 4 InferParameter{} parameters, "
    "5 InferTensorContents contents",
    "ModelInferResponse": "1 string model_name, 2 string model_version, 3 string id, 4 InferParameter{} parameters, "
    "5 InferOutputTensor* outputs, 6 bytes* raw_output_contents",
    "ModelStreamInferResponse": "1 string error_message, 2 ModelInferResponse infer_response",
    # configuration
    "ModelConfigRequest": _NAME_AND_VERSION,
    "ModelInput": "1 string name, 2 DataType data_type, 4 int64* dims",
    "ModelOutput": "1 string name, 2 DataType data_type, 3 int64* dims",
    "ModelInstanceGroup": "1 string name, 2 int32 count, 4 Kind kind",
    "ModelParameter": "1 string string_value",
    "ModelConfig": "1 string name, 2 string platform, 4 int32 max_batch_size, 5 ModelInput* input, "
    "6 ModelOutput* output, 7 ModelInstanceGroup* instance_group, 14 ModelParameter{} parameters, 17 string backend",
    "ModelConfigResponse": "1 ModelConfig config",
    # statistics
    "ModelStatisticsRequest": _NAME_AND_VERSION,
    "StatisticDuration": "1 uint64 count, 2 uint64 ns",
    "InferStatistics": f"1 {_DURATION} success, 2 {_DURATION} fail, 3 {_DURATION} queue, 4 {_DURATION} compute_input, "
    f"5 {_DURATION} compute_infer, 6 {_DURATION} compute_output, 7 {_DURATION} cache_hit, 8 {_DURATION} cache_miss",
    "InferBatchStatistics": f"1 uint64 batch_size, 2 {_DURATION} compute_input, 3 {_DURATION} compute_infer, "
    f"4 {_DURATION} compute_output",
    "ModelStatistics": "1 string name, 2 string version, 3 uint64 last_inference, 4 uint64 inference_count, "
    "5 uint64 execution_count, 6 InferStatistics inference_stats, 7 InferBatchStatistics* batch_stats",
    "ModelStatisticsResponse": "1 ModelStatistics* model_stats",
    # the model repository
    "ModelRepositoryParameter": "1 bool? bool_param, 2 int64? int64_param, 3 string? string_param, "
    "4 bytes? bytes_param",
    "RepositoryIndexRequest": "1 string repository_name, 2 bool ready",
    "ModelIndex": "1 string name, 2 string version, 3 string state, 4 string reason",
    "RepositoryIndexResponse": "1 ModelIndex* models",
    "RepositoryModelLoadRequest": "1 string repository_name, 2 string model_name, "
    "3 ModelRepositoryParameter{} parameters",
    # KServe's two answers say more than Triton's, which are empty
    "RepositoryModelLoadResponse": "1 string model_name, 2 bool isLoaded",
    "RepositoryModelUnloadRequest": "1 string repository_name, 2 string model_name, "
    "3 ModelRepositoryParameter{} parameters",
    "RepositoryModelUnloadResponse": "1 string model_name, 2 bool isUnloaded",
    # grpc.health.v1
    "HealthCheckRequest": "1 string service",
    "HealthCheckResponse": "1 ServingStatus status",
}
"""Fields as ``NUMBER TYPE NAME``. After a type, ``*`` is repeated, ``{}`` is a map from texts, ``?`` is one choice of
the message's only oneof."""

_ENUMS: Mapping[str, Mapping[str, int]] = {
    "DataType": {
        "TYPE_INVALID": 0, "TYPE_BOOL": 1, "TYPE_UINT8": 2, "TYPE_UINT16": 3, "TYPE_UINT32": 4, "TYPE_UINT64": 5,
        "TYPE_INT8": 6, "TYPE_INT16": 7, "TYPE_INT32": 8, "TYPE_INT64": 9, "TYPE_FP16": 10, "TYPE_FP32": 11,
        "TYPE_FP64": 12, "TYPE_STRING": 13, "TYPE_BF16": 14,
    },
    "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2, "KIND_MODEL": 3},
    "ServingStatus": {"UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3},
}  # fmt: skip


@cache
def messages() -> Mapping[str, Any]:
    """The classes, by name without the package.

    Raises:
        ImportError: protobuf is not installed.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="open_inference.proto", package=_PACKAGE, syntax="proto3")
    for name, numbers in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for value, number in numbers.items():
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in filter(None, fields.split(", ")):
            _add_field(message, *field.split(" "))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


def _add_field(message: Any, number: str, kind: str, name: str) -> None:
    if kind.endswith("{}"):
        # to protobuf a map is a repeated message of key and value, with a name that it derives from the field's
        entry = message.nested_type.add(name=f"{name.title()}Entry", options={"map_entry": True})
        _add_field(entry, "1", "string", "key")
        _add_field(entry, "2", kind.removesuffix("{}"), "value")
        kind = f"{message.name}.{entry.name}*"
    field = message.field.add(name=name, number=int(number), json_name=name)
    field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
    if kind.endswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    _set_type(field, kind.rstrip("*?"))


def _set_type(field: Any, kind: str) -> None:
    scalar = getattr(field, f"TYPE_{kind.upper()}", None)
    if scalar is not None:
        field.type = scalar
        return
    field.type = field.TYPE_ENUM if kind in _ENUMS else field.TYPE_MESSAGE
    field.type_name = f".{_PACKAGE}.{kind}"
