"""Rotation by right angles and by any angle.

Angles are counter-clockwise, as in PIL. Shape letters: B images, C channels, H W pixels.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample

from simclr_med.augment.op import (
    Op,
    Parameters,
    draw_bernoulli,
    draw_uniform,
    find_true_rows,
    from_levels_,
    to_levels,
    validate_probability,
)
from simclr_med.transfer import to_device


def right_angle_rotation(p: float) -> Op:
    """Turn by 90, 180 or 270 degrees, each equally likely, with probability p (PIL's Image.transpose).

    No pixel is interpolated. Images that are not square turn by 180 degrees only.

    Args:
        p: probability of a turn, in [0, 1]; with 0.75 the four orientations of a square are equally likely.

    Raises:
        ValueError: p outside its range.
    """
    sample = partial(sample_right_angle_rotation, p=validate_probability("p", p))
    return Op("right_angle_rotation", sample, apply_right_angle_rotation)


def sample_right_angle_rotation(count: int, height: int, width: int, generator: Generator, *, p: float) -> Parameters:
    """Draw the turns of count images: (quarters int64 [count],), the number of quarter turns, 0 to 3."""
    active = draw_bernoulli(p, count, generator)
    quarters = torch.randint(1, 4, (count,), generator=generator)
    return (torch.where(active, quarters if height == width else 2, 0),)


def apply_right_angle_rotation(images_BCHW: Tensor, quarters_B: Tensor) -> Tensor:
    """Turn each image by its own number of quarter turns."""
    turned = images_BCHW.clone()
    for quarters in (1, 2, 3):
        rows = find_true_rows(quarters_B == quarters, images_BCHW.device)
        if len(rows):  # only square images have odd numbers
            turned.index_copy_(0, rows, images_BCHW.index_select(0, rows).rot90(quarters, (2, 3)))
    return turned


def rotation(degrees: float, p: float = 1.0) -> Op:
    """Rotate around the centre by an angle ~ U(-degrees, degrees), with probability p, and reflect at the borders.

    The result is that of torchvision's rotate with bilinear interpolation, after padding by reflection and before a
    central crop to the same height and width.

    Args:
        degrees: largest angle in degrees, in [0, 180].
        p: probability of a rotation, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """
    if not 0.0 <= degrees <= 180.0:
        raise ValueError(f"degrees={degrees}: expected an angle in [0, 180].")
    sample = partial(sample_rotation, degrees=degrees, p=validate_probability("p", p))
    return Op("rotation", sample, apply_rotation)


def sample_rotation(
    count: int, height: int, width: int, generator: Generator, *, degrees: float, p: float
) -> Parameters:
    """Draw the parameters of count images: (rotated bool [count], angle float32 [count] in degrees)."""
    return draw_bernoulli(p, count, generator), draw_uniform(-degrees, degrees, count, generator)


def apply_rotation(images_BCHW: Tensor, rotated_B: Tensor, angle_B: Tensor) -> Tensor:
    """Rotate the selected images, each by its own angle.

    The pixel at (x, y) from the centre comes from (x cos a - y sin a, x sin a + y cos a), where y points down.
    """
    height, width = images_BCHW.shape[-2:]
    rows = find_true_rows(rotated_B, images_BCHW.device)
    angle = to_device(angle_B[rotated_B].deg2rad(), images_BCHW.device).view(-1, 1, 1)
    cos, sin = angle.cos(), angle.sin()
    x = torch.arange(width, device=angle.device, dtype=angle.dtype).sub_((width - 1) / 2)
    y = torch.arange(height, device=angle.device, dtype=angle.dtype).sub_((height - 1) / 2).view(-1, 1)
    # grid_sample counts from -1 to 1 between the centres of the first and the last pixel
    across, down = (max(width - 1, 1) / 2, max(height - 1, 1) / 2)
    grid = torch.stack(((x * cos - y * sin).div_(across), (x * sin + y * cos).div_(down)), dim=3)
    levels = grid_sample(
        to_levels(images_BCHW.index_select(0, rows)), grid, "bilinear", padding_mode="reflection", align_corners=True
    )
    # PIL truncates; the 1e-2 keeps levels that are exact but for the rounding of the coordinates
    return images_BCHW.index_copy(0, rows, from_levels_(levels.add_(1e-2).floor_().clamp_(max=255.0)))
