import numpy as np
import onnx
import pytest
import torch

from boxwright.exporting.onnx import export_onnx
from boxwright.models import find_family
from boxwright.models.onnx_graph import PREFIX
from boxwright.runtime.backends.graph import INPUT, OUTPUTS
from boxwright.runtime.backends.openvino import load_core
from support.agreement import agreement
from support.networks import TRIED, canvases, graph_backends, opinionated, spec_of

SIDE = 128


@pytest.fixture(scope="module", params=TRIED)
def exported(request):
    """Every architecture: its specification, its network, and the graph; what is traced is a batch of two."""
    spec = spec_of(request.param, 96, 160)
    network = opinionated(spec)
    return spec, network, export_onnx(network, spec)


def test_every_architecture_is_the_same_in_every_runtime(exported):
    """A batch of three, so that pictures are kept apart, and a picture alone.

    Not all need be equal: made-up heads give nearly equal scores, of which the last bit says who is the hundredth,
    and boxes of a pixel or two, whose IoU falls below .99 by float32's rounding.
    """
    spec, network, graph = exported
    pictures = canvases(3, spec.input.height, spec.input.width)
    with torch.inference_mode():
        eager = find_family(spec.architecture).detect(network, torch.from_numpy(pictures))
    assert min(len(one) for one in eager) >= 20
    for backend in graph_backends(graph):
        for batch, expected in ((pictures, eager), (pictures[2:], eager[2:])):
            detections = backend.detect(batch)
            assert [len(one) for one in detections] == [len(one) for one in expected]
            found = agreement(expected, detections)
            assert found.detections >= 20
            assert found.matched >= 0.99 * found.detections, (type(backend).__name__, found)
            assert found.equal >= 0.99 * found.detections, (type(backend).__name__, found)


def test_openvino_rounds_no_box_where_networks_are_in_bf16(exported):
    """What only leads into the box head it takes for a part of the networks: boxes to pool from among it."""
    core = load_core()
    model = core.compile_model(core.read_model(exported[2]), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    rounded = {
        (info["layerType"].astype(str), operator.get_friendly_name())
        for operator in model.get_runtime_model().get_ordered_ops()
        if (info := operator.get_rt_info())["outputPrecisions"].astype(str) == "bf16"
    }
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert "Convolution" in {kind for kind, _ in rounded}
    assert {kind for kind, name in rounded if name.startswith(PREFIX)} <= {"ROIAlign", "Concatenation", "Reorder"}


@pytest.fixture(scope="module")
def tiny():
    spec = spec_of("fasterrcnn_tiny_fpn", SIDE)
    return spec, opinionated(spec)


@pytest.fixture(scope="module")
def graph(tiny):
    return export_onnx(tiny[1], tiny[0])


def test_the_graph_says_what_it_takes_and_gives(graph):
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model)
    (image,) = model.graph.input
    assert image.name == INPUT
    sizes = [one.dim_value or one.dim_param for one in image.type.tensor_type.shape.dim]
    assert isinstance(sizes[0], str)
    assert sizes[1:] == [3, SIDE, SIDE]
    assert tuple(one.name for one in model.graph.output) == OUTPUTS


def test_the_same_network_gives_the_same_bytes_and_nothing_of_this_machine(tiny, graph):
    assert export_onnx(tiny[1], tiny[0]) == graph
    for trace in (b"site-packages", b".py", b"/home", b"/root", b"stack_trace"):
        assert trace not in graph


def test_batches_of_any_size_give_each_picture_its_own(graph):
    backend, pictures = graph_backends(graph)[0], canvases(5, SIDE)
    singly = [backend.detect(one[None])[0] for one in pictures]
    found = agreement(singly, backend.detect(pictures))
    assert found.equal == found.detections > 50


def test_a_picture_without_detections_is_empty(tiny):
    spec, _ = tiny
    shy = opinionated(spec)
    torch.nn.init.zeros_(shy.roi_heads.box_predictor.cls_score.weight)
    with torch.no_grad():
        shy.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([20.0, 0, 0, 0]))
    graph = export_onnx(shy, spec)
    for backend in graph_backends(graph):
        assert [len(one) for one in backend.detect(canvases(2, SIDE))] == [0, 0]


def test_boxes_to_pool_from_reach_the_output_without_a_network(graph):
    """What keeps them exact in bf16, on any processor; see the test above."""
    nodes = onnx.load_from_string(graph).graph.node
    reached, open_values = set(), set(OUTPUTS)
    while open_values:
        behind = [node for node in nodes if open_values & set(node.output)]
        reached |= open_values
        open_values = {
            name for node in behind if node.op_type not in ("Conv", "Gemm", "RoiAlign") for name in node.input
        }
        open_values -= reached
    pooled = [node.input[1] for node in nodes if node.op_type == "RoiAlign"]
    assert len(pooled) > 1
    assert set(pooled) <= reached


def test_a_picture_without_proposals_is_empty():
    """The proposal head of torchvision's MobileNets drops what is unlikely; a picture may be left without any."""
    spec = spec_of("fasterrcnn_mobilenet_v3_large_320_fpn", SIDE)
    network, pictures = opinionated(spec), canvases(2, SIDE)
    with torch.no_grad():
        network.rpn.head.cls_logits.bias.fill_(-1000.0)
    graph = export_onnx(network, spec)
    for backend in graph_backends(graph):
        assert [len(one) for one in backend.detect(pictures)] == [0, 0]


def test_the_mode_of_the_network_is_restored(tiny):
    spec, network = tiny
    network.train()
    try:
        export_onnx(network, spec)
        assert network.training
    finally:
        network.eval()


def test_boxes_stay_on_the_canvas(graph):
    for one in graph_backends(graph)[0].detect(canvases(3, SIDE)):
        assert one.boxes.min() >= 0
        assert one.boxes.max() <= SIDE
        assert set(np.unique(one.labels)) <= {0, 1, 2}
        assert np.all(np.diff(one.scores) <= 0)
