"""The channels of an image that a picture shows."""

from __future__ import annotations

import numpy as np


def select_shown(images: np.ndarray) -> np.ndarray:
    """Return the channels that are shown as colours, [..., 1 or 3]: the first three, or the first of two."""
    channels = images.shape[-1]
    return images if channels in (1, 3) else images[..., : 3 if channels > 3 else 1]


def name_channels(count: int) -> str:
    """Return the channels of a data set in words."""
    return {1: "grey", 3: "RGB"}.get(count, f"{count} channels; pictures show the first{' three' if count > 3 else ''}")
