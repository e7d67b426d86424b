"""Requests in the Open Inference Protocol, and what is expected of their answers."""

import base64
import json
import struct

LENGTH = "Inference-Header-Content-Length"


def image(*pictures, **others):
    """The input, pictures in base64."""
    texts = [base64.b64encode(picture).decode() for picture in pictures]
    return {"name": "image", "shape": [len(pictures)], "datatype": "BYTES", "data": texts, **others}


def raw(*pictures, parameters=None, parameters_of_request=None):
    """A body with the input as raw bytes behind the JSON, and the headers it needs."""
    elements = b"".join(struct.pack("<I", len(picture)) + picture for picture in pictures)
    parameters = {"binary_data_size": len(elements), **(parameters or {})}
    tensor = {"name": "image", "shape": [len(pictures)], "datatype": "BYTES", "parameters": parameters}
    header = json.dumps({"inputs": [tensor], "parameters": parameters_of_request}).encode()
    return {"content": header + elements, "headers": {LENGTH: str(len(header))}}


def outputs(response):
    """By name."""
    assert response.status_code == 200, response.text
    return {one["name"]: one for one in response.json()["outputs"]}
