"""Torchvision's detectors of two stages, as facts; their networks are in ``boxwright.runtime.networks.two_stage``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from boxwright.runtime import ModelSpec

from .family import Architecture, ClassRows, GraphPlan
from .torchvision import TorchvisionFamily

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torchvision.models.detection.faster_rcnn import FasterRCNN

    from .sharing import Share

__all__ = ["TwoStage"]

_PREDICTOR = r"roi_heads\.box_predictor\."
_HEAD = (
    ClassRows(_PREDICTOR + r"cls_score\.(weight|bias)", before=1),
    ClassRows(_PREDICTOR + r"bbox_pred\.(weight|bias)", inner=4, before=1),
)
_row = partial(Architecture, class_rows=_HEAD)
_MOBILENET_V3_EPS = 1e-3  # as torchvision's classifier has it; its detectors do not


class TwoStage(TorchvisionFamily):
    """Faster R-CNN on several backbones."""

    rows = (
        _row(
            "fasterrcnn_resnet50_fpn",
            "The reference: accurate, wants a GPU to train.",
            (640, 640),
            1e-4,
            coco_weights="FasterRCNN_ResNet50_FPN_Weights.COCO_V1",
            backbone_weights="ResNet50_Weights.IMAGENET1K_V1",
            coco_norm_eps=0.0,  # torchvision sets it so for these weights alone
        ),
        _row(
            "fasterrcnn_resnet50_fpn_v2",
            "The most accurate of these, and the slowest.",
            (640, 640),
            1e-4,
            coco_weights="FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
            backbone_weights="ResNet50_Weights.IMAGENET1K_V1",
        ),
        _row(
            "fasterrcnn_mobilenet_v3_large_fpn",
            "Fast on a CPU.",
            (640, 640),
            2e-4,
            coco_weights="FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1",
            backbone_weights="MobileNet_V3_Large_Weights.IMAGENET1K_V1",
            backbone_norm_eps=_MOBILENET_V3_EPS,
        ),
        _row(
            "fasterrcnn_mobilenet_v3_large_320_fpn",
            "The fastest on a CPU; large objects.",
            (320, 320),
            2e-4,
            coco_weights="FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1",
            backbone_weights="MobileNet_V3_Large_Weights.IMAGENET1K_V1",
            backbone_norm_eps=_MOBILENET_V3_EPS,
        ),
        _row(
            "fasterrcnn_mobilenet_v2_fpn",
            "Trains on a CPU; twice the channels of its second version.",
            (416, 416),
            3e-4,
            backbone_weights="MobileNet_V2_Weights.IMAGENET1K_V1",
        ),
        _row(
            "fasterrcnn_mobilenet_v2_fpn_v2",
            "Trains on a CPU; small objects too, and edges more exactly than the one above.",
            (512, 512),
            2e-4,
            backbone_weights="MobileNet_V2_Weights.IMAGENET1K_V1",
        ),
        _row(
            "fasterrcnn_tiny_fpn",
            "Learns simple shapes from scratch in a minute; the demo's.",
            (192, 192),
            3e-3,
        ),
    )

    def losses(
        self,
        network: nn.Module,
        canvases: Tensor,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        share: Share | None = None,
    ) -> dict[str, Tensor]:
        """See ``Family.losses``."""
        from .box_samplers import sampling
        from .roi_align import pooling_sparsely

        with pooling_sparsely(network), sampling(network, share) as samples:
            return samples.shared(super().losses(network, canvases, boxes, labels))

    def graph_plan(self, network: nn.Module, spec: ModelSpec) -> GraphPlan:
        """See ``Family.graph_plan``."""
        from .two_stage_graph import plan_two_stage

        return plan_two_stage(cast("FasterRCNN", network), spec)
