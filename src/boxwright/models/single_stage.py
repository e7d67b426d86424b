"""Torchvision's detectors of one stage, as facts; their networks are in ``boxwright.runtime.networks.single_stage``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from boxwright.runtime import ModelSpec

from .family import Architecture, ClassRows, GraphPlan
from .torchvision import TorchvisionFamily

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .sharing import Share

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

    def losses(
        self,
        network: nn.Module,
        canvases: Tensor,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        share: Share | None = None,
    ) -> dict[str, Tensor]:
        """See ``Family.losses``."""
        if share is None:
            return super().losses(network, canvases, boxes, labels)
        with _computed_together(network, share):
            return super().losses(network, canvases, boxes, labels)

    def graph_plan(self, network: nn.Module, spec: ModelSpec) -> GraphPlan:
        """See ``Family.graph_plan``."""
        from .single_stage_graph import plan_single_stage

        return plan_single_stage(network, spec)


@contextmanager
def _computed_together(network: nn.Module, share: Share) -> Iterator[None]:
    """Let every process compute the losses of the whole batch from the answers of all, within the block."""
    detector = cast(Any, network)
    plain = detector.compute_loss

    def compute(
        targets: list[Any], answers: dict[str, Tensor], anchors: list[Tensor], *others: Any
    ) -> dict[str, Tensor]:
        together = {name: share.gathered(value) for name, value in answers.items()}
        everyones = share.listed(targets)
        same = anchors[:1] * len(everyones)  # all canvases of a batch have one size
        losses = plain(everyones, together, same, *(_of_all(one, share) for one in others))
        return {name: share.part(value) for name, value in losses.items()}

    detector.compute_loss = compute
    try:
        yield
    finally:
        del detector.compute_loss


def _of_all(value: Any, share: Share) -> Any:
    """SSD's matches, one tensor per picture, of all pictures; FCOS's counts of anchors are those of any picture."""
    per_picture = all(hasattr(one, "shape") for one in value)
    return share.listed(value) if per_picture else value
