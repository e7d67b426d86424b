"""Runs an exported graph in OpenVINO; needs no torch."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, List, Sequence

import numpy as np

from ..detections import Detections
from ..errors import ArchiveError
from ..execution import PRECISIONS, Execution
from .graph import OUTPUTS, GraphBackend, cannot_run, detections_of_padded, require_signature

__all__ = ["OpenVinoBackend", "load_core"]

_opening = threading.Lock()  # two threads at first use would each make one


def load_core() -> Any:
    """OpenVINO's ``Core``, one for as long as the process lives.

    On processors with AMX each ``Core`` gives its thread another stack for signals, and restores the former one when it
    ends. If a ``Core`` that began earlier has ended first, that stack is no longer mapped, and the next signal with a
    handler, such as the end of a child, kills the process (OpenVINO 2026.4.1).
    """
    with _opening:
        return _only_core()


@lru_cache(maxsize=None)
def _only_core() -> Any:
    import openvino

    return openvino.Core()


class OpenVinoBackend(GraphBackend):
    """See ``GraphBackend``.

    With ``bf16`` the networks multiply in it; OpenVINO leaves what is done to boxes in fp32. With ``int8`` so does what
    was not quantised, where the processor has bf16.

    Args:
        weights: for a ``graph`` in OpenVINO's own format (XML), its other half.
    """

    name = "openvino"
    package = "openvino"
    extra = "boxwright[openvino]"
    precisions = proved = PRECISIONS

    def __init__(self, graph: bytes, source: str, execution: Execution, weights: bytes = b"") -> None:
        core = load_core()
        threads = execution.threads
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _inference_precision(core, execution.precision),
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
        # OpenVINO prepares its view on tensors at first use, and two threads that do so at once never end
        _ = self._request.get_input_tensor().data

    def detect(self, canvases: np.ndarray) -> List[Detections]:
        """See ``Backend.detect``."""
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
