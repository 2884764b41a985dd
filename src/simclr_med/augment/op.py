"""What an augmentation is: parameters sampled per image on the CPU, and batched arithmetic that applies them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

Parameters = tuple[Tensor, ...]


class Op(NamedTuple):
    """One augmentation of a sequence.

    Both functions are pure and picklable. Images are float32 BCHW in [0, 1] with C of 3, and every op leaves them on
    the 8-bit grid k / 255, rounding or truncating where PIL does: a sequence follows PIL's own uint8 images.

    Attributes:
        name: a word for reports and tests.
        sample: (count, height, width, generator) -> parameters, CPU tensors with leading dimension count. Row i belongs
            to image i alone, so that sampling for a global batch and slicing equals sampling in one process.
        apply: (images_BCHW, *parameters) -> images_BCHW on the images' device. Row i depends on image i and row i of
            the parameters alone. The argument is never written to.
        size: side in pixels of the square result, None where the result has the size of the argument.
    """

    name: str
    sample: Callable[[int, int, int, Generator], Parameters]
    apply: Callable[..., Tensor]
    size: int | None = None


def to_levels(images_BCHW: Tensor) -> Tensor:
    """[0, 1] -> the nearest of 0, 1, ..., 255, still float32 (a new, contiguous tensor)."""
    return images_BCHW.contiguous().mul(255.0).round_()


def from_levels_(levels_BCHW: Tensor) -> Tensor:
    """0, 1, ..., 255 -> [0, 1], in place."""
    return levels_BCHW.div_(255.0)


def uniform(low: float, high: float, count: int, generator: Generator) -> Tensor:
    """count draws from U(low, high), float32 on the CPU."""
    return torch.rand(count, generator=generator).mul_(high - low).add_(low)


def coin(probability: float, count: int, generator: Generator) -> Tensor:
    """count draws that are true with the given probability (never at 0, always at 1), bool on the CPU."""
    return torch.rand(count, generator=generator) < probability


def true_rows(mask_B: Tensor, device: torch.device) -> Tensor:
    """Indices of the true entries, int64 on the device; costs no synchronisation while the mask is on the CPU."""
    return mask_B.nonzero().squeeze(1).to(device)


def column(values_B: Tensor, images_BCHW: Tensor) -> Tensor:
    """One value an image, shaped [B, 1, 1, 1] on the images' device so that it broadcasts over the image."""
    return values_B.to(images_BCHW.device).reshape(-1, 1, 1, 1)


def validate_probability(name: str, value: float) -> float:
    """The value itself; ValueError outside [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name}={value}: must be a probability in [0, 1].")
    return value


def validate_range(name: str, bounds: tuple[float, float], least: float) -> tuple[float, float]:
    """The bounds as a pair of floats; ValueError unless least <= low <= high."""
    low, high = (float(bound) for bound in bounds)
    if not least <= low <= high:
        raise ValueError(f"{name}={[low, high]}: must be [low, high] with {least} <= low <= high.")
    return low, high
