"""What a family of networks has to say, and its heavy parts in bf16."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Iterator, List, Mapping, Tuple

import torch
from torch import Tensor, nn

from ..detections import Detections
from ..spec import ModelSpec

__all__ = ["NetworkFamily"]


@dataclass(frozen=True)
class NetworkFamily:
    """Architectures that are built and read in the same way.

    Attributes:
        builders: by catalogue key; each makes the untrained network of a specification.
        bf16_parts: names of the submodules that may run in bf16. Box coordinates of 0..640 in bf16 (8 bits of
            mantissa) are rounded to up to 4 pixels, and torchvision's CPU roi_align refuses bf16: so no other part
            runs in it.
        detections: reads a network's answer in eval mode: one ``Detections`` per picture, in canvas pixels.
        packages: what its networks are built from beside torch and torchvision, names to import.
    """

    builders: Mapping[str, Callable[[ModelSpec], nn.Module]]
    bf16_parts: Tuple[str, ...]
    detections: Callable[[Any], List[Detections]]
    packages: Tuple[str, ...] = ()

    @contextmanager
    def in_precision(self, network: nn.Module, precision: str) -> Iterator[None]:
        """Run a network's heavy parts in a precision; their results are handed on in fp32.

        Args:
            network: of this family.
            precision: ``fp32``, which changes nothing, or ``bf16``.
        """
        names = {name for name, _ in network.named_modules()} if precision == "bf16" else ()
        parts = [network.get_submodule(part) for part in self.bf16_parts if part in names]
        changed = dict.fromkeys(parts, _in_bf16)
        for part in parts:
            changed.update((one, _lines_in_fp32) for one in part.modules() if isinstance(one, nn.Conv2d))
        for module, within in changed.items():
            module.forward = within(module.forward)  # an instance attribute: hides the class's method
        try:
            yield
        finally:
            for module in changed:
                del module.forward


def _in_bf16(forward: Any) -> Any:
    def run(*inputs: Any, **options: Any) -> Any:
        device = next(tensor.device.type for tensor in _tensors(inputs))
        with torch.autocast(device, dtype=torch.bfloat16):
            return _to_fp32(forward(*inputs, **options))

    return run


def _lines_in_fp32(forward: Any) -> Any:
    """A convolution that takes maps of one pixel's width or height in fp32.

    Of those its gradients in bf16 are wrong, or not numbers: PyTorch 2.15 with ``channels_last``, on a processor with
    AVX-512, for strides of 2 and kernels of 5. They are small, as at the end of a pyramid.
    """

    def run(maps: Tensor) -> Any:
        if min(maps.shape[-2:]) > 1:
            return forward(maps)
        with torch.autocast(maps.device.type, enabled=False):
            return forward(maps.float())

    return run


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _to_fp32(value: Any) -> Any:
    """Floating tensors in fp32, within lists, tuples and dicts, those of transformers' own classes among them."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, dict):
        return type(value)(**{key: _to_fp32(item) for key, item in value.items()})
    return type(value)(_to_fp32(item) for item in value) if isinstance(value, (list, tuple)) else value
