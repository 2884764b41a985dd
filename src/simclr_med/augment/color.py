"""Colour jitter, jitter of channels, random grayscale and solarisation, rounded as in PIL.

Shape letters: B images, C channels, H W pixels. "Levels" are float32 values 0, 1, ..., 255.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Generator, Tensor

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
)
from simclr_med.transfer import to_device

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def color_jitter(brightness: float, contrast: float, saturation: float, hue: float, p: float) -> Op:
    """Change brightness, contrast, saturation and hue with probability p, in an order drawn per image.

    The operation is torchvision's ColorJitter inside RandomApply (Chen et al. 2020, appendix A). Values are clamped to
    [0, 1] after each of the four steps.

    Args:
        brightness: b; the brightness factor is drawn from U(max(0, 1 - b), 1 + b); b >= 0.
        contrast: the same for the contrast factor.
        saturation: the same for the saturation factor.
        hue: h in turns; the hue is shifted by U(-h, h) turns; 0 <= h <= 0.5.
        p: probability of a change, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, strength in strengths.items():
        if strength < 0.0:
            raise ValueError(f"{name}={strength}: expected a number >= 0.")
    if not 0.0 <= hue <= 0.5:
        raise ValueError(f"hue={hue}: expected turns in [0, 0.5].")
    bounds = (*((max(0.0, 1.0 - strength), 1.0 + strength) for strength in strengths.values()), (-hue, hue))
    sample = partial(sample_color_jitter, bounds=bounds, p=validate_probability("p", p))
    return Op("color_jitter", sample, apply_color_jitter, needs_rgb=True)


def sample_color_jitter(
    count: int, height: int, width: int, generator: Generator, *, bounds: tuple[tuple[float, float], ...], p: float
) -> Parameters:
    """Draw the parameters of count images: (active bool [count], order int64 [count, 4], factors float32 [count, 4]).

    order[i, k] is the k-th step of image i; factors[i, o] is the factor of step o (brightness, contrast, saturation;
    for hue the shift in turns).
    """
    active = draw_bernoulli(p, count, generator)
    order = torch.rand(count, 4, generator=generator, dtype=torch.float64).argsort(1)
    factors = torch.stack([draw_uniform(low, high, count, generator) for low, high in bounds], dim=1)
    return active, order, factors


def apply_color_jitter(images_BCHW: Tensor, active_B: Tensor, order_B4: Tensor, factors_B4: Tensor) -> Tensor:
    """Apply the four steps to each active image in its own order.

    The images are sorted by the position of the hue step, latest first. The blends before the hue then apply to leading
    rows, the hue to all rows at once and the blends after the hue to trailing rows, so that every image takes exactly
    four steps and the costly hue runs once per batch.
    """
    hue_position_B = order_B4.eq(HUE).int().argmax(1)
    rows = active_B.nonzero().squeeze(1)
    rows = rows[hue_position_B[rows].argsort(descending=True, stable=True)]
    hue_position, order, factors = hue_position_B[rows], order_B4[rows], factors_B4[rows]
    # at_least[k]: number of rows whose hue step is the k-th or later, counted from 0
    at_least = [int((hue_position >= k).sum()) for k in range(4)]
    shifts_hue = bool(factors[:, HUE].any())
    rows, order, factors = (to_device(values, images_BCHW.device) for values in (rows, order, factors))
    levels = to_levels(images_BCHW.index_select(0, rows))
    for k in range(3):
        before = slice(0, at_least[k + 1])
        _blend_(levels[before], order[before, k], factors[before])
    if shifts_hue:
        levels = shift_hue(levels.div_(255.0), factors[:, HUE]).mul_(255.0).round_()
    for k in range(1, 4):
        after = slice(at_least[k], None)
        _blend_(levels[after], order[after, k], factors[after])
    return images_BCHW.index_copy(0, rows, from_levels_(levels))


def channel_jitter(brightness: float, contrast: float, p: float) -> Op:
    """Change brightness, then contrast, with probability p, of images with any number of channels.

    Each channel is treated as a grey image by torchvision's ColorJitter: contrast changes around its own mean. All
    channels of an image have the same two factors.

    Args:
        brightness: b; the brightness factor is drawn from U(max(0, 1 - b), 1 + b); b >= 0.
        contrast: the same for the contrast factor.
        p: probability of a change, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """
    strengths = {"brightness": brightness, "contrast": contrast}
    for name, strength in strengths.items():
        if strength < 0.0:
            raise ValueError(f"{name}={strength}: expected a number >= 0.")
    bounds = tuple((max(0.0, 1.0 - strength), 1.0 + strength) for strength in strengths.values())
    sample = partial(sample_channel_jitter, bounds=bounds, p=validate_probability("p", p))
    return Op("channel_jitter", sample, apply_channel_jitter)


def sample_channel_jitter(
    count: int, height: int, width: int, generator: Generator, *, bounds: tuple[tuple[float, float], ...], p: float
) -> Parameters:
    """Draw the parameters of count images: (active bool [count], brightness and contrast float32 [count])."""
    active = draw_bernoulli(p, count, generator)
    return (active, *(draw_uniform(low, high, count, generator) for low, high in bounds))


