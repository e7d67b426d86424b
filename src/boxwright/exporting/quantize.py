"""INT8 by post-training quantisation: the networks, not what is done to boxes."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from boxwright.models.onnx_graph import PREFIX
from boxwright.runtime.backends.graph import EXACT, INPUT
from boxwright.runtime.backends.onnxruntime import load_onnxruntime

__all__ = ["quantize"]

_LAYERS = ("Conv", "Gemm", "MatMul")

# Rounding to 0 and up does what these do: the quantiser takes them out, and runtimes make one step of layer and
# rounding. Left in, they would be computed in fp32 between two roundings.
_ABSORBED = ("Relu", "Clip")


def quantize(graph: bytes, canvases: Sequence[np.ndarray]) -> bytes:
    """A quantised copy of an exported graph, in the QDQ form that onnxruntime and OpenVINO read.

    Weights are symmetric int8, one scale per output channel; activations are uint8, one scale per tensor, from the
    least and greatest values of each calibration canvas, averaged. The first layer, which sees the picture itself, and
    the last ones, whose answers are ranked, stay in fp32, like everything that is done to boxes.

    Args:
        graph: of ``export_onnx``.
        canvases: uint8 [1, 3, H, W] each.

    Returns:
        The ONNX file.
    """
    load_onnxruntime()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load_from_string(graph)
    _, *layers = (node.name for node in model.graph.node if node.op_type in _LAYERS)
    activations = (node.name for node in model.graph.node if node.op_type in _ABSORBED)
    nodes = [name for name in (*layers, *activations) if not name.startswith((PREFIX, EXACT))]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        out = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            out,
            _Canvases(canvases),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=nodes,
            op_types_to_quantize=[*_LAYERS, *_ABSORBED],  # whose ranges are taken
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True},
        )
        return _without_notes(onnx.load(out), {one.key for one in model.metadata_props})


def _without_notes(quantized: Any, known: set[str]) -> bytes:
    """The file without what the quantiser notes for itself: programs find the exporter's metadata alone."""
    kept = [one for one in quantized.metadata_props if one.key in known]
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(kept)
    content: bytes = quantized.SerializeToString(deterministic=True)
    return content


class _Canvases:
    """onnxruntime's CalibrationDataReader, by its duck type."""

    def __init__(self, canvases: Sequence[np.ndarray]) -> None:
        self._left = iter(canvases)

    def get_next(self) -> dict[str, Any] | None:
        """The next input, or None."""
        canvas = next(self._left, None)
        return None if canvas is None else {INPUT: canvas}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back onnxruntime's advice to take a step that the exporter has taken."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
