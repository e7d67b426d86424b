"""Untrained detectors that have something to say."""

import re

import numpy as np
import torch
from torchvision.models.detection import FCOS

from boxwright.models import find_architecture
from boxwright.runtime import ClassEntry, Execution, ModelSpec
from boxwright.runtime.backends.onnxruntime import OnnxRuntimeBackend
from boxwright.runtime.backends.openvino import OpenVinoBackend
from boxwright.runtime.networks import build_network

CLASSES = (ClassEntry(1, "fish"), ClassEntry(5, "ray"), ClassEntry(6, "eel"))


def spec_of(architecture, height, width=None):
    canvas = find_architecture(architecture).canvas(height, width or height, "letterbox")
    return ModelSpec("made", architecture, CLASSES, canvas)


# the last layers, and the standard deviation of their answers
_SPREAD = {
    r"cls_logits|cls_score|classification_head\.module_list\.\d\.1": 2.0,
    r"bbox_pred|bbox_reg|regression_head\.module_list\.\d\.1": 0.3,
    r"bbox_ctrness": 1.0,
}


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
    """The last layers' weights anew, so that their answers, of all levels, have the deviation of ``_SPREAD``."""
    answers, hooks = {}, []
    for name, module in network.named_modules():
        spread = next((spread for kind, spread in _SPREAD.items() if re.search(rf"(^|\.)({kind})$", name)), None)
        if spread:
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
            answers[module] = (spread, [])
            hooks.append(module.register_forward_hook(lambda module, _, output: answers[module][1].append(output)))
    with torch.no_grad():
        network(pictures)
        for module, (spread, outputs) in answers.items():
            factor = spread / torch.cat([output.flatten() for output in outputs]).std().clamp(min=1e-6)
            module.weight.mul_(factor)
            module.bias.mul_(factor)
            if isinstance(network, FCOS) and spread == 0.3:
                module.bias.add_(1.0)  # distances from a centre to the edges: a box has some on either side
    for hook in hooks:
        hook.remove()


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


def graph_backends(graph, precision="fp32"):
    """A graph in each runtime that runs graphs."""
    onnxruntime = OnnxRuntimeBackend(graph, "made", Execution("onnxruntime", precision))
    return onnxruntime, OpenVinoBackend(graph, "made", Execution("openvino", precision))


def canvases(count, height, width=None):
    """Blocks of colour, uint8 [count, 3, height, width]."""
    size = (count, 3, height // 16, (width or height) // 16)
    blocks = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    return np.ascontiguousarray(blocks.repeat(16, axis=2).repeat(16, axis=3))
