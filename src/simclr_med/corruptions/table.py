"""The corruptions by name, and the function that applies one of them to images."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from simclr_med.corruptions import artefacts, blur, light, noise
from simclr_med.corruptions.draws import Draws
from simclr_med.streams import Stream

# The names are those of MedMNIST-C, and `config.corruptions.VALUES` says how many values each takes.
CORRUPTIONS: Mapping[str, Callable[..., Tensor]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "defocus_blur": blur.defocus_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "brightness_up": light.brightness,
    "brightness_down": light.brightness,
    "contrast_up": light.contrast,
    "contrast_down": light.contrast,
    "gamma_corr_up": light.gamma,
    "gamma_corr_down": light.gamma,
    "saturate": light.saturate,
    "bias_field": light.bias_field,
    "pixelate": artefacts.pixelate,
    "jpeg_compression": artefacts.jpeg_compression,
    "stain_deposit": artefacts.stain_deposit,
    "bubble": artefacts.bubble,
    "black_corner": artefacts.black_corner,
}
COLOUR_ONLY = ("saturate",)


@torch.no_grad()
def corrupt(
    images_BHWC: np.ndarray,
    rows: Sequence[int],
    name: str,
    severity: int,
    values: Sequence[float],
    seed: int,
    device: torch.device,
) -> np.ndarray:
    """Return images after a corruption, uint8 [B, H, W, C]. An image's result depends on no other image.

    Args:
        images_BHWC: uint8, C of 1 or 3.
        rows: of the images in their split; with seed, name and severity they decide all random numbers.
        name: of `CORRUPTIONS`.
        severity: 1 to 5.
        values: of the corruption at this severity.
        seed: of the random numbers.
        device: that computes.
    """
    images_BCHW = torch.from_numpy(np.array(images_BHWC)).to(device).permute(0, 3, 1, 2).float().div_(255)
    draws = Draws((seed, Stream.CORRUPTION, zlib.crc32(name.encode()), severity), rows)
    corrupted = CORRUPTIONS[name](images_BCHW.contiguous(), draws, *values)
    return np.asarray(corrupted.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy())
