"""Detectors of Hugging Face's transformers, as facts; networks: ``boxwright.runtime.networks.transformers_detectors``.

Learning rates are those that the authors trained with, divided by the square root of their batch over ours of 4, as is
usual for Adam: RT-DETRv2 1e-4 at 16 pictures, D-FINE 8e-4 at 128 (N) and 2e-4 to 2.5e-4 at 32, DEIMv2 8e-4 to 2e-3 at
128, RF-DETR 1e-4 at 16. The backbones' factors are theirs unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from boxwright.runtime import ModelSpec

from .family import Architecture, ClassRows, Family, GraphPlan

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .sharing import Share

__all__ = ["DFine", "DeimV2", "RfDetr", "RtDetrV2", "TransformersFamily"]

_COCO = "trained on COCO (annotations CC BY 4.0, pictures under Flickr's terms)"

# As their checkpoints were trained: stretched, in 0..1.
_row = partial(
    Architecture,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    resize="stretch",
    class_rows=(
        ClassRows(r"(?:class_embed\.\d+|enc_score_head)\.(?:weight|bias)"),
        ClassRows(r"denoising_class_embed\.weight", after=1),
    ),
)


class TransformersFamily(Family):
    """Built from transformers' classes; names of weights are repositories of the Hugging Face hub."""

    packages = ("transformers", "scipy")  # scipy matches boxes and queries in the losses
    extra = "boxwright[hf]"
    torchserve_packages = ("onnxruntime",)  # it runs the graph: transformers wants a newer Python than the image has
    exporter: ClassVar[Literal["torch.export", "torchscript"]] = "torchscript"
    layers_first: ClassVar[bool] = False  # in answers of several decoder layers, before the picture

    def weights_url(self, name: str) -> str:
        """See ``Family.weights_url``; of a repository."""
        return f"https://huggingface.co/{name}"

    def name_in_detector(self, name: str) -> str:
        """See ``Family.name_in_detector``."""
        return f"network.{name}"

    def blocks(self, network: nn.Module) -> list[nn.Module]:
        """See ``Family.blocks``."""
        backbone = network.get_submodule("backbone")
        found = getattr(backbone, "model", None) or backbone.get_submodule("backbone")
        encoder = found.get_submodule("encoder")
        layers = next(getattr(encoder, name) for name in ("stages", "layer") if hasattr(encoder, name))
        return [found.get_submodule("embeddings" if hasattr(found, "embeddings") else "embedder"), *layers]

    def losses(
        self,
        network: nn.Module,
        canvases: Tensor,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        share: Share | None = None,
    ) -> dict[str, Tensor]:
        """See ``Family.losses``."""
        targets = [{"boxes": own, "labels": label} for own, label in zip(boxes, labels, strict=True)]
        if share is None:
            return cast("dict[str, Tensor]", network(canvases, targets))
        from .transformers_sharing import computed_together

        with computed_together(network, share, self.layers_first):
            return cast("dict[str, Tensor]", network(canvases, targets))

    def graph_plan(self, network: nn.Module, spec: ModelSpec) -> GraphPlan:
        """See ``Family.graph_plan``."""
        from .transformers_graph import plan_transformers

        return plan_transformers(network, spec, self.exporter)

    def fetch_folder(self, name: str) -> Path:
        """See ``Family.fetch_folder``; kept where huggingface_hub keeps it, which ``HF_HUB_OFFLINE`` holds off."""
        from .transformers_folder import fetch_repository

        return fetch_repository(name, self.weights_url(name))

    def folder_options(self, folder: Path, architecture: str) -> dict[str, Any]:
        """See ``Family.folder_options``."""
        from .transformers_folder import options_of_folder

        return options_of_folder(folder, architecture)

    def folder_state(self, folder: Path, architecture: str) -> dict[str, Tensor]:
        """See ``Family.folder_state``."""
        from .transformers_folder import state_of_folder

        return state_of_folder(folder, architecture)

    def folder_classes(self, folder: Path) -> Sequence[str] | None:
        """See ``Family.folder_classes``."""
        from .transformers_folder import classes_of_folder

        return classes_of_folder(folder)


