"""Noise of sensors and transmission. The strengths are those of images in [0, 1].

Every corruption takes images_BCHW, float32 in [0, 1] with C = 1 or 3, the random numbers of these images, and the
values of one severity. It returns images that `table.corrupt` clamps and rounds to 8 bits. Definitions: Hendrycks and
Dietterich 2019, and Di Salvo et al. 2024 (MedMNIST-C).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from simclr_med.corruptions.draws import Draws
from simclr_med.transfer import to_device


def gaussian_noise(images_BCHW: Tensor, draws: Draws, sigma: float) -> Tensor:
    """Add noise with standard deviation sigma, as of a sensor in low light."""
    return images_BCHW + sigma * to_device(draws.normal(*images_BCHW.shape[1:]), images_BCHW.device)


def speckle_noise(images_BCHW: Tensor, draws: Draws, sigma: float) -> Tensor:
    """Add noise whose standard deviation is sigma times the pixel, as of coherent waves (ultrasound, OCT)."""
    return images_BCHW * (1 + sigma * to_device(draws.normal(*images_BCHW.shape[1:]), images_BCHW.device))


def impulse_noise(images_BCHW: Tensor, draws: Draws, amount: float) -> Tensor:
    """Replace a fraction of the values by 0 or 1, each as often (salt and pepper)."""
    drawn = to_device(draws.uniform(*images_BCHW.shape[1:]), images_BCHW.device)
    return torch.where(drawn < amount, (drawn < amount / 2).to(images_BCHW.dtype), images_BCHW)


def shot_noise(images_BCHW: Tensor, draws: Draws, photons: float) -> Tensor:
    """Replace each value by a Poisson count divided by the photons of a white pixel."""
    expected = images_BCHW.cpu().double().numpy() * photons
    counts = [one.poisson(image) for one, image in zip(draws.generators(), expected, strict=True)]
    return to_device(torch.from_numpy(np.stack(counts).astype(np.float32)), images_BCHW.device) / photons
