"""All that is known of an architecture: its row, and the family that it belongs to; no torch at import."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from boxwright.runtime import ConfigError, Detections, InputSpec, ModelError, ModelSpec

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor, nn

__all__ = ["Architecture", "Family", "GraphPlan", "ParameterGroup"]


@dataclass(frozen=True)
class Architecture:
    """One row of the catalogue.

    Attributes:
        name: its key.
        summary: for whom it is.
        image_size: default canvas (height, width), pixels.
        learning_rate: default peak, for AdamW and a batch of 4.
        class_head: the tensor that has ``times`` entries per label, the background included: end of its name, and
            ``times``.
        coco_weights: name of the whole detector's COCO weights, or None.
        backbone_weights: name of the backbone's ImageNet weights, or None.
        coco_norm_eps: BatchNorm epsilon that the COCO weights were made with.
        backbone_norm_eps: BatchNorm epsilon that the backbone weights were made with.
        mean: RGB mean, of values in [0, 1], that its weights were trained with.
        std: RGB standard deviation, of the same values.
        stride: both sides of a canvas are multiples of it, pixels.
        backbone_rate: learning rate of the backbone, as a factor of the others'.
    """

    name: str
    summary: str
    image_size: tuple[int, int]
    learning_rate: float
    class_head: tuple[str, int]
    coco_weights: str | None = None
    backbone_weights: str | None = None
    coco_norm_eps: float = 1e-5
    backbone_norm_eps: float = 1e-5
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    stride: int = 32
    backbone_rate: float = 1.0

    def canvas(self, height: int, width: int, resize: str) -> InputSpec:
        """The canvas of a model of this architecture, padded with what normalises to about 0.

        Raises:
            ConfigError: a side that is not a multiple of the stride, or see ``InputSpec``.
        """
        if height % self.stride or width % self.stride:
            raise ConfigError(
                f"Canvas {height} x {width} (height x width) does not fit {self.name}:",
                f"each side must be a multiple of {self.stride}.",
            )
        pad = tuple(round(255 * one) for one in self.mean)
        return InputSpec(height, width, resize, pad=(pad[0], pad[1], pad[2]), mean=self.mean, std=self.std)

    def labels_of(self, state: Mapping[str, Tensor], source: str) -> int:
        """How many labels the class head of a state dict tells apart, the background included.

        Args:
            state: tensors by name.
            source: name of the file, for errors.

        Raises:
            ModelError: there is no such head.
        """
        head, times = self.class_head
        sizes = [tensor.numel() for name, tensor in state.items() if name.endswith(head)]
        if len(sizes) != 1 or sizes[0] % times or sizes[0] <= times:
            raise ModelError(f"{source} has no {head} of {times} per label.", f"It is not a network of {self.name}.")
        return sizes[0] // times


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at one rate.

    Attributes:
        parameters: those that learn.
        rate: factor of the learning rate.
    """

    parameters: Sequence[nn.Parameter]
    rate: float = 1.0


@dataclass(frozen=True)
class GraphPlan:
    """How a network becomes an ONNX graph: what is traced, and what is written after it.

    Attributes:
        module: what the exporter traces, in eval mode; its first input is uint8 [N, 3, H, W].
        example: inputs to trace it with.
        free: name of each input's first size, which stays open.
        write: given the traced graph, writes the rest and returns ``boxes``, ``scores`` and ``labels``; see
            ``boxwright.runtime.backends.graph.OUTPUTS``. Afterwards only the first input is used.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    free: tuple[str, ...]
    write: Callable[[ir.Graph], dict[str, ir.Value]]


class Family(ABC):
    """Architectures that are trained, loaded, frozen and exported in the same way.

    What ships in archives (how a network is built, what may run in bf16, what its answers mean) is in its
    ``boxwright.runtime.networks.NetworkFamily``. Networks are those of ``build_network``.

    Attributes:
        rows: its architectures.
        torchserve_packages: what TorchServe needs beside torch, numpy and Pillow to run its networks.
        licences: under which terms ``imagenet`` and ``coco`` weights come.
    """

    rows: ClassVar[tuple[Architecture, ...]]
    torchserve_packages: ClassVar[tuple[str, ...]]
    licences: ClassVar[Mapping[str, str]]

    @abstractmethod
    def weights_url(self, name: str) -> str:
        """Where weights are, by their name in a row; the file's name ends in the first digits of its SHA-256."""

    @abstractmethod
    def name_in_detector(self, name: str) -> str:
        """What a tensor of a backbone's own state dict is called in a detector's."""

    @abstractmethod
    def blocks(self, network: nn.Module) -> list[nn.Module]:
        """The backbone's layers or blocks, without neck, from the input on; freezing goes by them."""

    @abstractmethod
    def losses(
        self, network: nn.Module, canvases: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Named scalar losses of a batch, each name begins with ``loss_``; their sum is trained on.

        Args:
            network: in training mode.
            canvases: uint8 [N, 3, H, W].
            boxes: N of float32 [n, 4], xyxy, canvas pixels; n may be 0.
            labels: N of int64 [n], class indices 0..K-1.
        """

    @abstractmethod
    def graph_plan(self, network: nn.Module, spec: ModelSpec) -> GraphPlan:
        """How the network becomes a graph.

        Args:
            network: in eval mode.
            spec: what it was built from.
        """

    def detect(self, network: nn.Module, canvases: Tensor) -> list[Detections]:
        """Detections of uint8 [N, 3, H, W], in canvas pixels, down to the score floor; ``network`` is in eval mode."""
        from boxwright.runtime.networks import ARCHITECTURES

        return ARCHITECTURES[self.rows[0].name].detections(network(canvases))

    def parameter_groups(self, network: nn.Module, row: Architecture) -> list[ParameterGroup]:
        """The parameters that learn; the backbone's apart where it has a rate of its own."""
        learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        if row.backbone_rate == 1.0:
            return [ParameterGroup(learning)]
        backbone = {id(parameter) for block in self.blocks(network) for parameter in block.parameters()}
        others = [parameter for parameter in learning if id(parameter) not in backbone]
        own = [parameter for parameter in learning if id(parameter) in backbone]
        return [ParameterGroup(others), ParameterGroup(own, row.backbone_rate)]
