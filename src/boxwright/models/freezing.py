"""Which parts of a network learn."""

from __future__ import annotations

from torch import nn

__all__ = ["freeze_batchnorm", "freeze_stages", "hold_frozen_batchnorm"]


def _blocks(network: nn.Module) -> list[nn.Module]:
    """The backbone's layers or blocks, without neck, from the input on."""
    backbone = network.get_submodule("backbone")
    if hasattr(backbone, "body"):
        return list(backbone.get_submodule("body").children())
    return [block for part in backbone.get_submodule("features").children() for block in part.children()]  # SSD


def freeze_batchnorm(network: nn.Module) -> None:
    """Keep the backbone's BatchNorms as they were loaded: scale and shift do not learn, statistics stay.

    Those of necks and heads learn: pretrained backbones do not bring them, and frozen at their
    initial values they would normalise nothing.

    The statistics stay only in eval mode, and ``network.train()`` ends that: call
    ``hold_frozen_batchnorm`` after it.
    """
    for block in _blocks(network):
        for norm in _batchnorms(block):
            norm.requires_grad_(False)
    hold_frozen_batchnorm(network)


def hold_frozen_batchnorm(network: nn.Module) -> None:
    """Put the BatchNorms that do not learn back into eval mode."""
    for norm in _batchnorms(network):
        if norm.weight is not None and not norm.weight.requires_grad:
            norm.eval()


def _batchnorms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def freeze_stages(network: nn.Module, trainable: int) -> int:
    """Freeze the backbone but for its last stages.

    A stage is what lies between two halvings of the resolution, counted from the output, as
    torchvision's ``trainable_backbone_layers`` counts them.

    Args:
        network: of ``build_network``.
        trainable: stages that learn; as many as there are, or more, freezes nothing.

    Returns:
        How many stages were frozen.
    """
    stages = _stages(_blocks(network))
    frozen = stages[: max(len(stages) - trainable, 0)]
    for stage in frozen:
        for module in stage:
            module.requires_grad_(False)
    return len(frozen)


def _stages(blocks: list[nn.Module]) -> list[list[nn.Module]]:
    """Blocks grouped by stage, from the input on."""
    stages: list[list[nn.Module]] = [[]]
    for child in blocks:
        if _halves(child) and stages[-1]:
            stages.append([])
        stages[-1].append(child)
    return stages


def _halves(module: nn.Module) -> bool:
    return any(_stride(layer) > 1 for layer in module.modules())


def _stride(layer: nn.Module) -> int:
    if isinstance(layer, nn.Conv2d):
        return int(layer.stride[0])
    if isinstance(layer, nn.MaxPool2d):
        return int(layer.stride if isinstance(layer.stride, int) else layer.stride[0])
    return 1
