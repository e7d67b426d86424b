import numpy as np
import pytest
import torch

from boxwright.models import CATALOGUE
from boxwright.models.detector import Detector, resolve_precision
from boxwright.models.freezing import stages_of
from boxwright.runtime import ClassEntry, InputSpec, ModelError, ModelSpec
from boxwright.runtime.networks import ARCHITECTURES, build_network
from boxwright.runtime.networks.base import NetworkFamily
from boxwright.runtime.networks.torchvision import detections_from_output
from support.networks import TRIED, small_options

CLASSES = (ClassEntry(1, "fish"), ClassEntry(5, "ray"))


def spec_of(architecture, side=64):
    return ModelSpec("m", architecture, CLASSES, InputSpec(side, side), small_options(architecture))


def batch(side=64):
    generator = torch.Generator().manual_seed(0)
    canvases = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=generator)
    boxes = [torch.tensor([[4.0, 4, 40, 40], [10, 20, 60, 60]]), torch.zeros(0, 4)]
    return canvases, boxes, [torch.tensor([0, 1]), torch.zeros(0, dtype=torch.int64)]


@pytest.mark.parametrize("architecture", TRIED)
def test_every_architecture_trains_and_detects(architecture):
    torch.manual_seed(0)
    detector = Detector(spec_of(architecture))
    detector.network.train()
    losses = detector.losses(*batch())
    two_stage = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    single_stage = {"loss_bbox_regression", "loss_classification"}
    transformers = {"loss_bbox", "loss_giou"}
    assert set(losses) in (
        two_stage,
        single_stage,
        {*single_stage, "loss_bbox_ctrness"},
        {*transformers, "loss_vfl"},
        {*transformers, "loss_vfl", "loss_fgl", "loss_ddf"},
        {*transformers, "loss_mal", "loss_fgl", "loss_ddf"},
        {*transformers, "loss_ce"},
    )
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    gradients = [parameter.grad is not None for parameter in detector.network.parameters() if parameter.requires_grad]
    assert all(gradients)
    found = detector.detect(batch()[0])
    assert len(found) == 2
    assert detector.network.training  # the mode is restored
    assert all(set(one.labels.tolist()) <= {0, 1} for one in found)
    assert all(one.boxes.min(initial=0) >= 0 and one.boxes.max(initial=0) <= 64 for one in found)


def test_catalogue_and_builders_are_the_same_list():
    assert sorted(CATALOGUE) == sorted(ARCHITECTURES)


def test_an_unknown_architecture_is_named():
    with pytest.raises(ModelError, match="'yolo'"):
        build_network(spec_of("yolo"))


def test_the_background_offset_ends_in_one_place():
    output = {"boxes": torch.zeros(1, 4), "scores": torch.ones(1), "labels": torch.tensor([1])}
    assert detections_from_output(output).labels.tolist() == [0]


def test_normalisation_is_the_specs_and_part_of_the_network():
    network = build_network(spec_of("fasterrcnn_tiny_fpn"))
    white = torch.full((1, 3, 64, 64), 255, dtype=torch.uint8)
    images, targets = network.transform(white, None)
    expected = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert images.tensors[0, :, 5, 5].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert images.image_sizes == [(64, 64)]
    assert targets is None


def test_bf16_runs_the_networks_and_not_the_boxes():
    torch.manual_seed(0)
    detector = Detector(spec_of("fasterrcnn_tiny_fpn"), "bf16")
    seen = {}
    network = detector.network
    network.backbone.register_forward_hook(lambda module, inputs, output: seen.update(backbone=output["0"].dtype))
    layer = network.backbone.body["0"][0]
    layer.register_forward_hook(lambda module, inputs, output: seen.update(layer=output.dtype))
    network.roi_heads.box_head.register_forward_pre_hook(lambda module, inputs: seen.update(pooled=inputs[0].dtype))
    network.train()
    losses = detector.losses(*batch())
    assert seen == {"layer": torch.bfloat16, "backbone": torch.float32, "pooled": torch.float32}
    assert all(torch.isfinite(value) for value in losses.values())
    detector.detect(batch()[0])
    assert seen["layer"] == torch.float32  # detections are made in fp32


@pytest.mark.parametrize(
    "architecture",
    ["fasterrcnn_tiny_fpn", "ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn", "fcos_resnet50_fpn"],
)
def test_bf16_losses_are_near_fp32(architecture):
    losses = {}
    for name in ("fp32", "bf16"):
        torch.manual_seed(0)
        detector = Detector(spec_of(architecture), name)
        detector.network.train()
        torch.manual_seed(1)
        losses[name] = detector.losses(*batch())
    for part, value in losses["fp32"].items():
        assert losses["bf16"][part].item() == pytest.approx(value.item(), rel=0.1, abs=0.02)


@pytest.mark.parametrize(
    ("channels", "kernel", "height", "width", "stride", "groups"),
    [(128, 3, 3, 1, 2, 128), (240, 3, 4, 1, 2, 1), (72, 5, 7, 1, 2, 1), (240, 5, 1, 4, 1, 1), (96, 3, 1, 1, 2, 1)],
)
def test_gradients_in_bf16_of_maps_of_one_pixel_are_near_fp32(channels, kernel, height, width, stride, groups):
    family = NetworkFamily({}, ("part",), list)
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    network = torch.nn.ModuleDict({"part": torch.nn.Sequential(convolution)}).to(memory_format=torch.channels_last)
    maps = torch.randn(2, channels, height, width).contiguous(memory_format=torch.channels_last)
    gradients = {}
    for precision in ("fp32", "bf16"):
        convolution.weight.grad = None
        with family.in_precision(network, precision):
            network["part"](maps).pow(2).sum().backward()
        gradients[precision] = convolution.weight.grad.clone()
    largest = gradients["fp32"].abs().max()
    assert (gradients["bf16"] - gradients["fp32"]).abs().max() < 0.02 * largest


def test_precision_is_resolved_once():
    assert resolve_precision("fp32", "cpu") == "fp32"
    assert resolve_precision("bf16", "cpu") == "bf16"
    assert resolve_precision("auto", "cpu") in ("fp32", "bf16")


def test_earlier_stages_learn_more_slowly():
    detector = Detector(spec_of("fasterrcnn_tiny_fpn"))
    groups = detector.parameter_groups(backbone_rate=0.1, layer_decay=0.5)
    stages = stages_of(detector.family.blocks(detector.network))
    assert [group.rate for group in groups] == pytest.approx([1.0, *(0.1 * 0.5**depth for depth in range(len(stages)))])
    first = {id(one) for block in stages[0] for one in block.parameters()}
    assert {id(one) for one in groups[-1].parameters} == first
    everything = [id(one) for group in groups for one in group.parameters]
    assert sorted(everything) == sorted(id(one) for one in detector.network.parameters())
