"""Detectors of Hugging Face's transformers: RT-DETRv2, D-FINE, DEIMv2 and RF-DETR.

They are built from transformers' own classes; what makes a row is its configuration below, after transformers'
conversion scripts and, for DEIMv2, the configurations of its authors. transformers is imported when a network is built.

Shapes: N pictures, H x W the canvas, Q queries, K classes, D detections.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ..backends.graph import OUTPUTS, detections_of_padded
from ..detections import Detections
from ..errors import ConfigError, MissingDependency, ModelError
from ..spec import CONFIG, InputSpec, ModelSpec
from .base import NetworkFamily
from .torchvision import DETECTIONS_PER_PICTURE, SCORE_FLOOR, CanvasTransform

__all__ = ["TRANSFORMERS", "Kind", "kind_of", "load_class", "own_options", "row_options", "transformers_config"]

_BACKBONE = "backbone_config"
# Frozen by ``boxwright.models.freezing`` or not at all; sizes are the canvas's.
_FIXED = {"freeze_backbone_batch_norms": False, "anchor_image_size": None, "eval_size": None}
_SETTLED = frozenset({*_FIXED, _BACKBONE, "tie_word_embeddings", "disable_custom_kernels"})


@dataclass(frozen=True)
class Kind:
    """Architectures that are of one class of transformers.

    Attributes:
        name: transformers' ``model_type``.
        config: name of its configuration class.
        network: name of its class.
        fixed: options that are neither a row's nor a specification's.
        coefficients: by the beginning of a loss's name the option that it is multiplied by; empty where transformers
            has multiplied them.
    """

    name: str
    config: str
    network: str
    fixed: Mapping[str, Any]
    coefficients: Mapping[str, str]


_RT_DETR = Kind("rt_detr_v2", "RTDetrV2Config", "RTDetrV2ForObjectDetection", _FIXED, {})
_D_FINE = Kind("d_fine", "DFineConfig", "DFineForObjectDetection", _FIXED, {})
_DEIM = Kind("deimv2", "Deimv2Config", "Deimv2ForObjectDetection", _FIXED, {})
_RF_DETR = Kind(
    "rf_detr",
    "RfDetrConfig",
    "RfDetrForObjectDetection",
    {},
    {
        "loss_ce": "class_loss_coefficient",
        "loss_bbox": "bbox_loss_coefficient",
        "loss_giou": "giou_loss_coefficient",
    },
)


def _resnet(layer_type: str, hidden_sizes: Sequence[int], depths: Sequence[int]) -> Dict[str, Any]:
    return {
        "model_type": "rt_detr_resnet",
        "layer_type": layer_type,
        "hidden_sizes": list(hidden_sizes),
        "depths": list(depths),
        "out_indices": [2, 3, 4],
    }


def _hgnet(
    inner: Sequence[int], blocks: Sequence[int], layers: int, last: Sequence[int], **options: Any
) -> Dict[str, Any]:
    """A HGNetV2: channels within its stages, blocks of each, layers of each block, and the stages' channels."""
    count = len(inner)
    return {
        "model_type": "hgnet_v2",
        "stage_in_channels": [inner[0], *last[:-1]],
        "stage_mid_channels": list(inner),
        "stage_out_channels": list(last),
        "stage_num_blocks": list(blocks),
        "stage_numb_of_layers": [layers] * count,
        "stage_downsample": [False, True, True, True][:count],
        "stage_light_block": [False, False, True, True][:count],
        "stage_kernel_size": [3, 3, 5, 5][:count],
        "hidden_sizes": list(last),
        "depths": [layers] * count,
        **options,
    }


_B0 = partial(_hgnet, (16, 32, 64, 128), (1, 1, 2, 1), 3, (64, 256, 512, 1024))
_SMALL_STEM: Dict[str, Any] = {"stem_channels": [3, 16, 16], "use_learnable_affine_block": True}
_TWO_LEVELS: Dict[str, Any] = {
    "num_feature_levels": 2,
    "feat_strides": [16, 32],
    "encode_proj_layers": [1],
    "encoder_in_channels": [512, 1024],
    "encoder_hidden_dim": 128,
    "encoder_ffn_dim": 512,
    "d_model": 128,
    "decoder_in_channels": [128, 128],
    "decoder_ffn_dim": 512,
    "decoder_n_points": [6, 6],
    "decoder_layers": 3,
    "hidden_expansion": 0.34,
    "depth_mult": 0.5,
}


