"""A trained network becomes one ONNX file, its boxes decoded and suppressed within."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules.common import fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_gemm_rule
from torch import nn

from boxwright.models import find_family
from boxwright.models.family import GraphPlan
from boxwright.runtime import ModelSpec
from boxwright.runtime.backends.graph import INPUT, OUTPUTS

__all__ = ["OPSET", "export_onnx", "metadata_of"]

OPSET = 18
"""Of the written operators; onnxruntime 1.20 and OpenVINO 2025 know it."""


def export_onnx(network: nn.Module, spec: ModelSpec) -> bytes:
    """The network as ONNX; input and outputs are described in ``boxwright.runtime.backends.graph``.

    Args:
        network: of ``build_network``, trained; its mode is restored.
        spec: what it was built from.

    Returns:
        The file.
    """
    training = network.training
    network.eval()
    try:
        plan = find_family(spec.architecture).graph_plan(network, spec)
        model = _EXPORTERS[plan.exporter](plan)
        _finish(model, plan.write(model.graph))
    finally:
        network.train(training)
    return _serialized(model, spec)


def _exported(plan: GraphPlan) -> ir.Model:
    """What torch.export makes of the networks, batch normalisation folded into convolutions."""
    dimensions = tuple({0: torch.export.Dim(name)} for name in plan.free)
    with _quiet():
        program = torch.onnx.export(
            plan.module, plan.example, dynamo=True, opset_version=OPSET, dynamic_shapes=dimensions, verbose=False
        )
    assert program is not None, "with dynamo=True the exporter answers with a program"
    model = program.model
    for value in model.graph.inputs:
        assert value.shape is not None, f"{value.name} has a shape"
        assert not isinstance(value.shape[0], int), f"{value.name} lost its free size"
    return rewrite(model, pattern_rewrite_rules=[fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_gemm_rule])


def _scripted(plan: GraphPlan) -> ir.Model:
    """What PyTorch's older exporter makes of the networks; it folds batch normalisation itself."""
    names = [f"input_{number}" for number in range(len(plan.free))]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "traced.onnx"
        torch.onnx.export(
            plan.module,
            plan.example,
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            dynamic_axes={name: {0: free} for name, free in zip(names, plan.free, strict=True)},
        )
        return ir.from_proto(onnx.load(file))


_EXPORTERS = {"torch.export": _exported, "torchscript": _scripted}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter prints, logs and warns of."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _finish(model: ir.Model, outputs: dict[str, ir.Value]) -> None:
    """Name inputs and outputs, and drop what no output needs."""
    graph = model.graph
    graph.inputs[0].name = INPUT
    del graph.inputs[1:]
    graph.outputs.clear()
    kinds = {"boxes": ir.DataType.FLOAT, "scores": ir.DataType.FLOAT, "labels": ir.DataType.INT64}
    for name in OUTPUTS:
        value = outputs[name]
        value.name, value.dtype = name, kinds[name]
        value.shape = ir.Shape(("pictures", "detections", 4) if name == "boxes" else ("pictures", "detections"))
        graph.outputs.append(value)
    graph.sort()
    RemoveUnusedNodesPass()(model)


def _serialized(model: ir.Model, spec: ModelSpec) -> bytes:
    model.producer_name, model.producer_version = "boxwright", None
    model.doc_string = f"{spec.name}: {spec.architecture} on {spec.input.height} x {spec.input.width}"
    _forget_origin(model)
    model.metadata_props.update(metadata_of(spec))
    proto: Any = ir.to_proto(model)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def metadata_of(spec: ModelSpec) -> dict[str, str]:
    """What the file says of the model to programs that have nothing but the file; each value is JSON.

    boxwright does not read it: the specification beside the file is what counts.

    Returns:
        ``classes`` (names by index), ``thresholds`` (lowest reported score by class index), ``canvas`` (``width`` and
        ``height``, pixels), ``resize``, ``pad`` (RGB, 0..255), ``mean`` and ``std`` (RGB, of pixels in 0..1; the graph
        applies them itself), ``tile`` and ``overlap`` (of models that see large pictures in windows), ``boxes``
        (their format), ``architecture``, ``run`` (its name) and ``boxwright`` (the version that wrote the file).
    """
    seen = spec.input
    windows = {} if seen.tile is None else {"tile": seen.tile, "overlap": seen.overlap}
    facts = {
        "classes": spec.class_names,
        "thresholds": spec.operating_point.thresholds(spec.class_names),
        "canvas": {"width": seen.width, "height": seen.height},
        "resize": seen.resize,
        "pad": seen.pad,
        "mean": seen.mean,
        "std": seen.std,
        **windows,
        "boxes": "left, top, right, bottom in canvas pixels",
        "architecture": spec.architecture,
        "run": spec.name,
        "boxwright": metadata.version("boxwright"),
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in facts.items()}


def _forget_origin(model: ir.Model) -> None:
    """Drop the exporter's notes about the source code; they hold paths of this machine."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
