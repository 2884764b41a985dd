"""Channel means and standard deviations, and the normalisation inside an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

Moments = tuple[float, ...]

RGB = 3  # input channels of an encoder of grey and RGB images

# The thesis normalises every data set with 0.5.
HALF: Moments = (0.5, 0.5, 0.5)
# torchvision's ImageNet weights expect these (torchvision.transforms._presets.ImageClassification).
IMAGENET_MEAN: Moments = (0.485, 0.456, 0.406)
IMAGENET_STD: Moments = (0.229, 0.224, 0.225)


class Normalizing(Protocol):
    """A module with the buffers of `register_normalization`."""

    mean: Tensor
    std: Tensor


def register_normalization(module: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Register the buffers ``mean`` and ``std``, float [1, C, 1, 1], outside of the module's state dict.

    Args:
        module: the encoder; its ``forward`` calls `normalize`.
        mean, std: of each channel of images in [0, 1]; std above 0.

    Raises:
        ValueError: as `check_moments`.
    """
    check_moments(mean, std)
    for name, values in (("mean", mean), ("std", std)):
        module.register_buffer(name, torch.tensor(list(map(float, values))).view(1, -1, 1, 1), persistent=False)


def check_moments(mean: Sequence[float], std: Sequence[float]) -> None:
    """Check that images can be normalised with a mean and a standard deviation.

    Raises:
        ValueError: not one finite number each for every channel, or a standard deviation that is not positive.
    """
    mean_C, std_C = (torch.tensor(list(map(float, values))) for values in (mean, std))
    # In float32, as the buffers: 1e-50 is 0 and 1e50 is infinite there.
    are_finite = bool(mean_C.isfinite().all() and std_C.isfinite().all())
    if len(mean) != len(std) or not mean or not are_finite or not bool((std_C > 0).all()):
        count = max(len(mean), len(std))
        each = "three" if count == 3 else count
        raise ValueError(f"mean={list(mean)}, std={list(std)}: expected {each} finite numbers each, std above 0.")


def spread_moments(values: Sequence[float], channels: int) -> Moments:
    """Return a mean or standard deviation for each channel; equal numbers stand for any number of channels but 3.

    Raises:
        ValueError: the numbers differ, and are not as many as there are channels.
    """
    if len(values) == channels:
        return tuple(values)
    if channels != RGB and len(set(values)) == 1:
        return (values[0],) * channels
    raise ValueError(f"{list(values)}: expected {channels} numbers, one for each channel.")


def normalize(module: Normalizing, images_BCHW: Tensor) -> Tensor:
    """Return ``(images - mean) / std``, float [B, C, H, W]; a single channel is repeated C times."""
    return (images_BCHW - module.mean) / module.std
