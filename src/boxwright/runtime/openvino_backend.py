"""Runs an exported graph in OpenVINO; no torch needed."""

from __future__ import annotations

from typing import List, Optional

import numpy as np

from .backends import Variant
from .bundle import Bundle
from .detections import Detections
from .errors import ArchiveError
from .onnx_backend import OUTPUTS, detections_of_padded

__all__ = ["OpenVinoBackend"]


class OpenVinoBackend:
    """Detects with ``model.onnx``, or its quantised sibling, on the CPU.

    Args:
        bundle: the model.
        variant: what to run.
        threads: processors one picture may use; all by default.

    Raises:
        ArchiveError: the archive has no such graph, or OpenVINO cannot read it.
    """

    def __init__(self, bundle: Bundle, variant: Variant, threads: Optional[int] = None) -> None:
        import openvino

        graph = bundle.read(variant.member)
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if variant.precision == "bf16" else "f32",
            **({"INFERENCE_NUM_THREADS": threads} if threads else {}),
        }
        try:
            core = openvino.Core()
            self._model = core.compile_model(core.read_model(graph), "CPU", options)
        except Exception as error:  # OpenVINO raises RuntimeError and others for whatever it runs into
            raise ArchiveError(f"{bundle.source}: {variant.member} cannot be read: {error}.") from error
        self._request = self._model.create_infer_request()

    def detect(self, canvases: np.ndarray) -> List[Detections]:
        """Detect on a batch; see ``Backend.detect``."""
        answer = self._request.infer([canvases])
        return detections_of_padded(*(answer[name] for name in OUTPUTS))
