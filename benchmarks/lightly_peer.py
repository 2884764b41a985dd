"""What a user would otherwise run: SimCLR as lightly's own example builds it, with the settings matched.

    python benchmarks/lightly_peer.py DATA.npz [--batch-size 256] [--steps 6] [--warmup 1] [--augmentation novel]

Needs the extra `bench`. lightly's transform, loss and projection head on torchvision's stock ResNet, PIL images in a
DataLoader with 2 workers, one forward a view, AdamW. Its transform has neither equalise nor sharpness and its blur is
PIL's own, so of novel and greyscale it does less work than the others, which favours the peer. DATA.npz has MedMNIST's
layout. Prints one line of JSON.
"""

from __future__ import annotations

import json

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from original import TEMPERATURE, arguments, loader_of, train
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


def two_views(augmentation: str, side: int) -> SimCLRTransform:
    """lightly's SimCLR transform with the numbers of one of the original's sequences, as far as it has them."""
    return SimCLRTransform(input_size=side, gaussian_blur=1.0, normalize=HALF, **SETTINGS[augmentation])


def network(encoder: str) -> nn.Module:
    """The stock ResNet under lightly's head of two layers, without batch norm as in the original."""
    backbone = models.get_model(encoder, weights=None)
    width = backbone.fc.in_features
    backbone.fc = nn.Identity()
    return nn.Sequential(backbone, SimCLRProjectionHead(width, width, 128, batch_norm=False))


def main() -> None:
    given = arguments()
    torch.manual_seed(0)
    loader = loader_of(given, lambda side: two_views(given.augmentation, side))
    criterion = NTXentLoss(temperature=TEMPERATURE)

    def loss_of(model: nn.Module, one: Tensor, two: Tensor) -> Tensor:
        return criterion(model(one), model(two))

    print(json.dumps(train(loader, network(given.encoder), loss_of, given.steps, given.warmup)))


if __name__ == "__main__":
    main()
