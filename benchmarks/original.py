"""The alternative that benchmarks compare with: the pipeline of the thesis (2023).

    python benchmarks/original.py DATA.npz [--batch-size 256] [--steps 6] [--warmup 1] [--augmentation novel]

Reimplements "Evaluating SimCLR for Medical Image Classification": PIL images in a DataLoader with 2 workers,
torchvision's transforms image by image, torchvision's ResNet, AdamW, and NT-Xent with a broadcast cosine similarity.
The thesis code trains with Lightning, validates, and has a cosine schedule; this plain loop is slightly faster, which
favours the thesis. DATA.npz has MedMNIST's layout. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms
from torchvision.transforms import functional as tv

ENCODERS = ("resnet18", "resnet34", "resnet50")
TEMPERATURE = 0.07


def equalize_luma(image: Image.Image) -> Image.Image:
    """Equalise the Y channel, with probability 0.5."""
    if random.random() >= 0.5:
        return image
    y, cb, cr = image.convert("YCbCr").split()
    return Image.merge("YCbCr", (ImageOps.equalize(y), cb, cr)).convert("RGB")


def sharpen(image: Image.Image) -> Image.Image:
    """Sharpness by a factor of U(1, 10)."""
    return tv.adjust_sharpness(image, random.uniform(1.0, 10.0))


def build_view_transform(augmentation: str, side: int) -> transforms.Compose:
    """Return the transform of one view: PIL RGB to a normalised float tensor [3, side, side]."""
    flip = transforms.RandomHorizontalFlip()
    crop = transforms.RandomResizedCrop(side, scale=(0.08, 1.0))
    strong = transforms.RandomApply([transforms.ColorJitter(0.5, 0.5, 0.5, 0.1)], p=0.8)
    weak = transforms.RandomApply([transforms.ColorJitter(0.2, 0.2, 0.2, 0.04)], p=0.8)
    grey = transforms.RandomGrayscale(0.2)
    blur = transforms.GaussianBlur(9, (0.1, 2.0))
    sequences = {
        "natural": [flip, crop, strong, grey, blur],
        "simple": [crop, strong, blur],
        "novel": [flip, crop, weak, grey, blur, equalize_luma, sharpen],
        "greyscale": [flip, crop, blur, equalize_luma, sharpen],
    }
    tensor = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
    return transforms.Compose([*sequences[augmentation], *tensor])


class PilViews(Dataset):
    """The training images as PIL RGB; an item is the views of one image.

    Args:
        images: uint8 [N, H, W] or [N, H, W, 3].
        views: maps a PIL image to its views.
    """

    def __init__(self, images: np.ndarray, views: Callable[[Image.Image], Sequence[Tensor]]) -> None:
        self.images, self.views = images, views

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sequence[Tensor]:
        return self.views(Image.fromarray(self.images[index]).convert("RGB"))


class TwoViews:
    """Applies one transform twice."""

    def __init__(self, transform: Callable[[Image.Image], Tensor]) -> None:
        self.transform = transform

    def __call__(self, image: Image.Image) -> tuple[Tensor, Tensor]:
        return self.transform(image), self.transform(image)


def nt_xent_by_broadcast(projections_2BP: Tensor) -> Tensor:
    """Return NT-Xent (Chen et al. 2020, equation 1) with a broadcast cosine similarity: three tensors of (2B)^2 x P."""
    logits = F.cosine_similarity(projections_2BP[:, None, :], projections_2BP[None, :, :], dim=-1) / TEMPERATURE
    itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(itself, -torch.inf)
    positives = itself.roll(len(logits) // 2, dims=0)
    return (torch.logsumexp(logits, dim=-1) - logits[positives]).mean()


def build_network(encoder: str) -> nn.Module:
    """Return torchvision's ResNet with the projection head as its last layer: Linear, ReLU, Linear to 128."""
    model = models.get_model(encoder, weights=None)
    width = model.fc.in_features
    model.fc = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 128))
    return model


def train(
    loader: DataLoader,
    model: nn.Module,
    loss_of: Callable[[nn.Module, Tensor, Tensor], Tensor],
    steps: int,
    warmup: int,
    bf16: bool = False,
) -> dict[str, Any]:
    """Train for this number of steps; the rate excludes the warm-up steps but not the images prefetched in them.

    Args:
        loader: of two views of each image.
        model: to train.
        loss_of: returns the loss of a model and two batches of views.
        steps, warmup: number of all steps, and of those that the rate excludes.
        bf16: compute model and loss under bfloat16 autocast.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=1e-4)
    began = time.perf_counter()
    for step, (one, two) in enumerate(_iterate_batches(loader, steps)):
        if step == warmup:
            began = _read_clock(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = loss_of(model, one.to(device), two.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seconds = (_read_clock(device) - began) / (steps - warmup)
    batch_size = loader.batch_size or 0
    return {
        "images_per_s": batch_size / seconds,
        "seconds_per_step": seconds,
        "steps": steps,
        "warmup": warmup,
        "images_trained": steps * batch_size,
        "loss": loss.item(),
    }


def _iterate_batches(loader: DataLoader, steps: int) -> Iterator[Sequence[Tensor]]:
    done = 0
    while done < steps:
        for batch in loader:
            yield batch
            done += 1
            if done == steps:
                return


def _read_clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line that the alternatives share."""
    parser = argparse.ArgumentParser(
        description="Train some steps of an alternative's pretraining and print one line of JSON."
    )
    parser.add_argument("data", type=Path, help=".npz in MedMNIST's layout")
    parser.add_argument("--batch-size", type=int, default=256, help="images per step")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--warmup", type=int, default=1, help="first steps, excluded from the rate")
    parser.add_argument("--augmentation", choices=("natural", "simple", "novel", "greyscale"), default="novel")
    parser.add_argument("--encoder", choices=ENCODERS, default="resnet18")
    parser.add_argument("--workers", type=int, default=2, help="processes of the DataLoader")
    parser.add_argument("--bf16", action="store_true", help="compute under bfloat16 autocast")
    given = parser.parse_args(argv)
    if not 0 <= given.warmup < given.steps:
        parser.error(f"--warmup={given.warmup}: expected at least 0 and less than --steps={given.steps}.")
    return given


def build_loader(given: argparse.Namespace, views_at: Callable[[int], Callable[[Image.Image], Any]]) -> DataLoader:
    """Return a loader of shuffled batches of PIL views; views_at maps the images' side in pixels to the transform."""
    with np.load(given.data, allow_pickle=False) as file:
        images = file["train_images"]
    if len(images) < given.batch_size:
        raise SystemExit(
            f"--batch-size={given.batch_size}: the file has only {len(images)} training images. Choose a smaller one."
        )
    dataset = PilViews(images, views_at(images.shape[1]))
    return DataLoader(
        dataset,
        given.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=given.workers,
        pin_memory=torch.cuda.is_available(),
    )


def main() -> None:
    given = parse_arguments()
    torch.manual_seed(0)
    loader = build_loader(given, lambda side: TwoViews(build_view_transform(given.augmentation, side)))

    def loss_of(model: nn.Module, one: Tensor, two: Tensor) -> Tensor:
        return nt_xent_by_broadcast(model(torch.cat((one, two))))

    print(json.dumps(train(loader, build_network(given.encoder), loss_of, given.steps, given.warmup, given.bf16)))


if __name__ == "__main__":
    main()
