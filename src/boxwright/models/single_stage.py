"""Torchvision's detectors of one stage, as facts; their networks are in ``boxwright.runtime.networks.single_stage``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from boxwright.runtime import ModelSpec

from .family import Architecture, ClassRows, GraphPlan
from .torchvision import TorchvisionFamily

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SingleStage"]

# torchvision's heads answer for every anchor of a place in turn
_SSD_HEAD = ClassRows(r"head\.classification_head\.module_list\.\d+\.1\.(weight|bias)", outer=6, before=1)
_RETINANET_HEAD = ClassRows(r"head\.classification_head\.cls_logits\.(weight|bias)", outer=9, before=1)
_FCOS_HEAD = replace(_RETINANET_HEAD, outer=1)


class SingleStage(TorchvisionFamily):
    """SSDlite, RetinaNet and FCOS."""

    rows = (
        Architecture(
            "ssdlite320_mobilenet_v3_large",
            "One stage, tiny; a small processor, large objects.",
            (320, 320),
            5e-4,
            (_SSD_HEAD,),
            coco_weights="SSDLite320_MobileNet_V3_Large_Weights.COCO_V1",
            backbone_weights=None,  # torchvision's cuts the backbone in other places
            coco_norm_eps=1e-3,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        Architecture(
            "retinanet_resnet50_fpn",
            "One stage, anchors and the focal loss; wants a GPU to train.",
            (640, 640),
            1e-4,
            (_RETINANET_HEAD,),
            coco_weights="RetinaNet_ResNet50_FPN_Weights.COCO_V1",
            backbone_weights="ResNet50_Weights.IMAGENET1K_V1",
            coco_norm_eps=0.0,  # torchvision sets it so for these weights
        ),
        Architecture(
            "fcos_resnet50_fpn",
            "One stage without anchors; wants a GPU to train.",
            (640, 640),
            1e-4,
            (_FCOS_HEAD,),
            coco_weights="FCOS_ResNet50_FPN_Weights.COCO_V1",
            backbone_weights="ResNet50_Weights.IMAGENET1K_V1",
        ),
    )

    def graph_plan(self, network: nn.Module, spec: ModelSpec) -> GraphPlan:
        """See ``Family.graph_plan``."""
        from .single_stage_graph import plan_single_stage

        return plan_single_stage(network, spec)
