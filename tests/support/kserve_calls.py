"""Calls KServe's own clients; run in an environment that holds them: HTTP_URL GRPC_ADDRESS PICTURE PICTURE.

Writes what each call gave as JSON, by the name of the call.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.infer_type import RequestedOutput

OUTPUTS = ["boxes", "scores", "labels", "label_names", "num_detections"]


def request_of(*pictures, binary=True, **others):
    one = InferInput("image", [len(pictures)], "BYTES")
    elements = pictures if binary else [base64.b64encode(picture) for picture in pictures]
    one.set_data_from_numpy(np.array(elements, dtype=np.object_), binary_data=binary)
    return InferRequest("tiny", [one], request_id="7", **others)


def named(binary):
    return [RequestedOutput(name, {"binary_data": binary}) for name in OUTPUTS]


def read(response):
    found = {one.name: one.as_numpy().ravel().tolist() for one in response.outputs}
    names = [name.decode() if isinstance(name, bytes) else name for name in found["label_names"]]
    return {**found, "label_names": names, "id": response.id, "model": response.model_name}


def refusal(error):
    if isinstance(error, grpc.RpcError):
        return [error.code().name, error.details()]
    return [error.response.status_code, str(error)]


async def attempt(calls, name, call):
    try:
        calls[name] = await call
    except (grpc.RpcError, httpx.HTTPStatusError) as error:
        calls[name] = {"refused": refusal(error)}


async def rest_v2(calls, url, one, two):
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        await attempt(calls, "v2 live", client.is_server_live(url))
        await attempt(calls, "v2 ready", client.is_server_ready(url))
        await attempt(calls, "v2 model ready", client.is_model_ready(url, "tiny"))
        await attempt(calls, "v2 model not there", client.is_model_ready(url, "none"))
        for binary in (True, False):
            form = "binary" if binary else "json"
            parameters = {"binary_data_output": binary}
            for pictures in ((one,), (one, two)):
                request = request_of(*pictures, binary=binary, parameters=parameters)
                calls[f"v2 {form} {len(pictures)}"] = read(await client.infer(url, request, model_name="tiny"))
            request = request_of(one, binary=True, request_outputs=named(binary))
            calls[f"v2 {form} named"] = read(await client.infer(url, request, model_name="tiny"))
        high = request_of(one, parameters={"threshold": 1.0})
        calls["v2 threshold"] = read(await client.infer(url, high, model_name="tiny"))
        await attempt(calls, "v2 no picture", client.infer(url, request_of(b"hello"), model_name="tiny"))
        await attempt(calls, "v2 no model", client.infer(url, request_of(one), model_name="none"))


async def rest_v1(calls, url, one, two):
    body = {"instances": [{"b64": base64.b64encode(picture).decode()} for picture in (one, two)]}
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        await attempt(calls, "v1 model ready", client.is_model_ready(url, "tiny"))
        await attempt(calls, "v1 model not there", client.is_model_ready(url, "none"))
        await attempt(calls, "v1 predict", client.infer(url, body, model_name="tiny"))
        await attempt(calls, "v1 no picture", client.infer(url, {"instances": [{"b64": "eA=="}]}, model_name="tiny"))
        await attempt(calls, "v1 explain", client.explain(url, "tiny", body))


async def over_grpc(calls, address, one, two):
    async with InferenceGRPCClient(address) as client:
        await attempt(calls, "grpc live", client.is_server_live())
        await attempt(calls, "grpc ready", client.is_server_ready())
        await attempt(calls, "grpc model ready", client.is_model_ready("tiny"))
        await attempt(calls, "grpc model not there", client.is_model_ready("none"))
        for pictures in ((one,), (one, two)):
            calls[f"grpc raw {len(pictures)}"] = read(await client.infer(request_of(*pictures)))
            typed = InferRequest("tiny", [InferInput("image", [len(pictures)], "BYTES", list(pictures))], "7")
            calls[f"grpc typed {len(pictures)}"] = read(await client.infer(typed))
        outputs = [RequestedOutput(name) for name in OUTPUTS]
        calls["grpc named"] = read(await client.infer(request_of(one, request_outputs=outputs)))
        calls["grpc threshold"] = read(await client.infer(request_of(one, parameters={"threshold": "1.0"})))
        await attempt(calls, "grpc no picture", client.infer(request_of(b"hello")))
        stub = client._client_stub
        request = messages.RepositoryModelLoadRequest(model_name="tiny")
        await attempt(calls, "grpc load", stub.RepositoryModelLoad(request, timeout=60))
        metadata = await stub.ModelMetadata(messages.ModelMetadataRequest(name="tiny"), timeout=60)
        calls["grpc metadata"] = [one.name for one in metadata.outputs]
        server = await stub.ServerMetadata(messages.ServerMetadataRequest(), timeout=60)
        calls["grpc server"] = server.name


async def main(url, address, *paths):
    pictures = [Path(path).read_bytes() for path in paths]
    calls = {}
    await rest_v2(calls, url, *pictures)
    await rest_v1(calls, url, *pictures)
    await over_grpc(calls, address, *pictures)
    sys.stdout.write(json.dumps(calls))


asyncio.run(main(*sys.argv[1:]))
