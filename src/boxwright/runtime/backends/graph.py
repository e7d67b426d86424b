"""The contract of an exported graph: its members in an archive, its input, its outputs."""

from __future__ import annotations

import re
from typing import List, Sequence

import numpy as np

from ..bundle import Bundle
from ..detections import Detections
from ..errors import ArchiveError

__all__ = [
    "EXACT",
    "INPUT",
    "ONNX",
    "ONNX_INT8",
    "OUTPUTS",
    "cannot_run",
    "detections_of_padded",
    "graph_member",
    "read_graph",
    "require_signature",
]

ONNX = "model.onnx"
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


def graph_member(precision: str) -> str:
    """The member that runs in a precision."""
    return ONNX_INT8 if precision == "int8" else ONNX


def read_graph(bundle: Bundle, precision: str) -> bytes:
    """The graph of a bundle.

    Raises:
        ArchiveError: there is no such graph, or it reads files outside the archive.
    """
    member = graph_member(precision)
    graph = bundle.read(member)
    if b"location" in graph and _EXTERNAL_DATA.search(graph):
        raise ArchiveError(f"{bundle.source}: {member}: reads files outside the archive.", "Do not use it.")
    return graph


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
