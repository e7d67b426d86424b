"""Torchvision's detectors of one stage: SSDlite, RetinaNet and FCOS."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, Tuple

import torch
from torch import Tensor, nn
from torchvision.models import detection as tv

from .base import NetworkFamily
from .torchvision import DETECTIONS_PER_PICTURE, SCORE_FLOOR, builder, detections_from_outputs

__all__ = ["SINGLE_STAGE"]


def _without_background(build: Callable[..., nn.Module], **options: Any) -> nn.Module:
    """A network that scores each label by a sigmoid.

    torchvision gives the background a score like any class's. Such a detection would have no class and take a place
    from one that has, so label 0 scores 0 in eval mode.
    """
    network = build(**options)
    network.get_submodule("head").register_forward_hook(_hide_background)
    return network


def _hide_background(head: nn.Module, inputs: Tuple[Any, ...], answers: Dict[str, Tensor]) -> Dict[str, Tensor]:
    if head.training:
        return answers
    logits = answers["cls_logits"]
    background = torch.full_like(logits[..., :1], -torch.inf)
    return {**answers, "cls_logits": torch.cat([background, logits[..., 1:]], dim=-1)}


_of_torchvision = partial(
    builder,
    weights=None,
    weights_backbone=None,
    score_thresh=SCORE_FLOOR,
    detections_per_img=DETECTIONS_PER_PICTURE,
)

SINGLE_STAGE = NetworkFamily(
    builders={
        "ssdlite320_mobilenet_v3_large": _of_torchvision(tv.ssdlite320_mobilenet_v3_large),
        "retinanet_resnet50_fpn": _of_torchvision(partial(_without_background, tv.retinanet_resnet50_fpn)),
        "fcos_resnet50_fpn": _of_torchvision(partial(_without_background, tv.fcos_resnet50_fpn)),
    },
    bf16_parts=("backbone", "head"),
    detections=detections_from_outputs,
)
