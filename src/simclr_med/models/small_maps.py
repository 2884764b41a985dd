"""Convolutions on maps of one or four pixels, computed as matrix products.

At 28 pixels the last two stages of a ResNet-18 with the stock stem work on 2x2 and 1x1 maps, at 64 pixels its last
stage on 2x2. There most taps of a padded 3x3 kernel meet padding alone, and oneDNN's weight gradient falls back to one
small product an image. On the CPU, two exact rewritings replace the convolution; weights and state dict stay:

* each pixel of an output of one or four pixels is a linear layer of the taps that meet the image. On a 1x1 map
  that is the kernel's centre, from 2x2 to 1x1 at stride 2 its lower right 2x2 taps;
* a padded 3x3 convolution on a 2x2 map is, in each direction, the Toeplitz product
  ``[y0, y1] = [[w1, w2], [w0, w1]] [a, b]``, which takes three products instead of four:
  ``m1 = w1 (a + b)``, ``m2 = (w2 - w1) b``, ``m3 = (w0 - w1) a``, ``y0 = m1 + m2``, ``y1 = m1 + m3``.
  In two dimensions that is nine products of [B, C] by [C, O] instead of the padded convolution's thirty-six. It is
  Winograd's minimal filtering F(2, 3) with two inputs known to be zero (Lavin and Gray, arXiv 1509.09308, section 4.1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# With fewer images, copying the weights costs more than a product saves. Measured on two AVX2 cores with ResNet-18's
# layers, forward and backward: a product is as fast as oneDNN at 32 images, and 1.5 to 40 times as fast at 512.
MIN_IMAGES = 32

_DATA = torch.tensor([[1, 1], [0, 1], [1, 0]], dtype=torch.float64)
_TAPS = torch.tensor([[0, 1, 0], [0, -1, 1], [1, -1, 0]], dtype=torch.float64)
_SUMS = torch.tensor([[1, 1, 0], [1, 0, 1]], dtype=torch.float64)
_DATA_2D, _TAPS_2D, _SUMS_2D = (torch.kron(matrix, matrix) for matrix in (_DATA, _TAPS, _SUMS))


class SmallMapConv2d(nn.Conv2d):
    """``nn.Conv2d`` that computes by matrix products where they are faster.

    Each call decides by device and shape: products run on the CPU alone. Outputs agree with ``nn.Conv2d`` to 2e-6 of
    the largest value and gradients to 6e-6 in float32 (1e-12 in float64). In bfloat16, by itself or under autocast,
    both are as far from the exact result as those of ``nn.Conv2d``.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve float [B, C, H, W] into [B, O, H', W']."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        size = ((input.shape[-2] - 1) // stride + 1, (input.shape[-1] - 1) // stride + 1)
        if not _is_rewritable(input) or size not in ((1, 1), (2, 2)):
            return super().forward(input)
        if size == (1, 1):
            return patch_products(input, self.weight, stride)
        if kernel == 1 or len(input) < MIN_IMAGES:
            return super().forward(input)
        if stride == 1 and not _is_half(input):
            return toeplitz_products(input, self.weight)
        return patch_products(input, self.weight, stride)


def rewrite_small_maps(module: nn.Module) -> nn.Module:
    """Replace each convolution that the rewriting covers, in place; the parameters stay the same objects."""
    for name, child in module.named_children():
        if type(child) is nn.Conv2d and _is_covered(child):
            conv = nn.utils.skip_init(
                SmallMapConv2d,
                child.in_channels,
                child.out_channels,
                child.kernel_size,
                child.stride,
                child.padding,
                bias=False,
            )
            conv.weight = child.weight
            setattr(module, name, conv.train(child.training))
        else:
            rewrite_small_maps(child)
    return module


def patch_products(images_BCHW: Tensor, weight_OCkk: Tensor, stride: int) -> Tensor:
    """Return the convolution with padding k // 2, as a linear layer of the taps that meet the image for each pixel."""
    batch, _, height, width = images_BCHW.shape
    out_channels, _, kernel, _ = weight_OCkk.shape
    images_BHWC, weight_OkkC = images_BCHW.permute(0, 2, 3, 1), weight_OCkk.permute(0, 2, 3, 1)
    rows, columns = _spans(height, kernel, stride), _spans(width, kernel, stride)
    pixels = [
        F.linear(images_BHWC[:, y, x].reshape(batch, -1), weight_OkkC[:, tap_y, tap_x].reshape(out_channels, -1))
        for y, tap_y in rows
        for x, tap_x in columns
    ]
    stacked = pixels[0] if len(pixels) == 1 else torch.stack(pixels, dim=1)
    return stacked.view(batch, len(rows), len(columns), out_channels).permute(0, 3, 1, 2)


def toeplitz_products(images_BC22: Tensor, weight_OC33: Tensor) -> Tensor:
    """Return the 3x3 convolution with padding 1 and stride 1 on a 2x2 map, by nine matrix products."""
    batch, channels = images_BC22.shape[:2]
    out_channels = weight_OC33.shape[0]
    data, taps, sums = (matrix.to(images_BC22) for matrix in (_DATA_2D, _TAPS_2D, _SUMS_2D))
    data_9BC = (data @ images_BC22.permute(2, 3, 0, 1).reshape(4, -1)).view(9, batch, channels)
    taps_9OC = (taps @ weight_OC33.permute(2, 3, 0, 1).reshape(9, -1)).view(9, out_channels, channels)
    products_9BO = data_9BC @ taps_9OC.transpose(1, 2)
    pixels_22BO = (sums @ products_9BO.view(9, -1)).view(2, 2, batch, out_channels)
    return pixels_22BO.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)


def _spans(size: int, kernel: int, stride: int) -> list[tuple[slice, slice]]:
    """Return, for each output position along one axis, the input positions that it covers and their taps."""
    starts = range(-(kernel // 2), size + kernel // 2 - kernel + 1, stride)
    return [(slice(max(s, 0), min(s + kernel, size)), slice(max(-s, 0), min(kernel, size - s))) for s in starts]


def _is_rewritable(images: Tensor) -> bool:
    return images.device.type == "cpu" and images.is_floating_point() and images.ndim == 4


def _is_half(images: Tensor) -> bool:
    """Whether the product runs in 16 bits, where the sums and differences of a Toeplitz product double its error."""
    return images.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cpu")


def _is_covered(conv: nn.Conv2d) -> bool:
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    square = conv.kernel_size == (kernel, kernel) and conv.stride == (stride, stride)
    plain = conv.dilation == (1, 1) and conv.groups == 1 and conv.bias is None and conv.padding_mode == "zeros"
    return square and plain and kernel in (1, 3) and conv.padding == (kernel // 2, kernel // 2)
