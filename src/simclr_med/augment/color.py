"""Colour jitter and random grayscale, with PIL's rounding."""

from __future__ import annotations

from functools import partial

import torch
from torch import Generator, Tensor

from simclr_med.augment.op import (
    Op,
    Parameters,
    coin,
    column,
    from_levels_,
    to_levels,
    true_rows,
    uniform,
    validate_probability,
)

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def color_jitter(brightness: float, contrast: float, saturation: float, hue: float, p: float) -> Op:
    """With probability p, four colour operations one after the other in an order drawn per image.

    Factors are U(max(0, 1 - b), 1 + b) for brightness, and likewise for contrast and saturation; the hue moves by
    U(-hue, hue) turns. Clamped to [0, 1] after each operation (torchvision's ColorJitter in RandomApply; Chen et al.
    2020, appendix A).
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, strength in strengths.items():
        if strength < 0.0:
            raise ValueError(f"{name}={strength}: must be at least 0.")
    if not 0.0 <= hue <= 0.5:
        raise ValueError(f"hue={hue}: must be in [0, 0.5] turns.")
    bounds = (*((max(0.0, 1.0 - strength), 1.0 + strength) for strength in strengths.values()), (-hue, hue))
    sample = partial(sample_color_jitter, bounds=bounds, p=validate_probability("p", p))
    return Op("color_jitter", sample, apply_color_jitter)


def sample_color_jitter(
    count: int, height: int, width: int, generator: Generator, *, bounds: tuple[tuple[float, float], ...], p: float
) -> Parameters:
    """Returns (active bool [count], order int64 [count, 4], factors float32 [count, 4]).

    order[i, k] is the operation that image i undergoes k-th; factors[i, o] is the factor of operation o (brightness,
    contrast, saturation, hue in turns).
    """
    active = coin(p, count, generator)
    order = torch.rand(count, 4, generator=generator, dtype=torch.float64).argsort(1)
    factors = torch.stack([uniform(low, high, count, generator) for low, high in bounds], dim=1)
    return active, order, factors


def apply_color_jitter(images_BCHW: Tensor, active_B: Tensor, order_B4: Tensor, factors_B4: Tensor) -> Tensor:
    """Applies the operations in each image's own order, without sorting work by operation.

    Images are sorted by the place of the hue: those with k operations before it are the first rows for every smaller
    k. So the blends before the hue run on leading rows, the hue on all rows at once, and the blends after it on
    trailing rows: each row is touched by four operations exactly.
    """
    place_B = order_B4.eq(HUE).int().argmax(1)
    rows = active_B.nonzero().squeeze(1)
    rows = rows[place_B[rows].argsort(descending=True, stable=True)]
    place, order, factors = place_B[rows], order_B4[rows], factors_B4[rows]
    # at_least[k]: rows whose hue comes k-th or later, counted from 0
    at_least = [int((place >= k).sum()) for k in range(4)]
    rows = rows.to(images_BCHW.device)
    levels = to_levels(images_BCHW.index_select(0, rows))
    for k in range(3):
        before = slice(0, at_least[k + 1])
        _blend_(levels[before], order[before, k], factors[before])
    if bool(factors[:, HUE].any()):
        levels = shift_hue(levels.div_(255.0), factors[:, HUE]).mul_(255.0).round_()
    for k in range(1, 4):
        after = slice(at_least[k], None)
        _blend_(levels[after], order[after, k], factors[after])
    return images_BCHW.index_copy(0, rows, from_levels_(levels))


def random_grayscale(p: float) -> Op:
    """Replaces the three channels by PIL's luma with probability p, independently per image."""
    sample = partial(sample_random_grayscale, p=validate_probability("p", p))
    return Op("random_grayscale", sample, apply_random_grayscale)


def sample_random_grayscale(count: int, height: int, width: int, generator: Generator, *, p: float) -> Parameters:
    """Returns (grey bool [count],)."""
    return (coin(p, count, generator),)


def apply_random_grayscale(images_BCHW: Tensor, grey_B: Tensor) -> Tensor:
    rows = true_rows(grey_B, images_BCHW.device)
    luma = from_levels_(_luma(to_levels(images_BCHW.index_select(0, rows))))
    return images_BCHW.index_copy(0, rows, luma.expand(-1, images_BCHW.shape[1], -1, -1))


def shift_hue(images_BCHW: Tensor, turns_B: Tensor) -> Tensor:
    """Turns the HSV hue of each image by its own angle; saturation and value stay. Not rounded to 8 bits.

    With V the largest channel, K the chroma (largest minus smallest) and h the hue in turns, channel c, whose pure hue
    is h_c in (0, 1/3, 2/3), becomes V - K clamp(6 d(h + turns, h_c) - 1, 0, 1), d being the distance on the circle:
    Smith's hexcone model (1978) in closed form.
    """
    red, green, blue = images_BCHW.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    sector = torch.where(value == green, (blue - red).add_(chroma, alpha=2.0), (red - green).add_(chroma, alpha=4.0))
    sector = torch.where(value == red, green - blue, sector)
    turn = sector.div_(chroma.mul(6.0).clamp_(min=1e-12)).add_(turns_B.to(images_BCHW.device).view(-1, 1, 1))
    pure = torch.arange(3.0, device=images_BCHW.device).div_(3.0).view(1, 3, 1, 1)
    distance = turn.unsqueeze(1) - pure
    distance.sub_(distance.round()).abs_().mul_(6.0).sub_(1.0).clamp_(0.0, 1.0)
    return distance.mul_(chroma.unsqueeze(1)).neg_().add_(value.unsqueeze(1))


def _luma(levels_BCHW: Tensor) -> Tensor:
    """PIL's L, [B, 1, H, W], exactly: (19595 R + 38470 G + 7471 B + 2^15) >> 16, of which every sum is below 2^24."""
    red, green, blue = levels_BCHW.split(1, dim=1)
    return red.mul(19595.0).add_(green, alpha=38470.0).add_(blue, alpha=7471.0).add_(32768.0).mul_(2.0**-16).floor_()


def _blend_(levels_BCHW: Tensor, kind_B: Tensor, factors_B4: Tensor) -> None:
    """In place, out = base + factor (x - base), truncated and clamped as PIL's Image.blend does.

    base is black for brightness, the rounded mean luma of the image for contrast, and each pixel's luma for saturation.
    """
    if levels_BCHW.shape[0] == 0:
        return
    factor = column(factors_B4.gather(1, kind_B.unsqueeze(1)), levels_BCHW)
    luma = _luma(levels_BCHW)
    mean = luma.mean((2, 3), keepdim=True).add_(0.5).floor_()
    mean.mul_(column(kind_B == CONTRAST, levels_BCHW))
    base = luma.mul_(column(kind_B == SATURATION, levels_BCHW)).add_(mean)
    levels_BCHW.sub_(base).mul_(factor).add_(base).floor_().clamp_(0.0, 255.0)
