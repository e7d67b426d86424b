"""All that is known of an architecture: its row, and the family that it belongs to; no torch at import."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from boxwright.runtime import ConfigError, Detections, InputSpec, ModelError, ModelSpec

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor, nn

    from .sharing import Share

__all__ = ["Architecture", "ClassRows", "Family", "GraphPlan", "ParameterGroup"]


@dataclass(frozen=True)
class ClassRows:
    """Tensors of a class head that have rows for each class, and how these lie in the first dimension.

    It is ``outer`` times: ``before``, the classes, ``after``; and each of these is ``inner`` rows.

    Attributes:
        names: regular expression of the tensors' names, from the beginning of one of their parts to the end.
        outer: how often the classes are repeated: the anchors of a place.
        inner: rows of one class: 4 where it has a box of its own.
        before: what comes before the first class: 1 for a background.
        after: what comes after the last class: 1 for an entry that stands for no object.
    """

    names: str
    outer: int = 1
    inner: int = 1
    before: int = 0
    after: int = 0

    def describes(self, name: str) -> bool:
        """Whether a tensor of this name is one of these."""
        return re.search(rf"(?:^|\.)(?:{self.names})$", name) is not None

    def classes(self, rows: int) -> int | None:
        """How many classes a first dimension of this size has; None if it has no such layout, or no class."""
        entries, rest = divmod(rows, self.outer * self.inner)
        classes = entries - self.before - self.after
        return classes if rest == 0 and classes > 0 else None


@dataclass(frozen=True)
class Architecture:
    """One row of the catalogue.

    Attributes:
        name: its key.
        summary: for whom it is.
        image_size: default canvas (height, width), pixels.
        learning_rate: default peak, for AdamW and a batch of 4.
        class_rows: the tensors that have rows for each class; the first entry is that of the scores.
        coco_weights: name of the whole detector's COCO weights, or None.
        backbone_weights: name of the backbone's ImageNet weights, or None.
        coco_norm_eps: BatchNorm epsilon that the COCO weights were made with.
        backbone_norm_eps: BatchNorm epsilon that the backbone weights were made with.
        mean: RGB mean, of values in [0, 1], that its weights were trained with.
        std: RGB standard deviation, of the same values.
        stride: both sides of a canvas are multiples of it, pixels.
        backbone_rate: learning rate of the backbone, as a factor of the others'.
        resize: how pictures are laid on the canvas by default, as its weights were trained; see ``InputSpec``.
        square: whether both sides of a canvas must be the same.
    """

    name: str
    summary: str
    image_size: tuple[int, int]
    learning_rate: float
    class_rows: tuple[ClassRows, ...]
    coco_weights: str | None = None
    backbone_weights: str | None = None
    coco_norm_eps: float = 1e-5
    backbone_norm_eps: float = 1e-5
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    stride: int = 32
    backbone_rate: float = 1.0
    resize: str = "letterbox"
    square: bool = False

    def canvas(self, height: int, width: int, resize: str) -> InputSpec:
        """The canvas of a model of this architecture, padded with what normalises to about 0.

        Raises:
            ConfigError: a side that is not a multiple of the stride, sides that must be the same and are not, or see
                ``InputSpec``.
        """
        if self.square and height != width:
            raise ConfigError(
                f"Canvas {height} x {width} (height x width) does not fit {self.name}:", "both sides must be the same."
            )
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
        head = self.class_rows[0]
        found = {head.classes(len(tensor)) for name, tensor in state.items() if head.describes(name) and tensor.ndim}
        classes = found.pop() if len(found) == 1 else None
        if classes is None:
            shown = head.names.replace("\\", "")
            raise ModelError(f"{source} has no class head {shown}.", f"It is not a network of {self.name}.")
        return head.before + classes + head.after

    def rows_of(self, name: str) -> ClassRows | None:
        """How the classes lie in a tensor of this name; None if it has no rows for each class."""
        return next((rows for rows in self.class_rows if rows.describes(name)), None)


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
        exporter: ``torch.export``, or ``torchscript``, PyTorch's older one, for what the newer one cannot trace.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    free: tuple[str, ...]
    write: Callable[[ir.Graph], dict[str, ir.Value]]
    exporter: Literal["torch.export", "torchscript"] = "torch.export"


class Family(ABC):
    """Architectures that are trained, loaded, frozen and exported in the same way.

    What ships in archives (how a network is built, what may run in bf16, what its answers mean) is in its
    ``boxwright.runtime.networks.NetworkFamily``. Networks are those of ``build_network``.

    Attributes:
        rows: its architectures.
        torchserve_packages: what TorchServe needs beside torch, numpy and Pillow to run its networks, or their graphs.
        licences: under which terms ``imagenet`` and ``coco`` weights come.
        packages: what its networks need beside the training extra, names to import.
        extra: what to install for them.
    """

    rows: ClassVar[tuple[Architecture, ...]]
    torchserve_packages: ClassVar[tuple[str, ...]]
    licences: ClassVar[Mapping[str, str]]
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = "boxwright[train]"

    @abstractmethod
    def weights_url(self, name: str) -> str:
        """Where weights are, by their name in a row; the file's name ends in the first digits of its SHA-256."""

    def fetch_folder(self, name: str) -> Path | None:
        """Make sure that weights that are a folder are on disk, by their name in a row; None if they are a file.

        Raises:
            ModelError: they are not here and cannot be downloaded.
        """
        return None

    def folder_options(self, folder: Path, architecture: str) -> dict[str, Any]:
        """What of ``ModelSpec.network`` makes an architecture the network that a folder of weights describes.

        Raises:
            ModelError: it describes another architecture, or is no folder of weights.
        """
        raise _needs_file(folder)

    def folder_state(self, folder: Path, architecture: str) -> dict[str, Tensor]:
        """The tensors of a folder of weights, by the names that ``name_in_detector`` takes.

        Raises:
            ModelError: they cannot be read, or it is no folder of weights.
        """
        raise _needs_file(folder)

    def folder_classes(self, folder: Path) -> Sequence[str] | None:
        """Names of the classes of a folder of weights, by label, without the background; None if it does not say."""
        return None

    @abstractmethod
    def name_in_detector(self, name: str) -> str:
        """What a tensor of a backbone's own state dict is called in a detector's."""

    def classes_of_weights(self, name: str) -> Sequence[str] | None:
        """Names of the classes of a whole detector's weights, by label, without the background; None if not known.

        Args:
            name: ``Architecture.coco_weights``.
        """
        return None

    def name_today(self, name: str) -> str:
        """What a tensor of a detector is called today that an older release called so; ``name`` if it never was."""
        return name

    @abstractmethod
    def blocks(self, network: nn.Module) -> list[nn.Module]:
        """The backbone's layers or blocks, without neck, from the input on; freezing goes by them."""

    @abstractmethod
    def losses(
        self,
        network: nn.Module,
        canvases: Tensor,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        share: Share | None = None,
    ) -> dict[str, Tensor]:
        """Named scalar losses of a batch, each name begins with ``loss_``; their sum is trained on.

        Args:
            network: in training mode.
            canvases: uint8 [N, 3, H, W].
            boxes: N of float32 [n, 4], xyxy, canvas pixels; n may be 0.
            labels: N of int64 [n], class indices 0..K-1.
            share: if several processes compute the losses of a batch together, which pictures of it these are; the
                losses of all processes then add up to the batch's. None: these are all.
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

    def parameter_groups(
        self, network: nn.Module, backbone_rate: float = 1.0, layer_decay: float = 1.0
    ) -> list[ParameterGroup]:
        """The parameters that learn; those of the backbone's stages apart, from the last on.

        Args:
            network: whose parameters they are.
            backbone_rate: factor of the backbone's last stage.
            layer_decay: factor from each stage to the one before it, 0..1 (Clark et al., "ELECTRA", 2020).
        """
        from .freezing import stages_of

        groups, taken = [], set()
        for depth, stage in enumerate(reversed(stages_of(self.blocks(network)))):
            own = [one for block in stage for one in block.parameters() if one.requires_grad]
            groups.append(ParameterGroup(own, backbone_rate * layer_decay**depth))
            taken |= {id(one) for one in own}
        others = [one for one in network.parameters() if one.requires_grad and id(one) not in taken]
        return [ParameterGroup(others), *groups]


def _needs_file(folder: Path) -> ModelError:
    return ModelError(
        f"Weights {str(folder)!r}: a folder, but not of a run.",
        "Give none, imagenet, coco, a file, a run folder, or the --model that it is of.",
    )
