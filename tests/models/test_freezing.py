import pytest
import torch

from boxwright.models import find_family
from boxwright.models.freezing import freeze_batchnorm, freeze_stages, hold_frozen_batchnorm
from boxwright.runtime import ClassEntry, InputSpec, ModelSpec
from boxwright.runtime.networks import build_network


def network_of(architecture):
    return build_network(ModelSpec("m", architecture, (ClassEntry(1, "a"),), InputSpec(64, 64)))


def blocks_of(architecture):
    """A network, and the blocks of its backbone."""
    network = network_of(architecture)
    return network, find_family(architecture).blocks(network)


def frozen_names(network):
    return {name for name, parameter in network.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize(
    ("architecture", "first", "last"),
    [
        ("fasterrcnn_resnet50_fpn", "conv1", "layer4"),
        ("fcos_resnet50_fpn", "conv1", "layer4"),
        ("fasterrcnn_mobilenet_v2_fpn", "0", "18"),
        ("fasterrcnn_mobilenet_v2_fpn_v2", "0", "18"),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "0", "16"),
        ("fasterrcnn_tiny_fpn", "0", "5"),
    ],
)
def test_stages_freeze_from_the_input_on(architecture, first, last):
    network, blocks = blocks_of(architecture)
    assert freeze_stages(blocks, 99) == 0
    assert frozen_names(network) == set()
    assert freeze_stages(blocks, 1) > 0
    names = frozen_names(network)
    assert any(name.startswith(f"backbone.body.{first}.") for name in names)
    assert not any(name.startswith(f"backbone.body.{last}.") for name in names)
    freeze_stages(blocks, 0)
    assert any(name.startswith(f"backbone.body.{last}.") for name in frozen_names(network))
    assert all(name.startswith("backbone.body.") for name in frozen_names(network))


def test_a_backbone_without_a_neck_freezes_by_stages_too():
    network, blocks = blocks_of("ssdlite320_mobilenet_v3_large")
    assert freeze_stages(blocks, 99) == 0
    assert freeze_stages(blocks, 1) > 0
    names = frozen_names(network)
    assert any(name.startswith("backbone.features.0.0.") for name in names)
    assert not any(name.startswith(("backbone.extra", "head", "backbone.features.1.3")) for name in names)
    freeze_batchnorm(blocks)
    assert "backbone.features.1.3.1.weight" in frozen_names(network)


def test_resnet_keeps_torchvisions_count():
    network, blocks = blocks_of("fasterrcnn_resnet50_fpn")
    freeze_stages(blocks, 3)
    kinds = {name.split(".")[2] for name in frozen_names(network)}
    assert kinds == {"conv1", "bn1", "layer1"}


def test_norms_that_no_backbone_brings_go_on_learning():
    network, blocks = blocks_of("fasterrcnn_resnet50_fpn_v2")
    freeze_batchnorm(blocks)
    network.train()
    hold_frozen_batchnorm(network)
    assert not network.backbone.body.bn1.training
    assert network.roi_heads.box_head[0][1].training
    assert all(name.startswith("backbone.body.") for name in frozen_names(network))


def test_a_frozen_batchnorm_stays_as_it_was():
    network, blocks = blocks_of("fasterrcnn_tiny_fpn")
    freeze_batchnorm(blocks)
    state = network.state_dict()
    before = {name: value.clone() for name, value in state.items() if "body" in name and "running" in name}
    network.train()
    hold_frozen_batchnorm(network)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    target = {"boxes": torch.tensor([[4.0, 4, 40, 40]]), "labels": torch.tensor([1])}
    network(images, [target, target])
    assert before
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    assert any(name.endswith(".weight") for name in frozen_names(network))