def _lite(width: int, queries: int, ffn: int, backbone: Mapping[str, Any]) -> Dict[str, Any]:
    """One of DEIMv2's smallest: no attention before the decoder, one box head for all layers, two losses fewer."""
    return {
        "encoder_type": "lite",
        "encoder_layers": 0,
        "num_feature_levels": 2,
        "feat_strides": [16],
        "encoder_in_channels": [backbone["stage_out_channels"][-1]],
        "encoder_hidden_dim": width,
        "d_model": width,
        "decoder_in_channels": [width, width],
        "decoder_ffn_dim": ffn,
        "decoder_n_points": [4, 2],
        "decoder_layers": 3,
        "decoder_activation_function": "silu",
        "num_queries": queries,
        "hidden_expansion": 0.34,
        "depth_mult": 0.5,
        "share_bbox_head": True,
        "use_gateway": False,
        "use_dense_one_to_one": False,
        "weight_loss_fgl": 0.0,
        "weight_loss_ddf": 0.0,
        "focal_loss_gamma": 1.5,
        _BACKBONE: dict(backbone),
    }


_DFINE_POINTS: Dict[str, Any] = {"decoder_n_points": [3, 6, 3]}


def _windowed_vit(side: int, patch: int, windows: int, out: Sequence[int]) -> Dict[str, Any]:
    """A DINOv2-S whose attention stays in windows but for the layers that are read."""
    return {
        "model_type": "rf_detr_dinov2",
        "hidden_size": 384,
        "num_attention_heads": 6,
        "num_hidden_layers": 12,
        "patch_size": patch,
        "num_windows": windows,
        "image_size": side,
        "out_features": [f"stage{layer}" for layer in out],
    }


def _rf_detr(layers: int, backbone: Mapping[str, Any]) -> Dict[str, Any]:
    return {"decoder_layers": layers, "decoder_n_points": 2, _BACKBONE: dict(backbone)}


_ROWS: Dict[str, Tuple[Kind, Dict[str, Any]]] = {
    "rtdetr_v2_r18": (
        _RT_DETR,
        {
            "encoder_in_channels": [128, 256, 512],
            "hidden_expansion": 0.5,
            "decoder_layers": 3,
            _BACKBONE: _resnet("basic", (64, 128, 256, 512), (2, 2, 2, 2)),
        },
    ),
    "rtdetr_v2_r34": (
        _RT_DETR,
        {
            "encoder_in_channels": [128, 256, 512],
            "hidden_expansion": 0.5,
            "decoder_layers": 4,
            _BACKBONE: _resnet("basic", (64, 128, 256, 512), (3, 4, 6, 3)),
        },
    ),
    "rtdetr_v2_r50": (_RT_DETR, {_BACKBONE: _resnet("bottleneck", (256, 512, 1024, 2048), (3, 4, 6, 3))}),
    "dfine_n": (_D_FINE, {**_TWO_LEVELS, _BACKBONE: _B0(**_SMALL_STEM, out_indices=[3, 4])}),
    "dfine_s": (
        _D_FINE,
        {
            **_DFINE_POINTS,
            "encoder_in_channels": [256, 512, 1024],
            "decoder_layers": 3,
            "hidden_expansion": 0.5,
            "depth_mult": 0.34,
            _BACKBONE: _B0(**_SMALL_STEM, out_indices=[2, 3, 4]),
        },
    ),
    "dfine_m": (
        _D_FINE,
        {
            **_DFINE_POINTS,
            "encoder_in_channels": [384, 768, 1536],
            "decoder_layers": 4,
            "depth_mult": 0.67,
            _BACKBONE: _hgnet(
                (32, 64, 128, 256),
                (1, 1, 3, 1),
                4,
                (96, 384, 768, 1536),
                stem_channels=[3, 24, 32],
                use_learnable_affine_block=True,
                out_indices=[2, 3, 4],
            ),
        },
    ),
    "dfine_l": (
        _D_FINE,
        {
            **_DFINE_POINTS,
            "decoder_layers": 6,
            _BACKBONE: _hgnet(
                (48, 96, 192, 384),
                (1, 1, 3, 1),
                6,
                (128, 512, 1024, 2048),
                stem_channels=[3, 32, 48],
                out_indices=[2, 3, 4],
            ),
        },
    ),
    "deimv2_atto": (
        _DEIM,
        _lite(
            64,
            100,
            160,
            _hgnet(
                (16, 32, 64),
                (1, 1, 1),
                3,
                (64, 256, 256),
                **_SMALL_STEM,
                stage_kernel_size=[3, 3, 3],
                out_indices=[3],
            ),
        ),
    ),
    "deimv2_femto": (
        _DEIM,
        _lite(96, 150, 256, _hgnet((16, 32, 64), (1, 1, 1), 3, (64, 256, 512), **_SMALL_STEM, out_indices=[3])),
    ),
    "deimv2_pico": (
        _DEIM,
        _lite(112, 200, 320, _hgnet((16, 32, 64), (1, 1, 2), 3, (64, 256, 512), **_SMALL_STEM, out_indices=[3])),
    ),
    "deimv2_n": (
        _DEIM,
        {
            **_TWO_LEVELS,
            "decoder_activation_function": "silu",
            "focal_loss_gamma": 1.5,
            _BACKBONE: _B0(**_SMALL_STEM, out_indices=[3, 4]),
        },
    ),
    "rfdetr_nano": (_RF_DETR, _rf_detr(2, _windowed_vit(384, 16, 2, (3, 6, 9, 12)))),
    "rfdetr_small": (_RF_DETR, _rf_detr(3, _windowed_vit(512, 16, 2, (3, 6, 9, 12)))),
    "rfdetr_medium": (_RF_DETR, _rf_detr(4, _windowed_vit(576, 16, 2, (3, 6, 9, 12)))),
    "rfdetr_base": (_RF_DETR, _rf_detr(3, _windowed_vit(518, 14, 4, (2, 5, 8, 11)))),
}


