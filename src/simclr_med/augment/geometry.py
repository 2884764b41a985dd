"""Flips and random resized crop.

The resize is two batched matrix products with one pair of weight matrices per image. Shape letters: B images,
C channels, H W pixels. "Levels" are float32 values 0, 1, ..., 255.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Generator, Tensor

from simclr_med.augment.op import (
    Op,
    Parameters,
    draw_bernoulli,
    find_true_rows,
    from_levels_,
    to_levels,
    validate_probability,
    validate_range,
)
from simclr_med.transfer import to_device

BOX_ATTEMPTS = 10  # torchvision.transforms.RandomResizedCrop.get_params
WEIGHT_STEPS = 2**13  # resize weights are multiples of 1 / 2^13: sums over 8-bit pixels are then exact in float32


def horizontal_flip(p: float) -> Op:
    """Swap left and right with probability p in [0, 1], independently per image (PIL's ImageOps.mirror)."""
    return Op("horizontal_flip", partial(sample_horizontal_flip, p=validate_probability("p", p)), apply_horizontal_flip)


def sample_horizontal_flip(count: int, height: int, width: int, generator: Generator, *, p: float) -> Parameters:
    """Draw which of count images are flipped: (flipped bool [count],)."""
    return (draw_bernoulli(p, count, generator),)


def apply_horizontal_flip(images_BCHW: Tensor, flipped_B: Tensor) -> Tensor:
    """Flip the selected images."""
    rows = find_true_rows(flipped_B, images_BCHW.device)
    return images_BCHW.index_copy(0, rows, images_BCHW.index_select(0, rows).flip(-1))


def vertical_flip(p: float) -> Op:
    """Swap top and bottom with probability p in [0, 1], independently per image (PIL's ImageOps.flip)."""
    return Op("vertical_flip", partial(sample_vertical_flip, p=validate_probability("p", p)), apply_vertical_flip)


def sample_vertical_flip(count: int, height: int, width: int, generator: Generator, *, p: float) -> Parameters:
    """Draw which of count images are flipped: (flipped bool [count],)."""
    return (draw_bernoulli(p, count, generator),)


def apply_vertical_flip(images_BCHW: Tensor, flipped_B: Tensor) -> Tensor:
    """Flip the selected images."""
    rows = find_true_rows(flipped_B, images_BCHW.device)
    return images_BCHW.index_copy(0, rows, images_BCHW.index_select(0, rows).flip(-2))


def random_resized_crop(scale: tuple[float, float], ratio: tuple[float, float], size: int | None = None) -> Op:
    """Crop a box of random area and aspect ratio and resize it bilinearly (Szegedy et al. 2015, section 6).

    The distribution is that of torchvision's RandomResizedCrop: up to 10 attempts with area ~ U(scale) H W and
    ln(ratio) ~ U(ln(ratio)), then the largest central box with an allowed ratio.

    Args:
        scale: [low, high] of the box's area as a fraction of the image's area, in (0, 1].
        ratio: [low, high] of the box's width divided by its height; 0 < low <= high.
        size: side of the square result in pixels; None keeps the images' height and width.

    Raises:
        ValueError: bounds outside their range.
    """
    scale, ratio = validate_boxes(scale, ratio)
    sample = partial(sample_random_resized_crop, scale=scale, ratio=ratio)
    return Op("random_resized_crop", sample, partial(apply_crop, size=size), size)


def sample_random_resized_crop(
    count: int,
    height: int,
    width: int,
    generator: Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Parameters:
    """Draw the boxes of count images: (top, left, rows, columns) in pixels, each int64 [count]."""
    rows, columns, found, corners = draw_boxes(count, height, width, generator, scale, ratio)
    central_rows, central_columns = _find_central_box(height, width, ratio)
    rows, columns = torch.where(found, rows, central_rows), torch.where(found, columns, central_columns)
    top = torch.where(found, corners[:, 0].mul(height - rows + 1).long(), (height - rows) // 2)
    left = torch.where(found, corners[:, 1].mul(width - columns + 1).long(), (width - columns) // 2)
    return top, left, rows, columns


def apply_crop(
    images_BCHW: Tensor, top_B: Tensor, left_B: Tensor, rows_B: Tensor, columns_B: Tensor, *, size: int | None = None
) -> Tensor:
    """Resize each image's box to the output size: out = A_rows X A_columns^T, with one pair of matrices per image.

    The resize is bilinear, with antialiasing where the box shrinks. As in PIL, columns come first and each product is
    rounded half up.
    """
    batch, channels, height, width = images_BCHW.shape
    out_height, out_width = (height, width) if size is None else (size, size)
    boxes_B4 = to_device(torch.stack((top_B, left_B, rows_B, columns_B), dim=1), images_BCHW.device)
    top, left, rows, columns = boxes_B4.unbind(1)
    across = _build_resize_weights(left, columns, width, out_width)
    down = _build_resize_weights(top, rows, height, out_height)
    levels = to_levels(images_BCHW).view(batch, channels * height, width)
    levels = torch.bmm(levels, across.transpose(1, 2)).add_(0.5).floor_().view(batch, channels, height, out_width)
    return from_levels_(torch.matmul(down.unsqueeze(1), levels).add_(0.5).floor_())


def validate_boxes(
    scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the bounds of a box's area and aspect ratio; raise ValueError unless both are > 0 and the area is <= 1."""
    scale, ratio = validate_range("scale", scale, 0.0), validate_range("ratio", ratio, 0.0)
    if scale[0] == 0.0 or scale[1] > 1.0:
        raise ValueError(f"scale={list(scale)}: expected fractions of the area in (0, 1].")
    if ratio[0] == 0.0:
        raise ValueError(f"ratio={list(ratio)}: expected numbers > 0.")
    return scale, ratio


def draw_boxes(
    count: int, height: int, width: int, generator: Generator, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw box sizes with area ~ U(scale) H W and ln(width / height) ~ U(ln(ratio)): the first of 10 that fits.

    Returns:
        (rows, columns, found, corners): int64 [count] in pixels, whether any of the 10 fits, and float64 [count, 2]
        in [0, 1) for the position.
    """
    draws = torch.rand(count, BOX_ATTEMPTS, 2, generator=generator, dtype=torch.float64)
    corners = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    area = draws[..., 0].mul(scale[1] - scale[0]).add(scale[0]).mul(height * width)
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    aspect = draws[..., 1].mul(log_high - log_low).add(log_low).exp()
    columns, rows = area.mul(aspect).sqrt().round().long(), area.div(aspect).sqrt().round().long()
    valid = (columns > 0) & (columns <= width) & (rows > 0) & (rows <= height)
    first = valid.int().argmax(1, keepdim=True)  # argmax returns the first of equal maxima
    return rows.gather(1, first).squeeze(1), columns.gather(1, first).squeeze(1), valid.any(1), corners


def _find_central_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Return rows and columns of the largest box with an allowed ratio."""
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def _build_resize_weights(start_B: Tensor, length_B: Tensor, source: int, target: int) -> Tensor:
    """Return the weights of source pixel j in target pixel i, [B, target, source]: PIL's BILINEAR (a triangle filter).

    With s = length / target, the triangle has the centre start + (i + 1/2) s and the half-width max(s, 1). It is cut
    to the box and normalised.
    """
    start, length = start_B.to(torch.float32).view(-1, 1, 1), length_B.to(torch.float32).view(-1, 1, 1)
    step = length / target
    centres = start + torch.arange(0.5, target, device=start.device).view(1, -1, 1) * step
    pixels = torch.arange(0.5, source, device=start.device).view(1, 1, -1)
    weights = (pixels - centres).abs_().div_(step.clamp(min=1.0)).neg_().add_(1.0).clamp_(min=0.0)
    weights.mul_((pixels > start) & (pixels < start + length))
    return weights.div_(weights.sum(2, keepdim=True)).mul_(WEIGHT_STEPS).round_().div_(WEIGHT_STEPS)
