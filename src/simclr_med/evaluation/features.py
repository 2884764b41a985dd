"""Features of whole splits, from an encoder in eval mode and images without augmentation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


@torch.no_grad()
def extract_features(
    encoder: nn.Module,
    images_NHWC: np.ndarray,
    to_float: Callable[[Tensor], Tensor],
    device: torch.device,
    batch_size: int = 256,
) -> Tensor:
    """Features of every image, in order.

    Args:
        encoder: images_BCHW in [0, 1] to features_BD; put into eval mode, and back as it was.
        images_NHWC: uint8.
        to_float: uint8 NHWC to float32 BCHW in [0, 1] with three channels.
        device: where the encoder is.
        batch_size: images of one forward pass; changes nothing but memory.

    Returns:
        features_ND, float32 (float64 for a float64 encoder), on device.
    """
    training = encoder.training
    encoder.eval()
    kind = next(encoder.parameters()).dtype
    rows = range(0, len(images_NHWC), batch_size)
    try:
        parts = [
            encoder(to_float(torch.from_numpy(np.array(images_NHWC[i : i + batch_size])).to(device)).to(kind))
            for i in rows
        ]
    finally:
        encoder.train(training)
    return torch.cat(parts) if kind == torch.float64 else torch.cat(parts).float()
