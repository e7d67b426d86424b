"""Runs an exported graph in OpenVINO; no torch needed."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, List, Optional, Sequence

import numpy as np

from .detections import Detections
from .errors import ArchiveError
from .onnx_backend import OUTPUTS, cannot_run, detections_of_padded, require_signature

__all__ = ["OpenVinoBackend", "load_core"]

_opening = threading.Lock()  # of two first uses at once each would make one


def load_core() -> Any:
    """OpenVINO's ``Core``, one for as long as the process lives.

    On processors with AMX each gives its thread another stack for signals, and one that ends puts back the stack from
    before it began, which is gone where another had begun earlier and ended first: the next signal with a handler, be
    it a child that ends, kills the process (OpenVINO 2026.4.1).
    """
    with _opening:
        return _only_core()


@lru_cache(maxsize=None)
def _only_core() -> Any:
    import openvino

    return openvino.Core()


class OpenVinoBackend:
    """Detects with an exported graph, fp32 or quantised, on the CPU.

    Args:
        graph: an ONNX file, or the XML of OpenVINO's own format.
        source: where it is from, for errors.
        precision: ``bf16`` multiplies in it, in the networks; OpenVINO leaves what is done to boxes in fp32. With
            ``int8``, for quantised graphs, so is what was not quantised, where the processor has bf16.
        threads: processors one picture may use; all by default.
        weights: the other half of OpenVINO's own format.

    Raises:
        ArchiveError: OpenVINO cannot read it, or it is no graph of ``export_onnx``.
    """

    def __init__(
        self,
        graph: bytes,
        source: str,
        *,
        precision: str = "fp32",
        threads: Optional[int] = None,
        weights: bytes = b"",
    ) -> None:
        core = load_core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _inference_precision(core, precision),
            # pinned, as OpenVINO would have it, the threads of every session are put on the same first cores
            **({"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False} if threads else {}),
        }
        try:
            self._model = core.compile_model(core.read_model(graph, weights), "CPU", options)
        except Exception as error:  # OpenVINO raises RuntimeError and others for whatever it runs into
            raise ArchiveError(f"{source}: cannot be read by OpenVINO: {error}.", "Write it again.") from error
        require_signature(_names(self._model.inputs), _names(self._model.outputs), source)
        self._source = source
        self._request = self._model.create_infer_request()
        # OpenVINO prepares its view on tensors at first use, and two threads that do so at once wait for
        # each other for ever
        _ = self._request.get_input_tensor().data

    def detect(self, canvases: np.ndarray) -> List[Detections]:
        """Detect on a batch; see ``Backend.detect``."""
        try:
            answer = self._request.infer([canvases])
        except Exception as error:  # see above
            raise cannot_run(self._source, error) from error
        return detections_of_padded(*(answer[name] for name in OUTPUTS))


def _inference_precision(core: Any, precision: str) -> str:
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if precision == "bf16" or (precision == "int8" and has_bf16) else "f32"


def _names(ports: Sequence[Any]) -> List[str]:
    return [port.any_name if port.names else "nameless" for port in ports]
