import onnx
from networks import canvases, opinionated, spec_of

from boxwright.export.graph import PREFIX
from boxwright.export.onnx import export_onnx
from boxwright.export.quantize import quantize
from boxwright.runtime.onnx_backend import OnnxBackend
from boxwright.runtime.openvino_backend import OpenVinoBackend


def test_networks_are_int8_and_boxes_are_not():
    spec = spec_of("fasterrcnn_tiny_fpn", 128)
    graph = export_onnx(opinionated(spec), spec)
    small = quantize(graph, [one[None] for one in canvases(4, 128)])
    model = onnx.load_from_string(small)
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert len(small) < 0.4 * len(graph)
    made = {value: node for node in model.graph.node for value in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        assert all(made[value].op_type == "DequantizeLinear" for value in node.input[:2])
    for node in model.graph.node:
        if node.name.startswith(PREFIX) and node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            assert node.op_type != "Conv"
    for backend in (OnnxBackend(small, "made"), OpenVinoBackend(small, "made")):
        assert all(len(one) for one in backend.detect(canvases(2, 128)))
