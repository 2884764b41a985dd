"""The augmentation operation (`Op`): it samples parameters per image on the CPU and applies them to a whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from simclr_med.transfer import to_device

Parameters = tuple[Tensor, ...]


class Op(NamedTuple):
    """One augmentation of a sequence.

    Both functions are pure and picklable. Images are float32 BCHW in [0, 1]. Every op returns images on the
    8-bit grid k / 255 and rounds or truncates where PIL does, so that a sequence follows PIL's uint8 images.

    Attributes:
        name: the op's name in reports and tests.
        sample: (count, height, width, generator) -> parameters, CPU tensors with leading dimension count. Row i depends
            on image i alone, so that each process can take its rows of the global batch's parameters.
        apply: (images_BCHW, *parameters) -> images_BCHW on the images' device. Image i of the result depends on image i
            and row i of the parameters alone. The function does not write to its arguments.
        size: side of the square result in pixels; None if the op keeps the height and the width.
        needs_rgb: whether C has to be 3. Every other op treats each channel alike, and takes any number.
    """

    name: str
    sample: Callable[[int, int, int, Generator], Parameters]
    apply: Callable[..., Tensor]
    size: int | None = None
    needs_rgb: bool = False


def to_levels(images_BCHW: Tensor) -> Tensor:
    """Convert images in [0, 1] to the nearest levels 0, 1, ..., 255, float32, in a new contiguous tensor."""
    return images_BCHW.contiguous().mul(255.0).round_()


def from_levels_(levels_BCHW: Tensor) -> Tensor:
    """Convert levels 0, 1, ..., 255 to [0, 1] in place."""
    return levels_BCHW.div_(255.0)


def draw_uniform(low: float, high: float, count: int, generator: Generator) -> Tensor:
    """Draw count values from U(low, high), float32 on the CPU."""
    return torch.rand(count, generator=generator).mul_(high - low).add_(low)


def draw_bernoulli(probability: float, count: int, generator: Generator) -> Tensor:
    """Draw count booleans that are true with the given probability (0: never, 1: always), on the CPU."""
    return torch.rand(count, generator=generator) < probability


def find_true_rows(mask_B: Tensor, device: torch.device) -> Tensor:
    """Return the indices of the true entries, int64 on the device; no device synchronisation for a mask on the CPU."""
    return to_device(mask_B.nonzero().squeeze(1), device)


def broadcast_per_image(values_B: Tensor, images_BCHW: Tensor) -> Tensor:
    """Reshape one value per image to [B, 1, 1, 1] on the images' device, to broadcast over channels and pixels."""
    return to_device(values_B, images_BCHW.device).reshape(-1, 1, 1, 1)


def validate_probability(name: str, value: float) -> float:
    """Return the probability; raise ValueError outside [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name}={value}: expected a probability in [0, 1].")
    return value


def validate_range(name: str, bounds: tuple[float, float], least: float) -> tuple[float, float]:
    """Return the bounds as two floats; raise ValueError unless least <= low <= high."""
    low, high = (float(bound) for bound in bounds)
    if not least <= low <= high:
        raise ValueError(f"{name}={[low, high]}: expected [low, high] with {least} <= low <= high.")
    return low, high
