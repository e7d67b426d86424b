"""Untrained detectors that have something to say."""

import numpy as np
import torch

from boxwright.models import find_architecture
from boxwright.runtime import ClassEntry, ModelSpec
from boxwright.runtime.networks import build_network

CLASSES = (ClassEntry(1, "fish"), ClassEntry(5, "ray"), ClassEntry(6, "eel"))


def spec_of(architecture, height, width=None):
    canvas = find_architecture(architecture).canvas(height, width or height, "letterbox")
    return ModelSpec("made", architecture, CLASSES, canvas)


_SPREAD = {"cls_logits": 2.0, "cls_score": 2.0, "bbox_pred": 0.3, "classification_head": 2.0, "regression_head": 0.3}


def opinionated(spec):
    """A network whose scores and boxes differ from each other, as a trained one's do; new ones give ties."""
    torch.manual_seed(0)
    network = build_network(spec)
    pictures = torch.from_numpy(canvases(4, spec.input.height, spec.input.width))
    _calibrate(network, pictures)
    network.eval()
    for _ in range(2):  # the second time on the boxes that the first gave
        _spread(network, pictures[:1])
    return network


def _spread(network, pictures):
    """The last layers' weights anew, so that what they say has the standard deviation of ``_SPREAD``."""
    hooks = []
    for name, module in network.named_modules():
        kind = next((kind for kind in _SPREAD if kind in name), None)
        if kind and isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias) if module.bias is not None else None
            hooks.append(module.register_forward_hook(_scaled(_SPREAD[kind])))
    with torch.inference_mode(False), torch.no_grad():
        network(pictures)
    for hook in hooks:
        hook.remove()


def _scaled(spread):
    def scale(module, inputs, output):
        factor = spread / output.std().clamp(min=1e-6)
        module.weight.mul_(factor)
        if module.bias is not None:
            module.bias.mul_(factor)
        return output * factor

    return scale


def _calibrate(network, pictures):
    """BatchNorm's statistics from these pictures; with its initial ones deep networks say the same everywhere."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    network.train()
    with torch.no_grad():
        network.backbone(network.transform.normalized(pictures))
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum


def canvases(count, height, width=None):
    """Blocks of colour, uint8 [count, 3, height, width]."""
    size = (count, 3, height // 16, (width or height) // 16)
    blocks = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    return np.ascontiguousarray(blocks.repeat(16, axis=2).repeat(16, axis=3))
