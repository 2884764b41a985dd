"""Features of whole splits, by an encoder in eval mode, from images without augmentation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from simclr_med.errors import DataError
from simclr_med.models.encoders import Encoder
from simclr_med.models.normalization import RGB
from simclr_med.transfer import to_device


@torch.no_grad()
def extract_features(
    encoder: Encoder,
    images_NHWC: np.ndarray,
    to_float: Callable[[Tensor], Tensor],
    device: torch.device,
    batch_size: int = 256,
) -> Tensor:
    """Return the encoder's features for every image, in order.

    Args:
        encoder: images_BCHW in [0, 1] to features_BD; runs in eval mode, and its mode is restored.
        images_NHWC: uint8.
        to_float: uint8 NHWC to float32 BCHW in [0, 1]; grey images get three channels.
        device: of the encoder.
        batch_size: images of one forward pass; affects memory alone.

    Returns:
        features_ND, float32 (float64 for a float64 encoder), on device.

    Raises:
        DataError: the encoder takes images with another number of channels.
    """
    check_channels_of(encoder, images_NHWC.shape[3], "images")
    training = encoder.training
    encoder.eval()
    dtype = next(encoder.parameters()).dtype
    starts = range(0, len(images_NHWC), batch_size)
    try:
        parts = [
            encoder(to_float(to_device(torch.from_numpy(np.array(images_NHWC[i : i + batch_size])), device)).to(dtype))
            for i in starts
        ]
    finally:
        encoder.train(training)
    return torch.cat(parts) if dtype == torch.float64 else torch.cat(parts).float()


def check_channels_of(encoder: Encoder, channels: int, name: str) -> None:
    """Check that an encoder takes images of this many channels; one of RGB images takes grey images too.

    Args:
        encoder: of the images.
        channels: of each image.
        name: of the images in the message, such as ``dataset=bloodmnist``.

    Raises:
        DataError: it takes images with another number of channels.
    """
    expected = encoder.mean.shape[1]
    if channels != expected and (channels, expected) != (1, RGB):
        raise DataError(
            f"{name}: the encoder takes images of {expected} channels, found {channels}. Use images like those of its "
            "training."
        )
