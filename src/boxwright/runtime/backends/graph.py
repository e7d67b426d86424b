"""The contract of an exported graph: its members in an archive, its input, its outputs."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import List, Sequence

import numpy as np

from ..bundle import GRAPH, Bundle
from ..detections import Detections
from ..errors import ArchiveError
from ..execution import Execution
from .base import Backend

__all__ = [
    "EXACT",
    "INPUT",
    "ONNX",
    "ONNX_INT8",
    "OUTPUTS",
    "GraphBackend",
    "cannot_run",
    "detections_of_padded",
    "require_signature",
]

ONNX = GRAPH
"""Member that holds the fp32 graph."""

ONNX_INT8 = "model.int8.onnx"
"""Member that holds the quantised graph."""

INPUT = "images"
"""The graph's input: uint8 [N, 3, H, W], RGB, a canvas as ``preprocess`` makes it."""

OUTPUTS = ("boxes", "scores", "labels")
"""Its outputs: float32 [N, D, 4] xyxy in canvas pixels, float32 [N, D] in [0, 1], int64 [N, D] class indices 0..K-1,
best first. Where a picture has fewer than D detections, the other places have score and label -1."""

EXACT = "exact/"
"""Prefix of the names of the networks' last layers, which lower precisions leave in fp32."""

# A tensor of ONNX may name a file to be read from: a protobuf string of 8 bytes, its length before it.
_EXTERNAL_DATA = re.compile(rb"(?:\x08|\x88\x80*\x00)location")


class GraphBackend(Backend):
    """Detects with an exported graph, fp32 or quantised, on the CPU.

    Args:
        graph: the file.
        source: where it is from, for errors.
        execution: how it runs.

    Raises:
        ArchiveError: the graph cannot be read, or it is not one of ``export_onnx``.
    """

    any_device = False

    @abstractmethod
    def __init__(self, graph: bytes, source: str, execution: Execution) -> None: ...

    @staticmethod
    def member(precision: str) -> str:
        """See ``Backend.member``."""
        return ONNX_INT8 if precision == "int8" else ONNX

    @classmethod
    def open(cls, bundle: Bundle, execution: Execution) -> GraphBackend:
        """See ``Backend.open``; a graph that reads files outside the archive is refused."""
        member = cls.member(execution.precision)
        source, graph = f"{bundle.source}: {member}", bundle.read(member)
        if b"location" in graph and _EXTERNAL_DATA.search(graph):
            raise ArchiveError(f"{source}: reads files outside the archive.", "Do not use it.")
        return cls(graph, source, execution)


def require_signature(inputs: Sequence[str], outputs: Sequence[str], source: str) -> None:
    """Raise unless a graph takes ``INPUT`` and gives ``OUTPUTS``.

    Raises:
        ArchiveError: it takes or gives something else.
    """
    if list(inputs) != [INPUT] or set(outputs) != set(OUTPUTS):
        raise ArchiveError(
            f"{source}: takes {', '.join(inputs)} and gives {', '.join(outputs)}: not a graph of boxwright.",
            "Write it again.",
        )


def cannot_run(source: str, error: Exception) -> ArchiveError:
    """The error for a graph that a backend could read but not run."""
    message = " ".join(str(error).split())[:300].rstrip(".")
    return ArchiveError(f"{source}: cannot be run: {message}.", "Write it again.")


def detections_of_padded(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> List[Detections]:
    """A graph's padded outputs (see ``OUTPUTS``) as one ``Detections`` per picture."""
    return [
        Detections(*(part[own >= 0] for part in (box, own, label))) for box, own, label in zip(boxes, scores, labels)
    ]