class RtDetrV2(TransformersFamily):
    """RT-DETRv2."""

    licences: ClassVar[Mapping[str, str]] = {"coco": f"Apache-2.0; {_COCO}"}
    rows = (
        _row(
            "rtdetr_v2_r18",
            "A transformer on ResNet-18, without suppression; wants a GPU to train.",
            (640, 640),
            5e-5,
            coco_weights="PekingU/rtdetr_v2_r18vd",
        ),
        _row(
            "rtdetr_v2_r34",
            "The same on ResNet-34.",
            (640, 640),
            5e-5,
            coco_weights="PekingU/rtdetr_v2_r34vd",
            backbone_rate=0.5,
        ),
        _row(
            "rtdetr_v2_r50",
            "The same on ResNet-50, with twice the decoder.",
            (640, 640),
            5e-5,
            coco_weights="PekingU/rtdetr_v2_r50vd",
            backbone_rate=0.1,
        ),
    )


class DFine(TransformersFamily):
    """D-FINE."""

    licences: ClassVar[Mapping[str, str]] = {"coco": f"Apache-2.0; {_COCO}"}
    rows = (
        _row(
            "dfine_n",
            "A transformer of 4 million parameters; small objects less.",
            (640, 640),
            1.4e-4,
            coco_weights="ustc-community/dfine-nano-coco",
            backbone_rate=0.5,
        ),
        _row(
            "dfine_s",
            "A transformer of 10 million parameters.",
            (640, 640),
            7e-5,
            coco_weights="ustc-community/dfine-small-coco",
            backbone_rate=0.5,
        ),
        _row(
            "dfine_m",
            "The same with 19 million; wants a GPU to train.",
            (640, 640),
            7e-5,
            coco_weights="ustc-community/dfine-medium-coco",
            backbone_rate=0.1,
        ),
        _row(
            "dfine_l",
            "The same with 31 million.",
            (640, 640),
            9e-5,
            coco_weights="ustc-community/dfine-large-coco",
            backbone_rate=0.05,
        ),
    )


class DeimV2(TransformersFamily):
    """DEIMv2, but for its larger ones, which descend from DINOv3."""

    licences: ClassVar[Mapping[str, str]] = {"coco": f"their publishers name none; {_COCO}"}
    rows = (
        _row(
            "deimv2_atto",
            "Half a million parameters; large objects.",
            (320, 320),
            3.5e-4,
            backbone_rate=0.5,
        ),
        _row("deimv2_femto", "A million parameters.", (416, 416), 2.8e-4, backbone_rate=0.5),
        _row("deimv2_pico", "A million and a half.", (640, 640), 2.8e-4, backbone_rate=0.5),
        _row(
            "deimv2_n",
            "As D-FINE's N, with another loss.",
            (640, 640),
            1.4e-4,
            coco_weights="harshaljanjani/DEIMv2_HGNetv2_N_COCO_Transformers",
            backbone_rate=0.5,
        ),
    )


class RfDetr(TransformersFamily):
    """RF-DETR; its encoder takes square canvases alone, and learns faster than the rest."""

    licences: ClassVar[Mapping[str, str]] = {"coco": f"Apache-2.0; {_COCO}"}
    layers_first = True
    exporter = "torch.export"  # the other one has no antialiased resize, of the ViT's positions
    _own = partial(
        Architecture,
        resize="stretch",
        square=True,
        backbone_rate=1.5,
        class_rows=(ClassRows(r"(?:class_embed|enc_out_class_embed\.\d+)\.(?:weight|bias)"),),
    )
    rows = (
        _own(
            "rfdetr_nano",
            "A transformer on DINOv2; wants a GPU to train.",
            (384, 384),
            5e-5,
            coco_weights="Roboflow/rf-detr-nano",
        ),
        _own("rfdetr_small", "The same, larger.", (512, 512), 5e-5, coco_weights="Roboflow/rf-detr-small"),
        _own("rfdetr_medium", "The same, larger still.", (576, 576), 5e-5, coco_weights="Roboflow/rf-detr-medium"),
        _own(
            "rfdetr_base",
            "The same with finer patches; the first that was published.",
            (560, 560),
            5e-5,
            coco_weights="Roboflow/rf-detr-base",
            stride=56,
        ),
    )
