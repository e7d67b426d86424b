"""Runs the trained network itself in PyTorch, eager or compiled."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, ClassVar, List, Tuple

import numpy as np

from ..bundle import WEIGHTS, Bundle
from ..detections import Detections
from ..errors import ArchiveError, ModelError
from ..execution import Execution
from .base import Backend

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CompiledTorchBackend", "TorchBackend", "load_network"]


class TorchBackend(Backend):
    """Detects with the trained network.

    PyTorch has one number of threads for the whole process: the last one given is used for all models, from each
    thread's first picture on.

    Args:
        bundle: the model.
        execution: how it runs; ``bf16`` is used for the networks, boxes are decoded in fp32 in any case.

    Raises:
        ModelError: the device is not available.
        ArchiveError: the weights are not a plain state dict, or do not fit the architecture.
    """

    name = "torch"
    package = "torch"
    extra = "boxwright[train]"
    precisions = ("fp32", "bf16")
    proved: ClassVar[Tuple[str, ...]] = ("bf16",)
    any_device = True

    @staticmethod
    def member(precision: str) -> str:
        """See ``Backend.member``."""
        return WEIGHTS

    @classmethod
    def open(cls, bundle: Bundle, execution: Execution) -> TorchBackend:
        """See ``Backend.open``."""
        return cls(bundle, execution)

    def __init__(self, bundle: Bundle, execution: Execution) -> None:
        import torch

        from ..networks import network_family

        self._torch = torch
        self._family = network_family(bundle.spec.architecture)
        self._device = self._available(execution.device)
        self._network = load_network(bundle).to(self._device).eval()
        self._precision = execution.precision
        if execution.threads:
            # OpenMP keeps a number for each calling thread: this one gets it here, new ones take it over
            # when they first compute, those that have computed before keep theirs
            torch.set_num_threads(execution.threads)

    def _available(self, device: str) -> str:
        try:
            self._torch.zeros(1, device=device)
        except Exception as error:  # a name torch does not know, a device that is not there, a build without it
            there = ["cpu", *(f"cuda:{number}" for number in range(self._torch.cuda.device_count()))]
            remedy = f"PyTorch sees {', '.join(there)} here."
            raise ModelError(f"Device {device!r} is not available here.", remedy) from error
        return device

    def detect(self, canvases: np.ndarray) -> List[Detections]:
        """See ``Backend.detect``; down to the network's lowest score."""
        with self._torch.inference_mode(), self._family.in_precision(self._network, self._precision):
            outputs = self._network(self._torch.from_numpy(canvases).to(self._device))
        return self._family.detections(outputs)


class CompiledTorchBackend(TorchBackend):
    """The same, the backbone compiled to kernels of its own, which takes minutes at the first picture."""

    name = "torch-compile"
    proved = ()

    def __init__(self, bundle: Bundle, execution: Execution) -> None:
        super().__init__(bundle, execution)
        self._network.get_submodule("backbone").compile()


def load_network(bundle: Bundle) -> nn.Module:
    """The trained network of a bundle, on the CPU, in training mode.

    Raises:
        ArchiveError: there are no weights, or they are not a plain state dict, or do not fit the architecture.
    """
    import torch

    from ..networks import build_network

    weights = bundle.weights
    network = build_network(bundle.spec)
    try:
        state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises all kinds
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
