"""Gaussian blur, histogram equalisation and sharpening, with the borders and the rounding of PIL.

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
    validate_range,
)
from simclr_med.transfer import to_device


def gaussian_blur(
    kernel_per_side: float,
    sigma: tuple[float, float],
    p: float = 1.0,
    reference_side: int | None = None,
    above_side: int = 0,
) -> Op:
    """Blur with a Gaussian and reflected borders, with probability p and one sigma per image (Chen et al. 2020, A).

    The result is that of torchvision's gaussian_blur. The kernel has the odd width nearest to kernel_per_side times the
    image's shorter side.

    Args:
        kernel_per_side: width of the kernel as a fraction of the shorter side, in (0, 1).
        sigma: [low, high] in pixels; sigma is drawn from U(low, high); 0 < low <= high.
        p: probability of a blur, in [0, 1].
        reference_side: if given, sigma is in pixels of an image with this side and grows in proportion to the side.
        above_side: images with a shorter side of at most this many pixels are not blurred.

    Raises:
        ValueError: a value outside its range.
    """
    if not 0.0 < kernel_per_side < 1.0:
        raise ValueError(f"kernel_per_side={kernel_per_side}: expected a fraction in (0, 1).")
    low, high = validate_range("sigma", sigma, 0.0)
    if low == 0.0:
        raise ValueError(f"sigma={[low, high]}: expected numbers > 0.")
    sample = partial(sample_gaussian_blur, sigma=(low, high), p=validate_probability("p", p))
    apply = partial(
        apply_gaussian_blur, kernel_per_side=kernel_per_side, reference_side=reference_side, above_side=above_side
    )
    return Op("gaussian_blur", sample, apply)


def sample_gaussian_blur(
    count: int, height: int, width: int, generator: Generator, *, sigma: tuple[float, float], p: float
) -> Parameters:
    """Draw the parameters of count images: (blurred bool [count], sigma float32 [count] in pixels)."""
    return draw_bernoulli(p, count, generator), draw_uniform(*sigma, count, generator)


def apply_gaussian_blur(
    images_BCHW: Tensor,
    blurred_B: Tensor,
    sigma_B: Tensor,
    *,
    kernel_per_side: float,
    reference_side: int | None = None,
    above_side: int = 0,
) -> Tensor:
    """Blur the selected images: out = A_rows X A_columns^T, with one pair of banded matrices per image.

    The matrices contain the reflection at the borders.
    """
    height, width = images_BCHW.shape[-2:]
    side = min(height, width)
    if side <= above_side:
        return images_BCHW
    sigma = sigma_B if reference_side is None else sigma_B * (side / reference_side)
    radius = compute_kernel_width(kernel_per_side, side) // 2
    if bool(blurred_B.all()):
        return _blur(images_BCHW, to_device(sigma, images_BCHW.device), radius)
    rows = find_true_rows(blurred_B, images_BCHW.device)
    sigma = to_device(sigma[blurred_B], images_BCHW.device)
    blurred = _blur(images_BCHW.index_select(0, rows), sigma, radius)
    return images_BCHW.index_copy(0, rows, blurred)


def compute_kernel_width(kernel_per_side: float, side: int) -> int:
    """Return the odd number of pixels nearest to kernel_per_side * side, at least 1."""
    return 2 * int(kernel_per_side * side / 2) + 1


def equalize(p: float) -> Op:
    """Equalise the histogram of Y in YCbCr (PIL's ImageOps.equalize) with probability p in [0, 1]; Cb and Cr stay."""
    return Op("equalize", partial(sample_equalize, p=validate_probability("p", p)), apply_equalize, needs_rgb=True)


def sample_equalize(count: int, height: int, width: int, generator: Generator, *, p: float) -> Parameters:
    """Draw which of count images are equalised: (equalised bool [count],)."""
    return (draw_bernoulli(p, count, generator),)


def apply_equalize(images_BCHW: Tensor, equalized_B: Tensor) -> Tensor:
    """Convert RGB to YCbCr, equalise Y, convert back. Y equals PIL's exactly; Cb and Cr skip its table rounding."""
    rows = find_true_rows(equalized_B, images_BCHW.device)
    red, green, blue = to_levels(images_BCHW.index_select(0, rows)).unbind(1)
    luma = _compute_ycbcr_luma(red, green, blue)
    # chroma truncates as in PIL; the 1e-3 keeps grey at exactly 0 for any order of the floating-point sum
    cb = red.mul(-0.168736).add_(green, alpha=-0.331264).add_(blue, alpha=0.5).add_(1e-3).floor_()
    cr = red.mul(0.5).add_(green, alpha=-0.418688).add_(blue, alpha=-0.081312).add_(1e-3).floor_()
    indices = luma.flatten(1).long()
    luma = build_equalize_table(indices).gather(1, indices).view_as(luma).to(images_BCHW.dtype)
    levels = torch.stack(
        (
            cr.mul(1.402).add_(1e-3).floor_().add_(luma),
            cb.mul(-0.344136).add_(cr, alpha=-0.714136).add_(1e-3).floor_().add_(luma),
            cb.mul(1.772).add_(1e-3).floor_().add_(luma),
        ),
        dim=1,
    )
    return images_BCHW.index_copy(0, rows, from_levels_(levels.clamp_(0.0, 255.0)))


def build_equalize_table(levels_BP: Tensor) -> Tensor:
    """Return PIL's equalisation table of each image, int64 [B, 256], for int64 levels [B, pixels] in [0, 255].

    With step = (pixels - pixels in the highest occupied bin) // 255, table[i] = min(255, (step // 2 + pixels below i)
    // step). The table is the identity where step = 0.
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
    """Sharpen each image: out = smooth + factor (x - smooth) with factor ~ U(low, high) (PIL's ImageEnhance.Sharpness).

    smooth is the image after the 3x3 filter (1 1 1 / 1 5 1 / 1 1 1) / 13, rounded. Border pixels stay. The result is
    truncated.

    Args:
        factor: [low, high], 0 <= low <= high; below 1 smooths, 1 is the identity, above 1 sharpens.

    Raises:
        ValueError: bounds outside this range.
    """
    return Op("sharpness", partial(sample_sharpness, factor=validate_range("factor", factor, 0.0)), apply_sharpness)


def sample_sharpness(
    count: int, height: int, width: int, generator: Generator, *, factor: tuple[float, float]
) -> Parameters:
    """Draw the factors of count images: (factor float32 [count],)."""
    return (draw_uniform(*factor, count, generator),)


def apply_sharpness(images_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Sharpen each image by its own factor."""
    levels = to_levels(images_BCHW)
    smooth = levels.clone()
    inner = smooth[..., 1:-1, 1:-1]
    inner.copy_(_smooth_inner_pixels(levels))
    return from_levels_(
        levels.sub_(smooth).mul_(broadcast_per_image(factor_B, levels)).add_(smooth).floor_().clamp_(0.0, 255.0)
    )


def _smooth_inner_pixels(levels_BCHW: Tensor) -> Tensor:
    """Return the 3x3 filter's rounded result for all pixels but the border, [B, C, H - 2, W - 2]."""
    three = levels_BCHW[..., :-2] + levels_BCHW[..., 1:-1]
    three.add_(levels_BCHW[..., 2:])
    nine = three[..., :-2, :] + three[..., 1:-1, :]
    nine.add_(three[..., 2:, :])
    return nine.add_(levels_BCHW[..., 1:-1, 1:-1], alpha=4.0).div_(13.0).round_()


def _blur(images_BCHW: Tensor, sigma_B: Tensor, radius: int) -> Tensor:
    """Blur every image with its own sigma in pixels and one kernel radius in pixels."""
    batch, channels, height, width = images_BCHW.shape
    across = _build_blur_weights(sigma_B, width, radius)
    down = across if height == width else _build_blur_weights(sigma_B, height, radius)
    levels = to_levels(images_BCHW).view(batch, channels * height, width)
    levels = torch.bmm(levels, across.transpose(1, 2)).view(batch, channels, height, width)
    return from_levels_(torch.matmul(down.unsqueeze(1), levels).round_())


def _build_blur_weights(sigma_B: Tensor, side: int, radius: int) -> Tensor:
    """Return the weight of pixel j in pixel i, [B, side, side]: Gaussians of |i - j| and of j's two reflections."""
    device = sigma_B.device
    distance = torch.arange(radius + 1, device=device, dtype=torch.float32)
    gauss = torch.exp(-0.5 * (distance / sigma_B.view(-1, 1)).square_())
    gauss = gauss / (2.0 * gauss.sum(1, keepdim=True) - gauss[:, :1])
    i, j = torch.arange(side, device=device).view(-1, 1), torch.arange(side, device=device).view(1, -1)
    offset = torch.arange(radius + 1, device=device).view(-1, 1, 1)
    hits = ((i - j).abs() == offset).float()
    hits += ((i + j == offset) & (j > 0)).float()
    hits += ((2 * (side - 1) - i - j == offset) & (j < side - 1)).float()
    return (gauss @ hits.view(radius + 1, -1)).view(-1, side, side)


def _compute_ycbcr_luma(red: Tensor, green: Tensor, blue: Tensor) -> Tensor:
    """Return PIL's Y exactly: the truncated sum of 0.299 R, 0.587 G and 0.114 B, each rounded to a 64th."""
    luma = red.mul(64 * 0.299).round_().add_(green.mul(64 * 0.587).round_()).add_(blue.mul(64 * 0.114).round_())
    return luma.mul_(1.0 / 64).floor_()
