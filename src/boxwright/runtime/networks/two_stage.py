"""Torchvision's detectors of two stages: Faster R-CNN on several backbones."""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

from torch import nn
from torchvision.models import detection as tv
from torchvision.models import mobilenet_v2
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, mobilenet_backbone
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

from ..spec import ModelSpec
from .base import NetworkFamily
from .torchvision import DETECTIONS_PER_PICTURE, SCORE_FLOOR, builder, detections_from_outputs

__all__ = ["TWO_STAGE"]

_WIDTH = 128  # channels of the pyramid
_BOX_OPTIONS: Dict[str, Any] = {"box_score_thresh": SCORE_FLOOR, "box_detections_per_img": DETECTIONS_PER_PICTURE}
_MOBILENET_V2_OPTIONS: Dict[str, Any] = {
    "rpn_pre_nms_top_n_train": 1000,
    "rpn_post_nms_top_n_train": 1000,
    "rpn_pre_nms_top_n_test": 500,
    "rpn_post_nms_top_n_test": 300,
    "box_batch_size_per_image": 128,
    **_BOX_OPTIONS,
}


def _mobilenet_v2_fpn(num_classes: int) -> nn.Module:
    # Stages of torchvision's extractor, by stride: 0: 2, 1: 4, 2: 8, 3: 16, 4 and 5: 32. Its default
    # takes the two of stride 32, which leaves nothing to see a small fish by.
    backbone = mobilenet_backbone(
        backbone_name="mobilenet_v2",
        weights=None,
        fpn=True,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=6,
        returned_layers=[2, 3, 5],
    )
    anchors = AnchorGenerator(((24,), (56,), (128,), (288,)), ((0.5, 1.0, 2.0),) * 4)
    pooler = MultiScaleRoIAlign(featmap_names=["0", "1", "2"], output_size=7, sampling_ratio=2)
    network: nn.Module = tv.FasterRCNN(
        backbone,
        num_classes=num_classes,
        rpn_anchor_generator=anchors,
        box_roi_pool=pooler,
        **_MOBILENET_V2_OPTIONS,
    )
    return network


def _mobilenet_v2_fpn_v2(num_classes: int) -> nn.Module:
    # By stride, 4 to 32, the last block that has it: torchvision's extractor takes the first, which sees less.
    body = mobilenet_v2(weights=None).features
    backbone = BackboneWithFPN(body, {"3": "0", "6": "1", "13": "2", "18": "3"}, [24, 32, 96, 1280], _WIDTH)
    # The finest level has three times the places of all others, and boxes are pooled from it, no more: a ninth of
    # the arithmetic is enough there.
    backbone.fpn.layer_blocks[0] = nn.Sequential(
        nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, groups=_WIDTH), nn.Conv2d(_WIDTH, _WIDTH, 1)
    )
    anchors = AnchorGenerator(((24,), (56,), (128,), (288,)), ((0.5, 1.0, 2.0),) * 4)
    head = RPNHead(_WIDTH, anchors.num_anchors_per_location()[0])
    for part in (anchors, head):
        part.register_forward_pre_hook(_without_finest)
    network: nn.Module = tv.FasterRCNN(
        backbone,
        num_classes=num_classes,
        rpn_anchor_generator=anchors,
        rpn_head=head,
        box_roi_pool=MultiScaleRoIAlign(featmap_names=["0", "1", "2", "3"], output_size=7, sampling_ratio=2),
        # Corners are learned from the boxes of a step: 64 per picture taught them clearly less well than 256.
        **{**_MOBILENET_V2_OPTIONS, "box_batch_size_per_image": 256},
    )
    return network


def _without_finest(module: nn.Module, inputs: Tuple[Any, ...]) -> Tuple[Any, ...]:
    """Before a module is called: its last input, a list of levels, without the first of them."""
    return (*inputs[:-1], inputs[-1][1:])


def _tiny_fpn(num_classes: int) -> nn.Module:
    backbone = BackboneWithFPN(
        _tiny_body(),
        return_layers={"3": "0", "5": "1"},
        in_channels_list=[64, 128],
        out_channels=64,
    )
    pooler = MultiScaleRoIAlign(featmap_names=["0", "1"], output_size=5, sampling_ratio=2)
    network: nn.Module = tv.FasterRCNN(
        backbone,
        num_classes=None,
        rpn_anchor_generator=AnchorGenerator(((24,), (48,), (96,)), ((0.5, 1.0, 2.0),) * 3),
        box_roi_pool=pooler,
        box_head=tv.faster_rcnn.TwoMLPHead(64 * 5 * 5, 256),
        box_predictor=tv.faster_rcnn.FastRCNNPredictor(256, num_classes),
        rpn_pre_nms_top_n_train=400,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_test=100,
        rpn_batch_size_per_image=128,
        box_batch_size_per_image=128,
        **_BOX_OPTIONS,
    )
    return network


def _tiny_body() -> nn.Sequential:
    plan = ((3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1))
    return nn.Sequential(*(_convolution(*layer) for layer in plan))


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _of_torchvision(build: Callable[..., nn.Module]) -> Callable[[ModelSpec], nn.Module]:
    return builder(build, weights=None, weights_backbone=None, **_BOX_OPTIONS)


TWO_STAGE = NetworkFamily(
    builders={
        "fasterrcnn_resnet50_fpn": _of_torchvision(tv.fasterrcnn_resnet50_fpn),
        "fasterrcnn_resnet50_fpn_v2": _of_torchvision(tv.fasterrcnn_resnet50_fpn_v2),
        "fasterrcnn_mobilenet_v3_large_fpn": _of_torchvision(tv.fasterrcnn_mobilenet_v3_large_fpn),
        "fasterrcnn_mobilenet_v3_large_320_fpn": _of_torchvision(tv.fasterrcnn_mobilenet_v3_large_320_fpn),
        "fasterrcnn_mobilenet_v2_fpn": builder(_mobilenet_v2_fpn),
        "fasterrcnn_mobilenet_v2_fpn_v2": builder(_mobilenet_v2_fpn_v2),
        "fasterrcnn_tiny_fpn": builder(_tiny_fpn),
    },
    bf16_parts=("backbone", "rpn.head", "roi_heads.box_head", "roi_heads.box_predictor"),
    detections=detections_from_outputs,
)
