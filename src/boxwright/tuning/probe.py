"""How fast a backend multiplies matrices here, in a process of its own: ``python -m boxwright.tuning.probe NAME``.

No model is needed for it. Of a model, ``boxwright bench`` says more.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["SIDE", "main", "matmul_model"]

SIDE = 1024
"""Of the square matrices."""

_ROUNDS = 7
_FLOAT = 1  # ONNX's number for it
_IR, _OPSET = 8, 13  # old enough for every runtime that we support


def main(backend: str) -> dict[str, float]:
    """``load_s``, to import the package and make the product ready, and ``gflops``, the best of some rounds.

    Args:
        backend: ``onnxruntime``, ``openvino`` or ``torch``.

    Raises:
        ImportError: it is not installed, or a library of the system is missing.
    """
    began = time.perf_counter()
    multiply = _MAKERS[backend]()
    load = time.perf_counter() - began
    random = np.random.default_rng(0)
    pair = [random.standard_normal((SIDE, SIDE)).astype(np.float32) for _ in range(2)]
    seconds = min(_timed(multiply, pair) for _ in range(_ROUNDS))
    return {"load_s": round(load, 3), "gflops": round(2 * SIDE**3 / seconds / 1e9, 1)}


def _timed(multiply: Callable[..., object], pair: Sequence[Any]) -> float:
    began = time.perf_counter()
    multiply(*pair)
    return time.perf_counter() - began


def _of_onnxruntime() -> Callable[..., object]:
    import onnxruntime

    session = onnxruntime.InferenceSession(matmul_model(SIDE), providers=["CPUExecutionProvider"])
    return lambda a, b: session.run(None, {"a": a, "b": b})


def _of_openvino() -> Callable[..., object]:
    import openvino

    core = openvino.Core()
    # as a model is run: in fp32, whatever the processor could do
    compiled = core.compile_model(core.read_model(matmul_model(SIDE)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda a, b: compiled({"a": a, "b": b})


def _of_torch() -> Callable[..., object]:
    import torch

    return lambda a, b: torch.mm(torch.from_numpy(a), torch.from_numpy(b))


_MAKERS = {"onnxruntime": _of_onnxruntime, "openvino": _of_openvino, "torch": _of_torch}


def matmul_model(side: int) -> bytes:
    """An ONNX model that multiplies two square float32 matrices, ``a`` and ``b``, of this side.

    It is written field by field, as the onnx package is not part of the small install. Field numbers are those of
    ``onnx.proto`` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
    """
    shape = b"".join(_message(1, _number(1, side)) for _ in range(2))
    kind = _message(1, _number(1, _FLOAT) + _message(2, shape))
    node = b"".join((_text(1, "a"), _text(1, "b"), _text(2, "product"), _text(4, "MatMul")))
    graph = _message(1, node) + _text(2, "matmul")
    graph += b"".join(_message(11, _text(1, name) + _message(2, kind)) for name in ("a", "b"))
    graph += _message(12, _text(1, "product") + _message(2, kind))
    return _number(1, _IR) + _message(7, graph) + _message(8, _number(2, _OPSET))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits per byte, the lowest first; all bytes but the last have the highest bit set."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))  # noqa: T201  # read by boxwright.tuning.doctor
