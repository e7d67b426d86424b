"""Archives with a graph that stands for an export: it answers at once, the same whatever it sees."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from boxwright.runtime import ModelSpec
from boxwright.runtime.backends.graph import INPUT, ONNX, ONNX_INT8, OUTPUTS
from boxwright.runtime.bundle import CHECKSUMS, SPEC

BOXES = np.array([[1, 2, 30, 40], [5, 6, 70, 80]], np.float32)


def graph() -> bytes:
    """Two boxes per picture, whatever the batch; see ``graph.OUTPUTS``."""
    from onnx import TensorProto, checker, helper, numpy_helper

    answers = {"boxes": BOXES, "scores": np.array([0.9, 0.8], np.float32), "labels": np.array([0, 0], np.int64)}
    kinds = {"boxes": TensorProto.FLOAT, "scores": TensorProto.FLOAT, "labels": TensorProto.INT64}
    constants = [numpy_helper.from_array(value[None], f"{name}_of_one") for name, value in answers.items()]
    constants += [numpy_helper.from_array(np.array(value.shape), f"{name}_shape") for name, value in answers.items()]
    nodes = [helper.make_node("Shape", [INPUT], ["count"], start=0, end=1)]
    for name in OUTPUTS:
        nodes.append(helper.make_node("Concat", ["count", f"{name}_shape"], [f"{name}_wanted"], axis=0))
        nodes.append(helper.make_node("Expand", [f"{name}_of_one", f"{name}_wanted"], [name]))
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", 3, "H", "W"])]
    outputs = [helper.make_tensor_value_info(name, kinds[name], ["N", *answers[name].shape]) for name in OUTPUTS]
    model = helper.make_model(
        helper.make_graph(nodes, "stand-in", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    checker.check_model(model)
    return model.SerializeToString()


def with_export(
    mar: Path, target: Path, *variants: str, content: bytes | None = None, quantised: bytes | None = None
) -> Path:
    """A copy of an archive that holds the graph, or other content in its place, as if proved as ``variants``.

    With ``quantised`` it holds that as its graph of INT8.
    """
    with zipfile.ZipFile(mar) as old:
        members = {name: old.read(name) for name in old.namelist() if name != CHECKSUMS}
    spec = ModelSpec.from_json(members[SPEC])
    proof = {"member": ONNX, "map": 0.1, "map_before": 0.1, "tolerance": 0.001}
    members[SPEC] = replace(spec, exports=dict.fromkeys(variants, proof)).to_json().encode()
    members[ONNX] = graph() if content is None else content
    if quantised is not None:
        members[ONNX_INT8] = quantised
    sums = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(members.items()))
    members[CHECKSUMS] = "".join(sums).encode()
    with zipfile.ZipFile(target, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    return target
