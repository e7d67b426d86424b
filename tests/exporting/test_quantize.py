import onnx
import pytest

from boxwright.exporting.onnx import export_onnx
from boxwright.exporting.quantize import quantize
from boxwright.runtime.backends.graph import EXACT
from support.networks import canvases, graph_backends, opinionated, spec_of


@pytest.mark.parametrize("architecture", ["retinanet_resnet50_fpn", "fcos_resnet50_fpn"])
def test_a_single_stage_is_quantised_but_for_its_first_and_last_layers(architecture):
    spec = spec_of(architecture, 64)
    small = quantize(export_onnx(opinionated(spec), spec), [one[None] for one in canvases(2, 64)])
    nodes = onnx.load_from_string(small).graph.node
    rounded = {value for node in nodes if node.op_type == "DequantizeLinear" for value in node.output}
    layers = [node for node in nodes if node.op_type == "Conv"]
    exact = [node.name for node in layers if node.input[1] not in rounded]
    assert exact[1:] == [node.name for node in layers if node.name.startswith(EXACT)]
    assert len(exact) == 1 + 5 * (3 if architecture.startswith("fcos") else 2)  # of each of five levels
    for backend in graph_backends(small, "int8"):
        assert min(len(one) for one in backend.detect(canvases(3, 64))) > 0


def test_networks_are_int8_and_boxes_are_not():
    spec = spec_of("fasterrcnn_tiny_fpn", 128)
    graph = export_onnx(opinionated(spec), spec)
    small = quantize(graph, [one[None] for one in canvases(4, 128)])
    model = onnx.load_from_string(small)
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert len(small) < 0.4 * len(graph)
    made = {value: node for node in model.graph.node for value in node.output}
    layers = [node for node in model.graph.node if node.op_type == "Conv"]
    rounded = [node for node in layers if node.input[1] in made and made[node.input[1]].op_type == "DequantizeLinear"]
    exact = [node.name for node in layers if node not in rounded]
    assert len(rounded) > 0.5 * len(layers)
    assert exact[0] == layers[0].name  # it sees the picture itself
    assert exact[1:] == [node.name for node in layers if node.name.startswith(EXACT)]
    assert len(exact) > 2
    activations = [node for node in onnx.load_from_string(graph).graph.node if node.op_type == "Relu"]
    left = [made[node.input[0]].name for node in model.graph.node if node.op_type == "Relu"]
    assert len(activations) > 1
    assert left == [layers[0].name]  # for the others rounding does what they did
    for backend in graph_backends(small, "int8"):
        assert sum(len(one) for one in backend.detect(canvases(2, 128))) > 0


def test_of_transformers_networks_the_convolutions_are_quantised():
    spec = spec_of("dfine_n", 96)
    small = quantize(export_onnx(opinionated(spec), spec), [one[None] for one in canvases(2, 96)])
    nodes = onnx.load_from_string(small).graph.node
    rounded = {value for node in nodes if node.op_type == "DequantizeLinear" for value in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert sum(node.input[1] in rounded for node in convolutions) == len(convolutions) - 1  # the first sees the picture
    others = [node for node in nodes if node.op_type in ("Gemm", "MatMul")]
    assert len(others) > 10
    assert not any(value in rounded for node in others for value in node.input)
    for backend in graph_backends(small, "int8"):
        assert min(len(one) for one in backend.detect(canvases(2, 96))) > 0
