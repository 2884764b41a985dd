"""Gaussian noise and random erasing.

The value of a pixel is a hash of its image's number and its place, computed where the image is. So only one number per
image is drawn on the CPU and copied, and every device gives the same noise. All channels share it: grey images stay
grey. Shape letters: B images, C channels, H W pixels. "Levels" are float32 values 0, 1, ..., 255.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Generator, Tensor

from simclr_med.augment.geometry import draw_boxes, validate_boxes
from simclr_med.augment.op import (
    Op,
    Parameters,
    broadcast_per_image,
    draw_bernoulli,
    draw_uniform,
    find_true_rows,
    from_levels_,
    to_levels,
    validate_probability,
    validate_range,
)
from simclr_med.transfer import to_device

WORD = 2**32 - 1  # mask of 32 bits
HALF = 2**16 - 1


def gaussian_noise(std: tuple[float, float], p: float) -> Op:
    """Add Gaussian noise with probability p and one standard deviation per image, clamped to [0, 1].

    Args:
        std: [low, high] as a fraction of the range of values; the standard deviation is drawn from U(low, high);
            0 <= low <= high.
        p: probability of a change, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """
    sample = partial(sample_gaussian_noise, std=validate_range("std", std, 0.0), p=validate_probability("p", p))
    return Op("gaussian_noise", sample, apply_gaussian_noise)


def sample_gaussian_noise(
    count: int, height: int, width: int, generator: Generator, *, std: tuple[float, float], p: float
) -> Parameters:
    """Draw the parameters of count images: (noisy bool [count], std float32 [count], number int64 [count])."""
    return draw_bernoulli(p, count, generator), draw_uniform(*std, count, generator), _draw_numbers(count, generator)


def apply_gaussian_noise(images_BCHW: Tensor, noisy_B: Tensor, std_B: Tensor, number_B: Tensor) -> Tensor:
    """Add noise to the selected images, by the transform of Box and Muller (1958) of two 16-bit uniform values."""
    height, width = images_BCHW.shape[-2:]
    rows = find_true_rows(noisy_B, images_BCHW.device)
    bits = hash_pixels(to_device(number_B[noisy_B], images_BCHW.device), height, width)
    radius = bits.bitwise_right_shift(16).float().add_(0.5).div_(2.0**16).log_().mul_(-2.0).sqrt_()
    noise = bits.bitwise_and_(HALF).float().mul_(math.tau / 2.0**16).cos_().mul_(radius).view(-1, 1, height, width)
    noise.mul_(broadcast_per_image(std_B[noisy_B] * 255.0, noise))
    levels = to_levels(images_BCHW.index_select(0, rows)).add_(noise).round_().clamp_(0.0, 255.0)
    return images_BCHW.index_copy(0, rows, from_levels_(levels))


def random_erasing(scale: tuple[float, float], ratio: tuple[float, float], p: float) -> Op:
    """Replace a box of random area and aspect ratio by random levels, with probability p (Zhong et al. 2020).

    As in torchvision's RandomErasing, the image stays unchanged if none of 10 boxes fits.

    Args:
        scale: [low, high] of the box's area as a fraction of the image's area, in (0, 1].
        ratio: [low, high] of the box's width divided by its height; 0 < low <= high.
        p: probability of a box, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """
    scale, ratio = validate_boxes(scale, ratio)
    sample = partial(sample_random_erasing, scale=scale, ratio=ratio, p=validate_probability("p", p))
    return Op("random_erasing", sample, apply_random_erasing)


def sample_random_erasing(
    count: int,
    height: int,
    width: int,
    generator: Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    p: float,
) -> Parameters:
    """Draw the parameters of count images: (erased bool, top, left, rows, columns in pixels, number), each [count]."""
    erased = draw_bernoulli(p, count, generator)
    rows, columns, found, corners = draw_boxes(count, height, width, generator, scale, ratio)
    top, left = corners[:, 0].mul(height - rows + 1).long(), corners[:, 1].mul(width - columns + 1).long()
    return erased & found, top, left, rows, columns, _draw_numbers(count, generator)


def apply_random_erasing(
    images_BCHW: Tensor,
    erased_B: Tensor,
    top_B: Tensor,
    left_B: Tensor,
    rows_B: Tensor,
    columns_B: Tensor,
    number_B: Tensor,
) -> Tensor:
    """Erase the box of each selected image."""
    height, width = images_BCHW.shape[-2:]
    chosen = find_true_rows(erased_B, images_BCHW.device)
    drawn = torch.stack((top_B, left_B, rows_B, columns_B, number_B), dim=1)[erased_B]
    top, left, rows, columns, number = to_device(drawn, images_BCHW.device).view(-1, 5, 1, 1).unbind(1)
    y, x = torch.arange(height, device=top.device).view(-1, 1), torch.arange(width, device=top.device)
    inside = (y >= top) & (y < top + rows) & (x >= left) & (x < left + columns)
    levels = from_levels_(hash_pixels(number.flatten(), height, width).bitwise_right_shift_(24).float())
    erased = torch.where(inside.unsqueeze(1), levels.view(-1, 1, height, width), images_BCHW.index_select(0, chosen))
    return images_BCHW.index_copy(0, chosen, erased)


def hash_pixels(number_B: Tensor, height: int, width: int) -> Tensor:
    """Return 32 pseudo-random bits for each pixel, int64 [B, H W], as a function of (number, place) alone.

    The place times 2^32 / golden ratio is added to the number, then mixed by two rounds of xor-shift and multiply with
    the constants of Wellons' hash-prospector (2018). Products stay below 2^63, so that no device overflows.
    """
    place = torch.arange(height * width, device=number_B.device)
    bits = number_B.view(-1, 1) + place.mul_(0x9E3779B1).bitwise_and_(WORD)
    bits.bitwise_and_(WORD)
    bits.bitwise_xor_(bits >> 16).mul_(0x21F0AAAD).bitwise_and_(WORD)
    bits.bitwise_xor_(bits >> 15).mul_(0x735A2D97).bitwise_and_(WORD)
    return bits.bitwise_xor_(bits >> 15)


def _draw_numbers(count: int, generator: Generator) -> Tensor:
    """Draw one 32-bit number per image, int64 [count]."""
    return torch.randint(2**32, (count,), generator=generator)
