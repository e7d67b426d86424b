"""The step of a recipe that changes colours: brightness, contrast and saturation in one pass over the pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from .augment_steps import Step

__all__ = ["Colour", "adjust"]

_GREY = (0.2989, 0.587, 0.114)  # ITU-R BT.601 luma with torchvision's digits
_BLOCK = 40960  # pixels; what is computed on them stays in a core's second-level cache


class Colour(Step):
    """Brightness, contrast and saturation, each by a factor drawn evenly from 1 - strength .. 1 + strength.

    Args:
        p: probability of the step.
        brightness: strength, 0..1.
        contrast: strength, 0..1.
        saturation: strength, 0..1.
    """

    def __init__(self, p: float, brightness: float, contrast: float, saturation: float) -> None:
        super().__init__()
        self.p = p
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the factors; None if the step is not taken."""
        chance, *draws = torch.rand(4).tolist()
        strengths = (self.brightness, self.contrast, self.saturation)
        factors = [1.0 + strength * (2.0 * draw - 1.0) for strength, draw in zip(strengths, draws, strict=True)]
        return {"factors": factors if chance < self.p else None}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Change the canvas's colours; boxes stay as they are."""
        if params["factors"] is None or not isinstance(inpt, tv_tensors.Image):
            return inpt
        return tv_tensors.wrap(adjust(inpt.as_subclass(Tensor), *params["factors"]), like=inpt)


def adjust(canvas: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Change a canvas's colours by torchvision's definitions of the three factors.

    Brightness scales, contrast spreads about the mean grey of the canvas, saturation about each
    pixel's own grey: all are linear, so they are one 3 x 3 matrix and an offset. The result is rounded
    and clamped once, at the end. torchvision truncates and clamps after each factor: it cuts a pixel
    that overflows between two factors, this function does not.

    Args:
        canvas: uint8 [3, H, W], RGB.
        brightness: factor, not negative; 1 changes nothing.
        contrast: factor, not negative; 1 changes nothing.
        saturation: factor, not negative; 1 changes nothing.

    Returns:
        A new canvas, uint8 [3, H, W].
    """
    source = canvas.reshape(3, -1)
    matrix, offset = _as_matrix(canvas, brightness, contrast, saturation)
    offset += 0.5  # the conversion to whole numbers truncates
    adjusted = torch.empty_like(source)
    floats, mixed = torch.empty(3, _BLOCK), torch.empty(3, _BLOCK)
    whole = torch.empty(3, _BLOCK, dtype=torch.int16)
    for read, written in zip(torch.split(source, _BLOCK, 1), torch.split(adjusted, _BLOCK, 1), strict=True):
        part = slice(read.shape[1])
        torch.addmm(offset, matrix, floats[:, part].copy_(read), out=mixed[:, part]).clamp_(0.0, 255.0)
        # by way of int16 torch reaches uint8 several times faster than from float32
        written.copy_(whole[:, part].copy_(mixed[:, part]))
    return adjusted.view(canvas.shape)


def _as_matrix(canvas: Tensor, brightness: float, contrast: float, saturation: float) -> tuple[Tensor, Tensor]:
    """Matrix float32 [3, 3] and offset float32 [3, 1], on grey levels 0..255."""
    grey = torch.tensor(_GREY, dtype=torch.float64)
    saturate = saturation * torch.eye(3, dtype=torch.float64) + (1.0 - saturation) * grey.expand(3, 3)
    # rows are summed in int32, which is fast and cannot overflow within one row
    means = canvas.sum(dim=2, dtype=torch.int32).double().mean(dim=1) / canvas.shape[2]
    mean = brightness * float(grey @ means)
    offset = saturate.sum(dim=1, keepdim=True) * (1.0 - contrast) * mean
    return (brightness * contrast * saturate).float(), offset.float()
