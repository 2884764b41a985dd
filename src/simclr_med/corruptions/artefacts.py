"""Things that do not belong to the object: bubbles, stains, dark corners, blocks and compression.

The arguments are those of `noise`. Lengths are in pixels of an image of 224 px, as in `blur`.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from simclr_med.corruptions.blur import scale_length
from simclr_med.corruptions.draws import Draws
from simclr_med.transfer import to_device

_FEWEST_BUBBLES, _SMALLEST_BUBBLE, _RIM = 7, 3, 2
_BUBBLE_ALPHA, _RIM_ALPHA = 100 / 255, 130 / 255
_DISCS = 5  # of one stain
_STAIN_RADIUS = (5.0, 11.0)


def bubble(images_BCHW: Tensor, draws: Draws, largest: float, most: float) -> Tensor:
    """Lay 7 to most half-transparent white bubbles over the image, with a brighter rim and radii of 3 to largest."""
    height, width = images_BCHW.shape[2:]
    drawn = draws.uniform(1 + 3 * int(most))
    counts = (_FEWEST_BUBBLES + drawn[:, 0] * (int(most) - _FEWEST_BUBBLES + 1)).floor()
    alpha = images_BCHW.new_zeros(len(images_BCHW), 1, height, width)
    for number in range(int(most)):
        size, across, down = drawn[:, 1 + 3 * number : 4 + 3 * number].unbind(1)
        radius = (_SMALLEST_BUBBLE + size * (largest - _SMALLEST_BUBBLE)) * scale_length(1, images_BCHW)
        radius = torch.where(number < counts, radius, torch.full_like(radius, -1e3))
        places = (_inside(across, radius, width), _inside(down, radius, height))
        for grown, value in ((scale_length(_RIM, images_BCHW), _RIM_ALPHA), (0.0, _BUBBLE_ALPHA)):
            cover = _cover_disc(images_BCHW, *places, radius + grown)
            alpha = alpha * (1 - cover) + value * cover
    return images_BCHW + (1 - images_BCHW) * alpha


def stain_deposit(images_BCHW: Tensor, draws: Draws, most: float) -> Tensor:
    """Put 1 to most dark stains on the image. A stain is five overlapping discs with radii of 5 to 11.

    MedMNIST-C pastes scanned spots of ink; these are drawn.
    """
    height, width = images_BCHW.shape[2:]
    drawn = draws.uniform(1 + int(most) * (2 + 3 * _DISCS))
    counts = (1 + drawn[:, 0] * int(most)).floor()
    kept = images_BCHW.new_ones(len(images_BCHW), 1, height, width)
    low, high = _STAIN_RADIUS
    for number, stain in enumerate(drawn[:, 1:].reshape(len(drawn), int(most), -1).unbind(1)):
        margin = torch.full_like(counts, scale_length(10 + high, images_BCHW))
        across, down = _inside(stain[:, 0], margin, width), _inside(stain[:, 1], margin, height)
        for disc in stain[:, 2:].reshape(len(stain), _DISCS, 3).unbind(1):
            radius = (low + disc[:, 0] * (high - low)) * scale_length(1, images_BCHW)
            x, y = (place + (disc[:, 1 + axis] - 0.5) * 2 * radius for axis, place in enumerate((across, down)))
            radius = torch.where(number < counts, radius, torch.full_like(radius, -1e3))
            kept = kept * (1 - _cover_disc(images_BCHW, x, y, radius))
    return images_BCHW * kept


def black_corner(images_BCHW: Tensor, draws: Draws, factor: float) -> Tensor:
    """Make everything black outside a central circle, whose radius is the factor times half the shorter side."""
    height, width = images_BCHW.shape[2:]
    ones = torch.ones(len(images_BCHW))
    return images_BCHW * _cover_disc(
        images_BCHW, ones * width / 2, ones * height / 2, ones * factor * min(height, width) / 2
    )


def pixelate(images_BCHW: Tensor, draws: Draws, factor: float) -> Tensor:
    """Shrink to a factor of the size and enlarge again, both with PIL's box filter."""
    height, width = images_BCHW.shape[2:]
    small = [max(1, int(side * factor)) for side in (height, width)]
    down, across = (
        (build_box_weights(few, side) @ build_box_weights(side, few)).to(images_BCHW.device)
        for few, side in zip(small, (height, width), strict=True)
    )
    return down @ images_BCHW @ across.T


def build_box_weights(source: int, target: int) -> Tensor:
    """Return the weights of PIL's box filter from source to target pixels along one axis, float32 [target, source]."""
    scale = source / target
    reach = 0.5 * max(scale, 1.0)
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * scale
    offsets = (torch.arange(source, dtype=torch.float64) + 0.5)[None, :] - centres[:, None]
    # Open below and closed above, as PIL's box_filter is.
    inside = ((offsets > -reach) & (offsets <= reach)).double()
    return (inside / inside.sum(1, keepdim=True)).float()


def jpeg_compression(images_BCHW: Tensor, draws: Draws, quality: float) -> Tensor:
    """Save and read each image as JPEG with this quality, by PIL on the CPU."""
    levels = images_BCHW.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    decoded = [_compress(image[..., 0] if image.shape[2] == 1 else image, int(quality)) for image in levels]
    images = np.stack(decoded).reshape(levels.shape).transpose(0, 3, 1, 2)
    return to_device(torch.from_numpy(images.astype(np.float32)), images_BCHW.device) / 255


def _compress(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _inside(fraction_B: Tensor, margin_B: Tensor, side: int) -> Tensor:
    """Return places along an axis, at least a margin from both ends where the side has room for it."""
    margin = margin_B.clamp(0, side / 2)
    return margin + fraction_B * (side - 2 * margin)


def _cover_disc(images_BCHW: Tensor, x_B: Tensor, y_B: Tensor, radius_B: Tensor) -> Tensor:
    """Return the part of each pixel that a disc covers, [B, 1, H, W]; its edge is one pixel wide."""
    height, width = images_BCHW.shape[2:]
    device = images_BCHW.device
    x, y, radius = (to_device(values, device).view(-1, 1, 1) for values in (x_B, y_B, radius_B))
    down, across = (torch.arange(side, device=device) + 0.5 for side in (height, width))
    distance = ((across.view(1, 1, -1) - x) ** 2 + (down.view(1, -1, 1) - y) ** 2).sqrt()
    edge = (radius - distance + 0.5).clamp(0, 1)
    # A disc smaller than a pixel cannot fill it.
    return (edge * (torch.pi * radius.clamp(min=0) ** 2).clamp(max=1)).unsqueeze(1)
