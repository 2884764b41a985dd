"""Encoders: torchvision's ResNets without their classifier, with normalisation inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from simclr_med.models.small_maps import rewrite_small_maps

Stem = Literal["stock", "small"]
_LAYOUTS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
}
_STEMS: tuple[Stem, ...] = ("stock", "small")
_HALF = (0.5, 0.5, 0.5)


class ResNetEncoder(ResNet):
    """A torchvision ResNet that maps images to the features before its classifier.

    Its state dict has torchvision's keys, without ``fc``. The channel means and deviations are buffers outside of the
    state dict. Weights and activations lie in channels_last order.

    Attributes:
        features: width D of the output.
        mean, std: float [1, 3, 1, 1].
    """

    width = 64
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        *,
        stem: Stem,
        zero_init_residual: bool,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        if stem not in _STEMS:
            raise ValueError(f"stem={stem!r}: must be one of {', '.join(_STEMS)}")
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"mean={list(mean)}, std={list(std)}: must be three numbers each, std above 0")
        super().__init__(block, list(layers), zero_init_residual=zero_init_residual)
        self.features = self.inplanes
        self.fc = nn.Identity()  # type: ignore[assignment]
        if stem == "small":
            self.maxpool = nn.Identity()  # type: ignore[assignment]
        if stem == "small" or self.width != ResNetEncoder.width:
            kernel, stride = (3, 1) if stem == "small" else (7, 2)
            self.conv1 = nn.Conv2d(3, self.width, kernel, stride, kernel // 2, bias=False)
            self.bn1 = nn.BatchNorm2d(self.width)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.register_buffer("mean", torch.tensor(list(map(float, mean))).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(map(float, std))).view(1, 3, 1, 1), persistent=False)
        rewrite_small_maps(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _make_layer(
        self,
        block: type[BasicBlock | Bottleneck],
        planes: int,
        blocks: int,
        stride: int = 1,
        dilate: bool = False,
    ) -> nn.Sequential:
        if not hasattr(self, "layer1"):
            self.inplanes = self.width
        return super()._make_layer(block, planes * self.width // ResNetEncoder.width, blocks, stride, dilate)

    def forward(self, x: Tensor) -> Tensor:
        """Features of images.

        Args:
            x: float [B, 3, H, W] in [0, 1], of the weights' dtype. A single channel stands for three equal ones.

        Returns:
            float [B, D], the average over the last stage's map.
        """
        x = ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        # ReLU is monotone, so it may follow the max-pool, on a quarter of the pixels: outputs and gradients are equal.
        x = self.relu(self.maxpool(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return torch.flatten(self.avgpool(x), 1)


class TinyEncoder(ResNetEncoder):
    """A ResNet of an eighth of the usual width, for tests: 64 features, 77 thousand weights."""

    width = 8


def resnet(
    depth: Literal[18, 34, 50],
    stem: Stem = "stock",
    zero_init_residual: bool = False,
    mean: Sequence[float] = _HALF,
    std: Sequence[float] = _HALF,
) -> ResNetEncoder:
    """A ResNet encoder (He et al., arXiv 1512.03385), randomly initialised from torch's global generator.

    Args:
        depth: 18 and 34 (D = 512), or 50 (D = 2048).
        stem: ``stock``, 7x7 at stride 2 with a max-pool; or ``small``, 3x3 at stride 1 without (SimCLR, arXiv
            2002.05709, appendix B.9, for images of 32 pixels or less).
        zero_init_residual: starts the last batch-norm scale of each residual block at 0 (Goyal et al., arXiv
            1706.02677, section 5.1).
        mean, std: of each channel of images in [0, 1].

    Raises:
        ValueError: an unknown depth or stem, or means and deviations that are not three numbers each.
    """
    if depth not in _LAYOUTS:
        raise ValueError(f"depth={depth}: must be one of {', '.join(map(str, _LAYOUTS))}")
    block, layers = _LAYOUTS[depth]
    return ResNetEncoder(block, layers, stem=stem, zero_init_residual=zero_init_residual, mean=mean, std=std)


def tiny(mean: Sequence[float] = _HALF, std: Sequence[float] = _HALF) -> ResNetEncoder:
    """A ResNet with the stock stem, one narrow block a stage and D = 64, for tests that must be quick."""
    return TinyEncoder(BasicBlock, [1, 1, 1, 1], stem="stock", zero_init_residual=False, mean=mean, std=std)
