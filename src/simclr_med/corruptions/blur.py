"""Blur by focus, movement and zoom. The arguments are those of `noise`.

Lengths are in pixels of an image of 224 px, on which MedMNIST-C is defined, and shrink with the shorter side: the same
defect of the instrument is smaller in a smaller image.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from simclr_med.augment.filters import apply_gaussian_blur
from simclr_med.corruptions.draws import Draws
from simclr_med.transfer import to_device

REFERENCE_SIDE = 224
_KERNEL_PER_SIDE = 0.25  # of a Gaussian: 3 sigma or more on each side, up to a sigma of 9
_TAP = 0.5  # pixels between two samples of a trail
_SUBPIXELS = 16  # samples across a pixel, for the edge of a disc
_STEEPEST = math.pi / 4


def scale_length(length: float, images_BCHW: Tensor) -> float:
    """Return a length of an image of 224 px in pixels of these images."""
    return length * min(images_BCHW.shape[-2:]) / REFERENCE_SIDE


def gaussian_blur(images_BCHW: Tensor, draws: Draws, sigma: float) -> Tensor:
    """Blur with a Gaussian."""
    count = len(images_BCHW)
    return apply_gaussian_blur(
        images_BCHW,
        torch.ones(count, dtype=torch.bool),
        torch.full((count,), sigma),
        kernel_per_side=_KERNEL_PER_SIDE,
        reference_side=REFERENCE_SIDE,
    )


def defocus_blur(images_BCHW: Tensor, draws: Draws, radius: float) -> Tensor:
    """Average over a disc, as a lens out of focus does."""
    kernel = to_device(build_disc(scale_length(radius, images_BCHW)), images_BCHW.device)
    channels, half = images_BCHW.shape[1], len(kernel) // 2
    padded = functional.pad(images_BCHW, (half, half, half, half), mode="reflect")
    return functional.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def build_disc(radius: float) -> Tensor:
    """Return the part of each pixel that a disc around the central one covers, with the sum 1, float32 [odd, odd]."""
    half = max(math.ceil(radius - 0.5), 0)
    side = 2 * half + 1
    points = (torch.arange(side * _SUBPIXELS) + 0.5) / _SUBPIXELS - side / 2
    inside = (points[:, None] ** 2 + points[None, :] ** 2 <= radius**2).float()
    covered = functional.avg_pool2d(inside[None, None], _SUBPIXELS)[0, 0]
    if not covered.any():
        covered[half, half] = 1.0
    return covered / covered.sum()


def motion_blur(images_BCHW: Tensor, draws: Draws, radius: float, sigma: float) -> Tensor:
    """Draw a trail of 2 radius with half-Gaussian weights, at an angle from U(-45, 45) degrees for each image.

    The weights are those of ImageMagick's MotionBlurImage, which MedMNIST-C calls.
    """
    length, width = 2 * scale_length(radius, images_BCHW), scale_length(sigma, images_BCHW)
    distances = np.arange(0, length + _TAP / 2, _TAP)
    weights = np.exp(-(distances**2) / (2 * width**2))
    angles = draws.uniform(1).mul_(2).sub_(1).mul_(_STEEPEST)[:, 0]
    blurred = torch.zeros_like(images_BCHW)
    for distance, weight in zip(distances.tolist(), (weights / weights.sum()).tolist(), strict=True):
        shifts = torch.stack((angles.cos(), angles.sin()), 1) * distance
        blurred += weight * _sample(images_BCHW, torch.ones(len(shifts)), shifts)
    return blurred


def zoom_blur(images_BCHW: Tensor, draws: Draws, largest: float, step: float) -> Tensor:
    """Average the image and its enlargements by 1, 1 + step, ... up to the largest factor."""
    total, count = images_BCHW.clone(), len(images_BCHW)
    factors = np.arange(1.0, largest + step / 2, step).tolist()
    for factor in factors:
        total += _sample(images_BCHW, torch.full((count,), 1 / factor), torch.zeros(count, 2))
    return total / (len(factors) + 1)


def _sample(images_BCHW: Tensor, scale_B: Tensor, shift_B2: Tensor) -> Tensor:
    """Return each image read at scale times the distance from the centre, minus the shift (x, y) in pixels; bilinear.

    Outside, the border's values are repeated.
    """
    height, width = images_BCHW.shape[2:]
    matrix = torch.zeros(len(images_BCHW), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale_B
    matrix[:, :, 2] = -shift_B2 * 2 / torch.tensor([width, height])
    grid = functional.affine_grid(to_device(matrix, images_BCHW.device), list(images_BCHW.shape), align_corners=False)
    return functional.grid_sample(images_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)
