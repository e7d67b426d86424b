"""Untrained detectors that have something to say."""

import re

import numpy as np
import torch
from torchvision.models.detection import FCOS

from boxwright.models import CATALOGUE, find_architecture, find_family
from boxwright.models.transformers_detectors import TransformersFamily
from boxwright.runtime import ClassEntry, Execution, ModelSpec
from boxwright.runtime.backends.onnxruntime import OnnxRuntimeBackend
from boxwright.runtime.backends.openvino import OpenVinoBackend
from boxwright.runtime.networks import build_network

CLASSES = (ClassEntry(1, "fish"), ClassEntry(5, "ray"), ClassEntry(6, "eel"))

_HGNET = {
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 16, 16, 32],
    "stage_mid_channels": [8, 8, 8, 8],
    "stage_out_channels": [16, 16, 32, 32],
    "hidden_sizes": [16, 16, 32, 32],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1, 1],
}
_LITE_HGNET = {name: values[:3] for name, values in _HGNET.items()}
_SMALL = {
    "num_queries": 16,
    "d_model": 32,
    "decoder_layers": 2,
    "decoder_ffn_dim": 32,
}
_TWO_LEVELS = {
    **_SMALL,
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 32,
    "encoder_in_channels": [32, 32],
    "decoder_in_channels": [32, 32],
    "decoder_n_points": [2, 2],
    "backbone_config": _HGNET,
}
SMALL = {
    "rtdetr_v2_r18": {
        **_SMALL,
        "encoder_hidden_dim": 32,
        "encoder_ffn_dim": 32,
        "encoder_in_channels": [16, 16, 32],
        "decoder_in_channels": [32, 32, 32],
        "backbone_config": {"embedding_size": 16, "hidden_sizes": [16, 16, 16, 32], "depths": [1, 1, 1, 1]},
    },
    "dfine_n": _TWO_LEVELS,
    "deimv2_n": _TWO_LEVELS,
    "deimv2_atto": {
        **_SMALL,
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [32],
        "decoder_in_channels": [32, 32],
        "backbone_config": _LITE_HGNET,
    },
    "rfdetr_nano": {
        **_SMALL,
        "group_detr": 2,
        "decoder_self_attention_heads": 4,
        "decoder_cross_attention_heads": 4,
        "backbone_config": {
            "hidden_size": 48,
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "image_size": 96,
            "out_features": ["stage1", "stage3"],
        },
    },
}
"""One of each class of transformers' networks, and what makes it small: as published, tests would take minutes."""

TRIED = sorted(name for name in CATALOGUE if name in SMALL or not isinstance(find_family(name), TransformersFamily))
"""Every architecture that is a network of its own: of transformers' rows one of each class."""


def small_options(architecture):
    """``ModelSpec.network`` of a network that is small enough for a test."""
    return {"config": SMALL[architecture]} if architecture in SMALL else {}


def canvas_of(architecture, height, width=None):
    """A canvas, square where the architecture wants it."""
    row = find_architecture(architecture)
    return row.canvas(height, height if row.square else width or height, "letterbox")


def spec_of(architecture, height, width=None):
    canvas = canvas_of(architecture, height, width)
    return ModelSpec("made", architecture, CLASSES, canvas, small_options(architecture))


# the last layers, and the standard deviation of their answers
_SPREAD = {
    r"cls_logits|cls_score|classification_head\.module_list\.\d\.1": 2.0,
    r"bbox_pred|bbox_reg|regression_head\.module_list\.\d\.1": 0.3,
    r"bbox_ctrness": 1.0,
    # transformers': heads of its decoders' layers, and of the places that queries begin at
    r"class_embed\.\d|class_embed|enc_score_head|enc_out_class_embed\.\d": 2.0,
    r"(bbox_embed\.\d|enc_bbox_head)\.layers\.2": 1.0,
    r"(bbox_embed|enc_out_bbox_embed\.\d)\.layers\.2": 0.2,
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
        if spread and hasattr(module, "weight"):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
            answers[module] = (spread, [])
            hooks.append(module.register_forward_hook(lambda module, _, output: answers[module][1].append(output)))
    with torch.no_grad():
        network(pictures)
        for module, (spread, outputs) in answers.items():
            if not outputs:  # it shares its weights with one that answers
                continue
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
        network(pictures) if hasattr(network, "network") else network.backbone(network.transform.normalized(pictures))
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
