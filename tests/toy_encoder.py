"""An encoder of a laboratory's own: no ResNet, no torchvision network, and a parameter named as a head's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simclr_med.models.normalization import normalize, register_normalization


class ToyEncoder(nn.Module):
    """Two patch layers with layer norms, then a linear layer named ``head``; D is ``width``."""

    mean: Tensor
    std: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        register_normalization(self, (0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
        self.width = width
        self.patches = nn.Conv2d(3, 12, 4, stride=4)
        self.mix = nn.Sequential(nn.GELU(), nn.Conv2d(12, 12, 3, padding=1))
        self.scale = nn.Parameter(torch.ones(12, 1, 1))
        self.head = nn.Sequential(nn.LayerNorm(12), nn.Linear(12, width))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        patches = self.patches(normalize(self, images_BCHW))
        features: Tensor = self.head((patches + self.scale * self.mix(patches)).mean(dim=(2, 3)))
        return features

    def layer_groups(self) -> list[list[str]]:
        return [
            ["patches.weight", "patches.bias"],
            ["mix.1.weight", "mix.1.bias", "scale"],
            ["head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias"],
        ]

    def feature_map(self) -> list[str]:
        return ["mix", "patches"]


def toy(width: int) -> ToyEncoder:
    """The target of the option ``toy``."""
    return ToyEncoder(width)


def not_an_encoder() -> nn.Module:
    """A target that breaks the contract."""
    return nn.Flatten()
