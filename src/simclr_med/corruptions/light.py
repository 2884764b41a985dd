"""Exposure, contrast, colour and uneven fields. The arguments are those of `noise`.

Factors of brightness, contrast and gamma: 1 leaves the image as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from simclr_med.corruptions.draws import Draws
from simclr_med.transfer import to_device

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as in PIL
_ORDER = 3  # of the bias field's polynomial


def brightness(images_BCHW: Tensor, draws: Draws, factor: float) -> Tensor:
    """Multiply every value by a factor (PIL's ImageEnhance.Brightness)."""
    return images_BCHW * factor


def contrast(images_BCHW: Tensor, draws: Draws, factor: float) -> Tensor:
    """Multiply the distance from the mean grey level by a factor (PIL's ImageEnhance.Contrast)."""
    weights = images_BCHW.new_tensor(_LUMA if images_BCHW.shape[1] == 3 else (1.0,)).view(1, -1, 1, 1)
    luma = (images_BCHW * weights).sum(1, keepdim=True).mul_(255).round_()
    mean = luma.mean((2, 3), keepdim=True).add_(0.5).floor_().div_(255)
    return mean + factor * (images_BCHW - mean)


def gamma(images_BCHW: Tensor, draws: Draws, power: float) -> Tensor:
    """Raise every value to a power; above 1 darkens, below 1 brightens."""
    return images_BCHW.clamp(0, 1) ** power


def saturate(images_BCHW: Tensor, draws: Draws, shift: float) -> Tensor:
    """Add a shift to the saturation of HSV. Value and hue stay; a grey pixel, whose hue is 0, turns red.

    Raises:
        ValueError: the images are grey.
    """
    if images_BCHW.shape[1] != 3:
        raise ValueError("saturate changes colours, and these images are grey")
    value = images_BCHW.amax(1, keepdim=True)
    span = value - images_BCHW.amin(1, keepdim=True)
    saturation = torch.where(value > 0, span / value.clamp(min=1e-12), torch.zeros_like(value))
    # The distance of a channel from the value, as a fraction of the span, depends only on the hue.
    red = images_BCHW.new_tensor((0.0, 1.0, 1.0)).view(1, 3, 1, 1)
    distance = torch.where(span > 0, (value - images_BCHW) / span.clamp(min=1e-12), red)
    return value - value * (saturation + shift).clamp(0, 1) * distance


def bias_field(images_BCHW: Tensor, draws: Draws, strength: float) -> Tensor:
    """Multiply by the exponential of a random polynomial of order 3, as an uneven coil or lamp does.

    Its coefficients are drawn from U(-strength, strength) and its coordinates run from -1 to 1 (TorchIO's
    RandomBiasField, Sudre et al. 2017).
    """
    height, width = images_BCHW.shape[2:]
    powers = [(i, j) for i in range(_ORDER + 1) for j in range(_ORDER + 1 - i)]
    drawn = to_device(draws.uniform(len(powers)), images_BCHW.device).mul_(2).sub_(1).mul_(strength)
    y, x = (torch.linspace(-1, 1, side, device=images_BCHW.device) for side in (height, width))
    terms = torch.stack([y[:, None] ** i * x[None, :] ** j for i, j in powers])
    return images_BCHW * torch.einsum("bp,phw->bhw", drawn, terms).exp().unsqueeze(1)
