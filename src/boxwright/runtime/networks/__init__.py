"""Builds the torchvision detectors as plain networks, untrained.

This is the only place that knows how a network is put together; training, evaluation, the server
and the archive inside TorchServe all build through ``build_network``. It needs torch and torchvision
(0.19 or newer), which is why nothing imports it before a network is wanted.

Shapes: N pictures, H x W the canvas, K classes without background.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import torch
from torch import Tensor, nn
from torchvision.models import detection as tv
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, mobilenet_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from ..detections import Detections
from ..errors import ModelError
from ..spec import InputSpec, ModelSpec

__all__ = ["ARCHITECTURES", "CanvasTransform", "build_network", "detections_from_output"]

# torchvision cuts at 0.05. The F2 curve needs what lies below it: early in training the best
# threshold often does.
SCORE_FLOOR = 0.01
DETECTIONS_PER_PICTURE = 100  # COCO's maxDets


class CanvasTransform(nn.Module):
    """Takes the place of torchvision's GeneralizedRCNNTransform: canvases arrive resized and padded.

    Only scaling and normalising are left to do, so that they are part of every exported graph.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.register_buffer("mean", _per_channel(spec.mean), persistent=False)
        self.register_buffer("std", _per_channel(spec.std), persistent=False)

    def forward(
        self, images: Tensor, targets: Optional[List[Dict[str, Tensor]]] = None
    ) -> Tuple[ImageList, Optional[List[Dict[str, Tensor]]]]:
        """uint8 [N, 3, H, W] in 0..255 to normalised float32 [N, 3, H, W]; targets pass unchanged."""
        batch = self.normalized(images).contiguous(memory_format=torch.channels_last)
        size = (int(batch.shape[2]), int(batch.shape[3]))
        return ImageList(batch, [size] * int(batch.shape[0])), targets

    def normalized(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] in 0..255 to float32 with the mean taken off and divided by the deviation."""
        return images.to(torch.float32).div_(255.0).sub_(self.mean).div_(self.std)

    def postprocess(
        self, result: List[Dict[str, Tensor]], image_shapes: object, original_image_sizes: object
    ) -> List[Dict[str, Tensor]]:
        """Boxes stay in canvas pixels: the inverse geometry is runtime.postprocess, on every backend."""
        return result


def _per_channel(values: Tuple[float, float, float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1)


def build_network(spec: ModelSpec) -> nn.Module:
    """The untrained network of a specification, its state dict compatible with torchvision's.

    Called with uint8 [N, 3, H, W] it returns, in eval mode, one dict a picture with boxes float32
    [n, 4] xyxy in canvas pixels, labels int64 [n] in 1..K, scores float32 [n]; in training mode, and
    with targets, a dict of losses.

    Raises:
        ModelError: the architecture is unknown here.
    """
    builder = ARCHITECTURES.get(spec.architecture)
    if builder is None:
        raise ModelError(
            f"Architecture {spec.architecture!r} is unknown.", f"Known: {', '.join(sorted(ARCHITECTURES))}."
        )
    network = builder(num_classes=len(spec.classes) + 1)  # torchvision's label 0 is the background
    network.transform = CanvasTransform(spec.input)
    if "norm_eps" in spec.network:
        _set_norm_eps(network, float(spec.network["norm_eps"]))
    channels_last: nn.Module = network.to(memory_format=torch.channels_last)
    return channels_last


def _set_norm_eps(network: nn.Module, eps: float) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps


def detections_from_output(output: Mapping[str, Tensor]) -> Detections:
    """One torchvision answer to ``Detections`` in canvas pixels; the background offset ends here."""
    return Detections(
        output["boxes"].float().cpu().numpy(),
        output["scores"].float().cpu().numpy(),
        output["labels"].cpu().numpy() - 1,
    )


def _two_stage(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def build(num_classes: int) -> nn.Module:
        network: nn.Module = builder(weights=None, weights_backbone=None, num_classes=num_classes, **_BOX_OPTIONS)
        return network

    return build


_BOX_OPTIONS: Dict[str, Any] = {"box_score_thresh": SCORE_FLOOR, "box_detections_per_img": DETECTIONS_PER_PICTURE}


def _ssdlite(num_classes: int) -> nn.Module:
    options: Dict[str, Any] = {"score_thresh": SCORE_FLOOR, "detections_per_img": DETECTIONS_PER_PICTURE}
    network: nn.Module = tv.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=num_classes, **options
    )
    return network


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
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=1000,
        rpn_pre_nms_top_n_test=500,
        rpn_post_nms_top_n_test=300,
        box_batch_size_per_image=128,
        **_BOX_OPTIONS,
    )
    return network


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


ARCHITECTURES: Dict[str, Callable[..., nn.Module]] = {
    "fasterrcnn_resnet50_fpn": _two_stage(tv.fasterrcnn_resnet50_fpn),
    "fasterrcnn_resnet50_fpn_v2": _two_stage(tv.fasterrcnn_resnet50_fpn_v2),
    "fasterrcnn_mobilenet_v3_large_fpn": _two_stage(tv.fasterrcnn_mobilenet_v3_large_fpn),
    "fasterrcnn_mobilenet_v3_large_320_fpn": _two_stage(tv.fasterrcnn_mobilenet_v3_large_320_fpn),
    "fasterrcnn_mobilenet_v2_fpn": _mobilenet_v2_fpn,
    "fasterrcnn_tiny_fpn": _tiny_fpn,
    "ssdlite320_mobilenet_v3_large": _ssdlite,
}
"""Builders by catalogue key; each takes num_classes, background included."""