def kind_of(architecture: str) -> Kind:
    """Which class of transformers an architecture is of."""
    return _ROWS[architecture][0]


def row_options(architecture: str) -> Dict[str, Any]:
    """The options of transformers' configuration that make an architecture, those of its backbone within."""
    return _ROWS[architecture][1]


def load_class(name: str) -> Any:
    """A class of transformers.

    Raises:
        MissingDependency: transformers is not installed, or older than 5.18, whose losses count noise as detections.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingDependency("This model needs transformers.", "pip install 'boxwright[hf]'") from error
    if not hasattr(transformers, name):
        raise MissingDependency(
            f"transformers {transformers.__version__} has no {name}.", "pip install --upgrade 'boxwright[hf]'"
        )
    return getattr(transformers, name)


def own_options(config: Any) -> FrozenSet[str]:
    """Names of the options that a configuration of transformers has of its own, but for those that are settled here."""
    general = {item.name for item in fields(load_class("PreTrainedConfig"))}
    return frozenset(item.name.lstrip("_") for item in fields(type(config))) - general - _SETTLED


def transformers_config(spec: ModelSpec) -> Any:
    """Transformers' configuration of a specification: its row's options, and those of ``spec.network`` in their place.

    Raises:
        MissingDependency: see ``load_class``.
        ModelError: ``spec.network`` names an option that there is not, or a value that does not fit.
    """
    kind, row = _ROWS[spec.architecture]
    own = dict(spec.network.get(CONFIG, {}))
    backbone = own.pop(_BACKBONE, {})
    if not isinstance(backbone, Mapping):
        raise ModelError(f"{spec.name}: {_BACKBONE} = {backbone!r} are no options by name.", "Write it again.")
    make = load_class(kind.config)
    plain = make(**row, **kind.fixed)
    for options, known in ((own, plain), (backbone, plain.backbone_config)):
        strange = sorted(set(options) - own_options(known))
        if strange:
            raise ModelError(f"{spec.name}: {spec.architecture} has no option {strange[0]!r}.", "Write it again.")
    together = {**row, **own, **kind.fixed, _BACKBONE: {**row[_BACKBONE], **backbone}}
    try:
        return make(**together, num_labels=len(spec.classes))
    except Exception as error:  # transformers' checks of values share no base
        reason = " ".join(str(error).split())
        raise ModelError(f"{spec.name}: {spec.architecture} cannot be so: {reason}", "Write it again.") from error


def _build(spec: ModelSpec) -> nn.Module:
    config = transformers_config(spec)
    _require_places(config, spec)
    kind = kind_of(spec.architecture)
    network = load_class(kind.network)(config)
    for name, parameter in network.named_parameters():
        if name.endswith("mask_token"):  # of the backbone's own training; nothing else uses it
            parameter.requires_grad_(False)
    return _Detector(network, spec.input, kind.coefficients)


def _require_places(config: Any, spec: ModelSpec) -> None:
    """Raise if a canvas has fewer places than the queries that begin at the best of them."""
    strides = list(getattr(config, "feat_strides", None) or [config.backbone_config.patch_size])
    while len(strides) < config.num_feature_levels:
        strides.append(2 * strides[-1])
    height, width = spec.input.height, spec.input.width
    places = sum((height // stride) * (width // stride) for stride in strides)
    if places < config.num_queries:
        raise ConfigError(
            f"Canvas {height} x {width} (height x width) is too small for {spec.architecture}: "
            f"{places} places for {config.num_queries} queries.",
            "Give a larger --set image_size.",
        )


class _Detector(nn.Module):
    """One of transformers' detectors between canvases and detections.

    Args:
        network: of transformers.
        canvas: what it sees.
        coefficients: see ``Kind``.
    """

    edges: Tensor

    def __init__(self, network: Any, canvas: InputSpec, coefficients: Mapping[str, str]) -> None:
        super().__init__()
        self.network = network
        self.transform = CanvasTransform(canvas)
        self._coefficients = {kind: float(getattr(network.config, name)) for kind, name in coefficients.items()}
        edges = torch.tensor([canvas.width, canvas.height, canvas.width, canvas.height], dtype=torch.float32)
        self.register_buffer("edges", edges, persistent=False)

    @property
    def backbone(self) -> nn.Module:
        """The part before neck and decoder."""
        model = self.network.model
        found: nn.Module = model.conv_encoder if hasattr(model, "conv_encoder") else model.backbone
        return found

    def forward(self, images: Tensor, targets: Optional[List[Dict[str, Tensor]]] = None) -> Dict[str, Tensor]:
        """Detections, or with targets the losses.

        Args:
            images: uint8 [N, 3, H, W]; in training of any size that the network takes.
            targets: per picture ``boxes`` float32 [n, 4], xyxy, pixels of the images, and ``labels`` int64 [n], 0..K-1;
                the network is in training mode.

        Returns:
            In eval mode ``OUTPUTS`` of ``backends.graph``. With targets named losses, whose sum is transformers' own.
        """
        pixels = self.transform.normalized(images)
        if targets is None:
            answer = self.network(pixel_values=pixels)
            return self._best(answer.logits, answer.pred_boxes)
        height, width = images.shape[-2:]
        edges = self.edges.new_tensor([width, height, width, height])
        labels = [{"class_labels": one["labels"], "boxes": _centred(one["boxes"] / edges)} for one in targets]
        return self._losses(self.network(pixel_values=pixels, labels=labels).loss_dict)

    def _best(self, logits: Tensor, boxes: Tensor) -> Dict[str, Tensor]:
        """The best pairs of query and class, of logits [N, Q, K] and boxes [N, Q, 4] as centre and size in 0..1."""
        classes, queries = int(logits.shape[2]), int(logits.shape[1])
        scores, pairs = logits.float().sigmoid().flatten(1).topk(min(DETECTIONS_PER_PICTURE, queries * classes))
        rows = torch.div(pairs, classes, rounding_mode="floor")
        chosen = boxes.float().gather(1, rows.unsqueeze(-1).expand(-1, -1, 4))
        centre, size = chosen[..., :2], chosen[..., 2:]
        corners = torch.cat([centre - size / 2, centre + size / 2], dim=-1) * self.edges
        there = scores >= SCORE_FLOOR
        return {
            "boxes": torch.minimum(corners.clamp(min=0.0), self.edges),
            "scores": torch.where(there, scores, -1.0),
            "labels": torch.where(there, pairs - rows * classes, -1),
        }

    def _losses(self, parts: Mapping[str, Tensor]) -> Dict[str, Tensor]:
        """Losses of all layers, queries and noise, added up by what they measure."""
        losses: Dict[str, Tensor] = {}
        for name, value in parts.items():
            if not name.startswith("loss_"):  # RF-DETR's counting error, which nothing learns from
                continue
            kind = "_".join(name.split("_")[:2])
            losses[kind] = losses.get(kind, 0.0) + value * self._coefficients.get(kind, 1.0)
        return {**losses, "loss_bbox": losses["loss_bbox"] + self._untouched()}

    def _untouched(self) -> Tensor:
        """0, by way of what a batch without objects leaves alone: several processes wait for all gradients."""
        noise = getattr(self.network.model, "denoising_class_embed", None)
        return self.edges.sum() * 0.0 if noise is None else noise.weight.sum() * 0.0


def _centred(boxes: Tensor) -> Tensor:
    """Boxes [n, 4] xyxy as centre and size."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def _detections(answer: Mapping[str, Tensor]) -> List[Detections]:
    return detections_of_padded(*(answer[name].cpu().numpy() for name in OUTPUTS))


TRANSFORMERS = NetworkFamily(
    builders=dict.fromkeys(_ROWS, _build),
    # the decoders stay in fp32: boxes pass through them from layer to layer
    bf16_parts=("network.model.backbone", "network.model.conv_encoder", "network.model.encoder"),
    detections=_detections,
    packages=("transformers",),
)
