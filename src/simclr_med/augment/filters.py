"""Gaussian blur, histogram equalisation and sharpening, with PIL's borders and rounding."""

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
    validate_range,
)


def gaussian_blur(
    kernel_per_side: float,
    sigma: tuple[float, float],
    p: float = 1.0,
    reference_side: int | None = None,
    above_side: int = 0,
) -> Op:
    """Gaussian blur with reflected borders, with probability p and its own sigma per image.

    The kernel has the odd width nearest to kernel_per_side times the shorter side of the image.

    Args:
        kernel_per_side: width of the kernel as a share of the side, in (0, 1).
        sigma: sigma is U(low, high) pixels; 0 < low.
        p: probability.
        reference_side: if given, sigma is in pixels of an image of this side, and grows in proportion to the side.
        above_side: images whose shorter side is at most this stay as they are.
    """
    if not 0.0 < kernel_per_side < 1.0:
        raise ValueError(f"kernel_per_side={kernel_per_side}: must be in (0, 1).")
    low, high = validate_range("sigma", sigma, 0.0)
    if low == 0.0:
        raise ValueError(f"sigma={[low, high]}: must be above 0.")
    sample = partial(sample_gaussian_blur, sigma=(low, high), p=validate_probability("p", p))
    apply = partial(
        apply_gaussian_blur, kernel_per_side=kernel_per_side, reference_side=reference_side, above_side=above_side
    )
    return Op("gaussian_blur", sample, apply)


def sample_gaussian_blur(
    count: int, height: int, width: int, generator: Generator, *, sigma: tuple[float, float], p: float
) -> Parameters:
    """Returns (blurred bool [count], sigma float32 [count])."""
    return coin(p, count, generator), uniform(*sigma, count, generator)


def apply_gaussian_blur(
    images_BCHW: Tensor,
    blurred_B: Tensor,
    sigma_B: Tensor,
    *,
    kernel_per_side: float,
    reference_side: int | None = None,
    above_side: int = 0,
) -> Tensor:
    """out = A_rows X A_columns^T: one pair of banded matrices an image, with the reflection folded into them."""
    height, width = images_BCHW.shape[-2:]
    side = min(height, width)
    if side <= above_side:
        return images_BCHW
    sigma = sigma_B if reference_side is None else sigma_B * (side / reference_side)
    radius = kernel_width(kernel_per_side, side) // 2
    if bool(blurred_B.all()):
        return _blur(images_BCHW, sigma.to(images_BCHW.device), radius)
    rows = true_rows(blurred_B, images_BCHW.device)
    blurred = _blur(images_BCHW.index_select(0, rows), sigma[blurred_B].to(images_BCHW.device), radius)
    return images_BCHW.index_copy(0, rows, blurred)


def kernel_width(kernel_per_side: float, side: int) -> int:
    """The odd number of pixels nearest to kernel_per_side * side, at least 1."""
    return 2 * int(kernel_per_side * side / 2) + 1


def equalize(p: float) -> Op:
    """With probability p, equalises the histogram of the Y of YCbCr (PIL's ImageOps.equalize), chroma kept."""
    return Op("equalize", partial(sample_equalize, p=validate_probability("p", p)), apply_equalize)


def sample_equalize(count: int, height: int, width: int, generator: Generator, *, p: float) -> Parameters:
    """Returns (equalised bool [count],)."""
    return (coin(p, count, generator),)


def apply_equalize(images_BCHW: Tensor, equalized_B: Tensor) -> Tensor:
    """RGB -> YCbCr -> equalised Y -> RGB. Y is PIL's bit for bit; chroma comes without its table rounding."""
    rows = true_rows(equalized_B, images_BCHW.device)
    red, green, blue = to_levels(images_BCHW.index_select(0, rows)).unbind(1)
    luma = _ycbcr_luma(red, green, blue)
    # chroma truncates as in PIL; the 1e-3 keeps grey at exactly 0 whatever the order of the floating-point sum
    cb = red.mul(-0.168736).add_(green, alpha=-0.331264).add_(blue, alpha=0.5).add_(1e-3).floor_()
    cr = red.mul(0.5).add_(green, alpha=-0.418688).add_(blue, alpha=-0.081312).add_(1e-3).floor_()
    indices = luma.flatten(1).long()
    luma = equalize_table(indices).gather(1, indices).view_as(luma).to(images_BCHW.dtype)
    levels = torch.stack(
        (
            cr.mul(1.402).add_(1e-3).floor_().add_(luma),
            cb.mul(-0.344136).add_(cr, alpha=-0.714136).add_(1e-3).floor_().add_(luma),
            cb.mul(1.772).add_(1e-3).floor_().add_(luma),
        ),
        dim=1,
    )
    return images_BCHW.index_copy(0, rows, from_levels_(levels.clamp_(0.0, 255.0)))


