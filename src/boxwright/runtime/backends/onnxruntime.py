"""Runs an exported graph in onnxruntime; needs no torch."""

from __future__ import annotations

import os
from typing import Any, List

import numpy as np

from ..detections import Detections
from ..errors import ArchiveError
from ..execution import Execution
from .graph import INPUT, OUTPUTS, GraphBackend, cannot_run, detections_of_padded, require_signature

__all__ = ["OnnxRuntimeBackend", "load_onnxruntime"]


def load_onnxruntime() -> Any:
    """Import onnxruntime without its telemetry.

    Its wheels (1.31 for one) report to Microsoft what is run, and keep a device id under ``~/.cache``, unless they are
    set not to before they are imported. Set ``ORT_DISABLE_TELEMETRY=0`` to allow it.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


class OnnxRuntimeBackend(GraphBackend):
    """See ``GraphBackend``."""

    name = "onnxruntime"
    package = "onnxruntime"
    extra = "boxwright"
    precisions = proved = ("fp32", "int8")

    def __init__(self, graph: bytes, source: str, execution: Execution) -> None:
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = execution.threads or 0
        # Threads that wait for work in a loop take the processors from whatever brings the next picture.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors; warnings are about shapes that it infers later
        options.enable_mem_pattern = False  # it would take a block for all of a run beside what the arena holds
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes share no base
            raise ArchiveError(f"{source}: cannot be read by onnxruntime: {error}.", "Write it again.") from error
        self._session._model_bytes = None  # the whole file, kept in case another provider were asked for
        self._source = source
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        require_signature([one.name for one in inputs], [one.name for one in outputs], source)

    def detect(self, canvases: np.ndarray) -> List[Detections]:
        """See ``Backend.detect``."""
        try:
            answer = self._session.run(list(OUTPUTS), {INPUT: canvases})
        except Exception as error:  # see above
            raise cannot_run(self._source, error) from error
        return detections_of_padded(*answer)
