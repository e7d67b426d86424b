"""Which parts of a network learn."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

__all__ = ["freeze_batchnorm", "freeze_stages", "hold_frozen_batchnorm", "learns_statistics", "stages_of"]


def freeze_batchnorm(blocks: Iterable[nn.Module]) -> None:
    """Keep the BatchNorms of a backbone as they were loaded: scale and shift do not learn, statistics stay.

    Those of necks and heads learn: pretrained backbones do not bring them, and frozen at their
    initial values they would normalise nothing.

    The statistics stay only in eval mode, and ``network.train()`` ends that: call ``hold_frozen_batchnorm`` after it.

    Args:
        blocks: of ``Family.blocks``.
    """
    for block in blocks:
        for norm in _batchnorms(block):
            norm.requires_grad_(False)
        hold_frozen_batchnorm(block)


def hold_frozen_batchnorm(network: nn.Module) -> None:
    """Put the BatchNorms that do not learn back into eval mode."""
    for norm in _batchnorms(network):
        if not _learns(norm):
            norm.eval()


def learns_statistics(network: nn.Module) -> bool:
    """Whether a network has BatchNorms that learn: a batch of one picture has no statistics for them."""
    return any(_learns(norm) for norm in _batchnorms(network))


def _learns(norm: nn.BatchNorm2d) -> bool:
    return norm.weight is None or norm.weight.requires_grad


def _batchnorms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def freeze_stages(blocks: Iterable[nn.Module], trainable: int) -> int:
    """Freeze a backbone but for its last stages.

    Stages are counted from the output, as torchvision's ``trainable_backbone_layers`` counts them.

    Args:
        blocks: of ``Family.blocks``.
        trainable: stages that learn; as many as there are, or more, freezes nothing.

    Returns:
        How many stages were frozen.
    """
    stages = stages_of(blocks)
    frozen = stages[: max(len(stages) - trainable, 0)]
    for stage in frozen:
        for module in stage:
            module.requires_grad_(False)
    return len(frozen)


def stages_of(blocks: Iterable[nn.Module]) -> list[list[nn.Module]]:
    """Blocks grouped by stage, from the input on; a stage is what lies between two halvings of the resolution."""
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