def equalize_table(levels_BP: Tensor) -> Tensor:
    """PIL's equalisation table of each image: int64 levels [B, pixels] in [0, 255] -> int64 [B, 256].

    step = (pixels - pixels in the top occupied bin) // 255 and table[i] = min(255, (step // 2 + pixels below i) //
    step); the identity where step is 0.
    """
    batch, pixels = levels_BP.shape
    counts = torch.zeros(batch, 256, dtype=torch.int32, device=levels_BP.device)
    counts.scatter_add_(1, levels_BP, torch.ones(1, 1, dtype=torch.int32, device=counts.device).expand(batch, pixels))
    top = counts.gather(1, levels_BP.amax(1, keepdim=True))
    step = (pixels - top).div(255, rounding_mode="floor")
    below = counts.cumsum(1).sub_(counts).add_(step.div(2, rounding_mode="floor"))
    table = below.div(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    return torch.where(step == 0, torch.arange(256, device=counts.device), table)


def sharpness(factor: tuple[float, float]) -> Op:
    """out = smooth + factor (x - smooth), factor ~ U(low, high) per image (PIL's ImageEnhance.Sharpness).

    smooth is the 3x3 filter 1 1 1 / 1 5 1 / 1 1 1 over 13, rounded; border pixels stay. The result is truncated.
    """
    return Op("sharpness", partial(sample_sharpness, factor=validate_range("factor", factor, 0.0)), apply_sharpness)


def sample_sharpness(
    count: int, height: int, width: int, generator: Generator, *, factor: tuple[float, float]
) -> Parameters:
    """Returns (factor float32 [count],)."""
    return (uniform(*factor, count, generator),)


def apply_sharpness(images_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    levels = to_levels(images_BCHW)
    smooth = levels.clone()
    inner = smooth[..., 1:-1, 1:-1]
    inner.copy_(_smooth_interior(levels))
    return from_levels_(levels.sub_(smooth).mul_(column(factor_B, levels)).add_(smooth).floor_().clamp_(0.0, 255.0))


def _smooth_interior(levels_BCHW: Tensor) -> Tensor:
    """The 3x3 filter where it fits, [B, C, H - 2, W - 2], rounded (a thirteenth has no ties)."""
    three = levels_BCHW[..., :-2] + levels_BCHW[..., 1:-1]
    three.add_(levels_BCHW[..., 2:])
    nine = three[..., :-2, :] + three[..., 1:-1, :]
    nine.add_(three[..., 2:, :])
    return nine.add_(levels_BCHW[..., 1:-1, 1:-1], alpha=4.0).div_(13.0).round_()


def _blur(images_BCHW: Tensor, sigma_B: Tensor, radius: int) -> Tensor:
    batch, channels, height, width = images_BCHW.shape
    across = _blur_weights(sigma_B, width, radius)
    down = across if height == width else _blur_weights(sigma_B, height, radius)
    levels = to_levels(images_BCHW).view(batch, channels * height, width)
    levels = torch.bmm(levels, across.transpose(1, 2)).view(batch, channels, height, width)
    return from_levels_(torch.matmul(down.unsqueeze(1), levels).round_())


def _blur_weights(sigma_B: Tensor, side: int, radius: int) -> Tensor:
    """Weight of pixel j in pixel i, [B, side, side]: normalised Gaussians of |i - j| and of j's two mirror images."""
    device = sigma_B.device
    distance = torch.arange(radius + 1, device=device, dtype=torch.float32)
    gauss = torch.exp(-0.5 * (distance / sigma_B.view(-1, 1)).square_())
    gauss = gauss / (2.0 * gauss.sum(1, keepdim=True) - gauss[:, :1])
    i, j = torch.arange(side, device=device).view(-1, 1), torch.arange(side, device=device).view(1, -1)
    at = torch.arange(radius + 1, device=device).view(-1, 1, 1)
    hits = ((i - j).abs() == at).float()
    hits += ((i + j == at) & (j > 0)).float()
    hits += ((2 * (side - 1) - i - j == at) & (j < side - 1)).float()
    return (gauss @ hits.view(radius + 1, -1)).view(-1, side, side)


def _ycbcr_luma(red: Tensor, green: Tensor, blue: Tensor) -> Tensor:
    """PIL's Y of YCbCr, exactly: its tables hold 64ths of 0.299 R, 0.587 G and 0.114 B, rounded; the sum truncates."""
    luma = red.mul(64 * 0.299).round_().add_(green.mul(64 * 0.587).round_()).add_(blue.mul(64 * 0.114).round_())
    return luma.mul_(1.0 / 64).floor_()