def apply_channel_jitter(images_BCHW: Tensor, active_B: Tensor, brightness_B: Tensor, contrast_B: Tensor) -> Tensor:
    """Apply both steps to each channel of the active images, truncated and clamped as in PIL's Image.blend."""
    rows = find_true_rows(active_B, images_BCHW.device)
    levels = to_levels(images_BCHW.index_select(0, rows))
    levels.mul_(broadcast_per_image(brightness_B[active_B], levels)).floor_().clamp_(0.0, 255.0)
    mean = levels.mean((2, 3), keepdim=True).add_(0.5).floor_()
    levels.sub_(mean).mul_(broadcast_per_image(contrast_B[active_B], levels)).add_(mean).floor_().clamp_(0.0, 255.0)
    return images_BCHW.index_copy(0, rows, from_levels_(levels))


def random_grayscale(p: float) -> Op:
    """Replace the three channels by PIL's luma (ITU-R 601) with probability p in [0, 1], independently per image."""
    sample = partial(sample_random_grayscale, p=validate_probability("p", p))
    return Op("random_grayscale", sample, apply_random_grayscale, needs_rgb=True)


def sample_random_grayscale(count: int, height: int, width: int, generator: Generator, *, p: float) -> Parameters:
    """Draw which of count images become grey: (grey bool [count],)."""
    return (draw_bernoulli(p, count, generator),)


def apply_random_grayscale(images_BCHW: Tensor, grey_B: Tensor) -> Tensor:
    """Replace the channels of the selected images by their luma."""
    rows = find_true_rows(grey_B, images_BCHW.device)
    luma = from_levels_(_compute_luma(to_levels(images_BCHW.index_select(0, rows))))
    return images_BCHW.index_copy(0, rows, luma.expand(-1, images_BCHW.shape[1], -1, -1))


def solarize(threshold: int, p: float) -> Op:
    """Invert every level of at least a threshold with probability p, independently per image (PIL's solarize).

    Args:
        threshold: level in [0, 255] from which x becomes 255 - x, in each channel.
        p: probability of a change, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """
    if not 0 <= threshold <= 255:
        raise ValueError(f"threshold={threshold}: expected a level in [0, 255].")
    sample = partial(sample_solarize, p=validate_probability("p", p))
    return Op("solarize", sample, partial(apply_solarize, threshold=threshold))


def sample_solarize(count: int, height: int, width: int, generator: Generator, *, p: float) -> Parameters:
    """Draw which of count images are solarised: (solarized bool [count],)."""
    return (draw_bernoulli(p, count, generator),)


def apply_solarize(images_BCHW: Tensor, solarized_B: Tensor, *, threshold: int) -> Tensor:
    """Invert the bright levels of the selected images."""
    rows = find_true_rows(solarized_B, images_BCHW.device)
    levels = to_levels(images_BCHW.index_select(0, rows))
    inverted = torch.where(levels >= threshold, 255.0 - levels, levels)
    return images_BCHW.index_copy(0, rows, from_levels_(inverted))


def shift_hue(images_BCHW: Tensor, turns_B: Tensor) -> Tensor:
    """Shift the HSV hue of each image by its own number of turns; saturation and value stay. Not rounded to 8 bits.

    This is the closed form of Smith's hexcone model (1978). Let V be the largest channel, K the chroma (largest minus
    smallest channel), h the hue in turns and d the distance on the circle. Channel c with the pure hue h_c of
    (0, 1/3, 2/3) becomes V - K clamp(6 d(h + turns, h_c) - 1, 0, 1).
    """
    red, green, blue = images_BCHW.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    sector = torch.where(value == green, (blue - red).add_(chroma, alpha=2.0), (red - green).add_(chroma, alpha=4.0))
    sector = torch.where(value == red, green - blue, sector)
    turn = sector.div_(chroma.mul(6.0).clamp_(min=1e-12)).add_(to_device(turns_B, images_BCHW.device).view(-1, 1, 1))
    pure = torch.arange(3.0, device=images_BCHW.device).div_(3.0).view(1, 3, 1, 1)
    distance = turn.unsqueeze(1) - pure
    distance.sub_(distance.round()).abs_().mul_(6.0).sub_(1.0).clamp_(0.0, 1.0)
    return distance.mul_(chroma.unsqueeze(1)).neg_().add_(value.unsqueeze(1))


def _compute_luma(levels_BCHW: Tensor) -> Tensor:
    """Return PIL's L exactly, [B, 1, H, W]: (19595 R + 38470 G + 7471 B + 2^15) >> 16; every sum is below 2^24."""
    red, green, blue = levels_BCHW.split(1, dim=1)
    return red.mul(19595.0).add_(green, alpha=38470.0).add_(blue, alpha=7471.0).add_(32768.0).mul_(2.0**-16).floor_()


def _blend_(levels_BCHW: Tensor, step_B: Tensor, factors_B4: Tensor) -> None:
    """Blend in place: out = base + factor (x - base), truncated and clamped as in PIL's Image.blend.

    The base is black for brightness, the image's rounded mean luma for contrast and each pixel's luma for saturation.
    """
    if levels_BCHW.shape[0] == 0:
        return
    factor = broadcast_per_image(factors_B4.gather(1, step_B.unsqueeze(1)), levels_BCHW)
    luma = _compute_luma(levels_BCHW)
    mean = luma.mean((2, 3), keepdim=True).add_(0.5).floor_()
    mean.mul_(broadcast_per_image(step_B == CONTRAST, levels_BCHW))
    base = luma.mul_(broadcast_per_image(step_B == SATURATION, levels_BCHW)).add_(mean)
    levels_BCHW.sub_(base).mul_(factor).add_(base).floor_().clamp_(0.0, 255.0)
