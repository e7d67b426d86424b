"""What torchvision's families have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from .family import Family

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .sharing import Share

__all__ = ["TorchvisionFamily"]

# names before torchvision 0.13, of which its COCO weights are older
_RENAMED = (
    (r"\.(inner_blocks|layer_blocks)\.(\d+)\.(\w+)$", r".\1.\2.0.\3"),
    (r"(rpn\.head\.conv)\.(\w+)$", r"\1.0.0.\2"),
    *((rf"(head\.\w+_head\.conv)\.{2 * layer}\.(\w+)$", rf"\1.{layer}.0.\2") for layer in range(4)),  # RetinaNet's
)


class TorchvisionFamily(Family):
    """Detectors of ``torchvision.models.detection``; names of weights are torchvision's enum members."""

    torchserve_packages = ("torchvision",)
    licences: ClassVar[Mapping[str, str]] = {
        "imagenet": "torchvision's, BSD-3-Clause; trained on ImageNet, whose terms of access are non-commercial",
        "coco": "torchvision's, BSD-3-Clause; trained on COCO (annotations CC BY 4.0, pictures under Flickr's terms)",
    }

    def weights_url(self, name: str) -> str:
        """See ``Family.weights_url``."""
        from torchvision.models import get_weight

        return str(get_weight(name).url)

    def classes_of_weights(self, name: str) -> Sequence[str] | None:
        """See ``Family.classes_of_weights``; COCO's unused ids are called N/A."""
        from torchvision.models import get_weight

        return list(get_weight(name).meta["categories"][1:])  # the first is the background

    def name_today(self, name: str) -> str:
        """See ``Family.name_today``."""
        renamed = (re.sub(pattern, today, name) for pattern, today in _RENAMED)
        return next((one for one in renamed if one != name), name)

    def name_in_detector(self, name: str) -> str:
        """See ``Family.name_in_detector``."""
        # torchvision's MobileNets keep their layers under 'features', the extractor does not
        return "backbone.body." + name.removeprefix("features.")

    def blocks(self, network: nn.Module) -> list[nn.Module]:
        """See ``Family.blocks``."""
        backbone = network.get_submodule("backbone")
        if hasattr(backbone, "body"):
            return list(backbone.get_submodule("body").children())
        return [block for part in backbone.get_submodule("features").children() for block in part.children()]  # SSD

    def losses(
        self,
        network: nn.Module,
        canvases: Tensor,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        share: Share | None = None,
    ) -> dict[str, Tensor]:
        """See ``Family.losses``; the ``share`` is the subclasses' business."""
        pairs = zip(boxes, labels, strict=True)
        # torchvision's label 0 is the background
        targets = [{"boxes": own.reshape(-1, 4), "labels": label + 1} for own, label in pairs]
        losses = cast("dict[str, Tensor]", network(canvases, targets))
        return {name if name.startswith("loss_") else f"loss_{name}": value for name, value in losses.items()}
