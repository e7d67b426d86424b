"""Runs a bundle's network in eager PyTorch."""

from __future__ import annotations

import io
from contextlib import nullcontext
from typing import TYPE_CHECKING, ContextManager, List, Optional

import numpy as np

from .bundle import Bundle
from .detections import Detections
from .errors import ArchiveError, ConfigError, MissingDependency, ModelError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TorchBackend", "load_network"]


class TorchBackend:
    """Detects with the trained network itself.

    Args:
        bundle: the model.
        device: a torch device, ``cpu`` or ``cuda:0``.
        precision: ``fp32``, or ``bf16`` for the networks; boxes are decoded in fp32 either way.
        compiled: whether ``torch.compile`` makes kernels of its own, which takes minutes at the first picture.
        threads: processors one picture may use; as PyTorch has it by default. PyTorch has one such number for
            the whole process, so the last one given holds for all models, from each thread's first picture on.

    Raises:
        ConfigError: a precision that it has not.
        MissingDependency: torch is not installed.
        ModelError: the device is not available.
        ArchiveError: the weights are not a plain state dict, or do not fit the architecture.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "cpu",
        *,
        precision: str = "fp32",
        compiled: bool = False,
        threads: Optional[int] = None,
    ) -> None:
        if precision == "int8":
            raise ConfigError("PyTorch runs no int8 here.", "Use --backend onnxruntime or openvino.")
        try:
            import torch
        except ImportError as error:
            raise MissingDependency("Running this model needs PyTorch.", "pip install 'boxwright[train]'") from error
        self._torch = torch
        self._device = self._checked_device(device)
        self._network = load_network(bundle).to(self._device).eval()
        self._precision = precision
        if compiled:
            self._network.get_submodule("backbone").compile()
        if threads:
            # OpenMP keeps a number for each calling thread: this one gets it here, new ones take it over
            # when they first compute, those that have computed before keep theirs
            torch.set_num_threads(threads)

    def _checked_device(self, device: str) -> str:
        try:
            self._torch.zeros(1, device=device)
        except Exception as error:  # a name torch does not know, a device that is not there, a build without it
            raise ModelError(f"Device {device!r} is not available here.", "Use 'cpu' or 'cuda:0'.") from error
        return device

    def detect(self, canvases: np.ndarray) -> List[Detections]:
        """Detect on a batch.

        Args:
            canvases: uint8 [N, 3, H, W], RGB, as ``preprocess`` makes them.

        Returns:
            N detections in canvas pixels, down to the network's score floor.
        """
        from .networks import detections_from_output

        with self._torch.inference_mode(), self._networks_in_precision():
            outputs = self._network(self._torch.from_numpy(canvases).to(self._device))
        return [detections_from_output(output) for output in outputs]

    def _networks_in_precision(self) -> ContextManager[None]:
        if self._precision == "fp32":
            return nullcontext()
        from .autocast import bf16_networks

        return bf16_networks(self._network)


def load_network(bundle: Bundle) -> nn.Module:
    """The trained network of a bundle, on the CPU, in training mode.

    Raises:
        ArchiveError: the weights are not a plain state dict, or do not fit the architecture.
    """
    import torch

    from .networks import build_network

    network = build_network(bundle.spec)
    try:
        state = torch.load(io.BytesIO(bundle.weights), map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises whatever it runs into
        raise ArchiveError(
            f"{bundle.source}: the weights are not a plain state dict.",
            "Files that need code to be loaded are refused.",
        ) from error
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ArchiveError(
            f"{bundle.source}: the weights do not fit {bundle.spec.architecture}: {str(error).splitlines()[0]}",
        ) from error
    return network
