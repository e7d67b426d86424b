"""Transformers' detectors as ONNX graphs: traced whole, for they need no suppression and choose their boxes themselves.

Shapes: N pictures, H x W the canvas.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import onnx_ir as ir
import torch
from torch import Tensor, nn

from boxwright.runtime import ModelSpec
from boxwright.runtime.backends.graph import EXACT, OUTPUTS

from .family import GraphPlan

__all__ = ["plan_transformers"]

_EXACT = ("Gemm", "MatMul")


def plan_transformers(
    network: nn.Module, spec: ModelSpec, exporter: Literal["torch.export", "torchscript"]
) -> GraphPlan:
    """See ``Family.graph_plan``.

    Args:
        network: in eval mode.
        spec: what it was built from.
        exporter: see ``GraphPlan``.
    """
    example = torch.zeros(2, 3, spec.input.height, spec.input.width, dtype=torch.uint8)

    def write(graph: ir.Graph) -> dict[str, ir.Value]:
        _keep_exact(graph)
        return dict(zip(OUTPUTS, graph.outputs, strict=True))

    return GraphPlan(_Answers(_with_fixed_positions(network, example)), (example,), ("pictures",), write, exporter)


def _with_fixed_positions(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy of a network in which the sines of positions are constants.

    They depend on the canvas alone. Traced, they would be computed in float64 for every picture, and onnxruntime 1.19,
    the last for TorchServe's Python, has no cosine of float64.
    """
    fixed = copy.deepcopy(network)
    sines = (one for one in fixed.modules() if type(one).__name__.endswith("SinePositionEmbedding"))
    hooks = [one.register_forward_hook(_stay_so) for one in sines]
    with torch.no_grad():
        fixed(example)
    for hook in hooks:
        hook.remove()
    return fixed


def _stay_so(module: nn.Module, inputs: Any, answer: Tensor) -> None:
    module.forward = lambda *_, **__: answer  # an instance attribute: hides the class's method


class _Answers(nn.Module):
    """A detector's answer as a tuple, which is what the exporters name outputs by.

    Args:
        network: in eval mode.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 [N, 3, H, W] to ``OUTPUTS``."""
        answer = self.network(images)
        return tuple(answer[name] for name in OUTPUTS)


def _keep_exact(graph: ir.Graph) -> None:
    """Give the layers of attention and of the heads names that quantisation keeps out of.

    Queries are ranked by their scores, and boxes corrected from layer to layer: in 8 bits both are lost. Convolutions,
    of the backbone and of the neck, are what is left to quantise.
    """
    for node in graph:
        if node.op_type in _EXACT:
            node.name = f"{EXACT}{node.name}"
            for value in node.outputs:
                value.name = f"{EXACT}{value.name}"
