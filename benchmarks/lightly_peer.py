"""The alternative that benchmarks compare with: SimCLR from lightly's example with the same settings.

    python benchmarks/lightly_peer.py DATA.npz [--batch-size 256] [--steps 6] [--warmup 1] [--bf16]

Needs the extra `bench`. Uses lightly's transform, loss and projection head on torchvision's ResNet, PIL images in a
DataLoader with 2 workers, one forward pass per view, and AdamW. Its transform has neither equalise nor sharpness and
uses PIL's blur, so novel and greyscale are less work here, which favours lightly. DATA.npz has MedMNIST's layout.
Prints one line of JSON.
"""

from __future__ import annotations

import json

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from original import TEMPERATURE, build_loader, parse_arguments, train
from torch import Tensor, nn
from torchvision import models

HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}
STRONG = {"cj_bright": 0.5, "cj_contrast": 0.5, "cj_sat": 0.5, "cj_hue": 0.1}
WEAK = {"cj_bright": 0.2, "cj_contrast": 0.2, "cj_sat": 0.2, "cj_hue": 0.04}
SETTINGS = {
    "natural": STRONG,
    "simple": STRONG | {"hf_prob": 0.0, "random_gray_scale": 0.0},
    "novel": WEAK,
    "greyscale": {"cj_prob": 0.0, "random_gray_scale": 0.0},
}


def build_view_transform(augmentation: str, side: int) -> SimCLRTransform:
    """Return lightly's SimCLR transform with the parameters of a sequence of the thesis, as far as it has them."""
    return SimCLRTransform(input_size=side, gaussian_blur=1.0, normalize=HALF, **SETTINGS[augmentation])


def build_network(encoder: str) -> nn.Module:
    """Return torchvision's ResNet with lightly's projection head of two layers, without batch norm as in the thesis."""
    backbone = models.get_model(encoder, weights=None)
    width = backbone.fc.in_features
    backbone.fc = nn.Identity()
    return nn.Sequential(backbone, SimCLRProjectionHead(width, width, 128, batch_norm=False))


def main() -> None:
    given = parse_arguments()
    torch.manual_seed(0)
    loader = build_loader(given, lambda side: build_view_transform(given.augmentation, side))
    criterion = NTXentLoss(temperature=TEMPERATURE)

    def loss_of(model: nn.Module, one: Tensor, two: Tensor) -> Tensor:
        return criterion(model(one), model(two))

    print(json.dumps(train(loader, build_network(given.encoder), loss_of, given.steps, given.warmup, given.bf16)))


if __name__ == "__main__":
    main()
