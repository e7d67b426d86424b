"""Runs an exported graph in onnxruntime; no torch needed."""

from __future__ import annotations

import os
from typing import Any, List, Optional, Sequence

import numpy as np

from .detections import Detections
from .errors import ArchiveError

__all__ = [
    "EXACT",
    "INPUT",
    "OUTPUTS",
    "OnnxBackend",
    "cannot_run",
    "detections_of_padded",
    "load_onnxruntime",
    "require_signature",
]

INPUT = "images"
"""The graph's input: uint8 [N, 3, H, W], RGB, a canvas as ``preprocess`` makes it."""

EXACT = "exact/"
"""Begins the names of the networks' last layers, which lower precisions leave in fp32."""

OUTPUTS = ("boxes", "scores", "labels")
"""Its outputs: float32 [N, D, 4] xyxy in canvas pixels, float32 [N, D] in [0, 1], int64 [N, D] class indices 0..K-1,
best first; where a picture has fewer than D detections, the rest has score and label -1."""


def load_onnxruntime() -> Any:
    """Import onnxruntime without its telemetry.

    Its wheels (1.31 for one) report to Microsoft what is run, and keep a device id under ``~/.cache``, unless they are
    told not to before they are imported. Set ``ORT_DISABLE_TELEMETRY=0`` to let them.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


class OnnxBackend:
    """Detects with an exported graph, fp32 or quantised, on the CPU.

    Args:
        graph: the ONNX file.
        source: where it is from, for errors.
        threads: processors one picture may use; all by default.

    Raises:
        ArchiveError: onnxruntime cannot read it, or it is no graph of ``export_onnx``.
    """

    def __init__(self, graph: bytes, source: str, threads: Optional[int] = None) -> None:
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
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
        """Detect on a batch; see ``Backend.detect``."""
        try:
            answer = self._session.run(list(OUTPUTS), {INPUT: canvases})
        except Exception as error:  # see above
            raise cannot_run(self._source, error) from error
        return detections_of_padded(*answer)


def require_signature(inputs: Sequence[str], outputs: Sequence[str], source: str) -> None:
    """Nothing, for a graph that takes ``INPUT`` and gives ``OUTPUTS``.

    Raises:
        ArchiveError: it is another one.
    """
    if list(inputs) != [INPUT] or set(outputs) != set(OUTPUTS):
        raise ArchiveError(
            f"{source}: takes {', '.join(inputs)} and gives {', '.join(outputs)}: no graph of boxwright's.",
            "Write it again.",
        )


def cannot_run(source: str, error: Exception) -> ArchiveError:
    """What a runtime said about a graph that it could read."""
    said = " ".join(str(error).split())[:300].rstrip(".")
    return ArchiveError(f"{source}: cannot be run: {said}.", "Write it again.")


def detections_of_padded(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> List[Detections]:
    """A graph's padded outputs, see ``OUTPUTS``, to one ``Detections`` a picture."""
    return [
        Detections(*(part[own >= 0] for part in (box, own, label))) for box, own, label in zip(boxes, scores, labels)
    ]
