"""Images as users have them (NumPy, PIL, torch), as the uint8 arrays that this package computes with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from simclr_med.augment.sequence import to_float

Images = np.ndarray | Tensor | Sequence[Any]


def as_uint8(images: Any) -> np.ndarray:
    """Return images as uint8 [N, H, W, C], C of 1 or 3.

    Args:
        images: an array [N, H, W] or [N, H, W, C]; a tensor [N, H, W], [N, C, H, W] or [N, H, W, C]; or a list of
            images of one size: PIL images, arrays [H, W] or [H, W, C], tensors [H, W] or [C, H, W]. Integers are uint8
            in [0, 255], floats are in [0, 1] and are rounded to 8 bits. An array of the right kind is not copied.

    Raises:
        ValueError: another shape, type or range, or images of several sizes.
    """
    if isinstance(images, Image.Image):
        raise ValueError("images: expected several images, found one. Put it into a list: [image].")
    if isinstance(images, (np.ndarray, Tensor)):
        return _check(_as_array(images, single=False))
    single = [_as_array(image, single=True) for image in images]
    if not single:
        raise ValueError("images: expected at least one image, found none.")
    shapes = sorted({image.shape for image in single})
    if len(shapes) > 1:
        raise ValueError(
            f"images: expected one size, found {shapes[0]} and {shapes[-1]} (height, width, channels). Resize them."
        )
    return _check(np.stack(single))


def transform(images: Any) -> Tensor:
    """Return images as an encoder takes them: float32 [N, 3, H, W] in [0, 1]; it normalises them itself.

    Args:
        images: as in `as_uint8`.
    """
    return to_float(torch.from_numpy(np.array(as_uint8(images))))


def _as_array(image: Any, single: bool) -> np.ndarray:
    """Return one image as [H, W, C], or several as [N, H, W, C]."""
    dimensions = 2 if single else 3
    if isinstance(image, Image.Image):
        image = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    elif isinstance(image, Tensor):
        array = image.detach().cpu().numpy()
        if array.ndim == dimensions + 1 and array.shape[-3] in (1, 3) and array.shape[-1] not in (1, 3):
            array = np.moveaxis(array, -3, -1)
        image = array
    array = np.asarray(image)
    if not single and array.ndim == 3 and array.shape[-1] in (1, 3):
        raise ValueError(f"images=[{', '.join(map(str, array.shape))}]: expected several images. Put one into a list.")
    return array[..., None] if array.ndim == dimensions else array


def _check(images_NHWC: np.ndarray) -> np.ndarray:
    kind = f"{images_NHWC.dtype} {list(images_NHWC.shape)}"
    if images_NHWC.ndim != 4 or images_NHWC.shape[3] not in (1, 3) or 0 in images_NHWC.shape:
        raise ValueError(f"images={kind}: expected [N, H, W], [N, H, W, 1] or [N, H, W, 3].")
    if images_NHWC.dtype == np.uint8:
        return images_NHWC
    if images_NHWC.dtype.kind != "f":
        raise ValueError(f"images={kind}: expected uint8 in [0, 255] or floats in [0, 1]. Convert them.")
    low, high = float(images_NHWC.min()), float(images_NHWC.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"images={kind}: expected floats in [0, 1], found {low:g} to {high:g}. Divide them by their range."
        )
    return np.round(images_NHWC * 255).astype(np.uint8)
