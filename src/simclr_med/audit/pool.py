"""All images of a data set as small copies of one size, with their labels, digests and grey values.

Shape letters: N images of all splits, S side of the small copies in pixels, C channels, L label columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from simclr_med.data.interpolation import measure_interpolation
from simclr_med.data.source import Source
from simclr_med.types import Split

SIDE = 32  # pixels: larger images are averaged down to it, smaller ones stay as they are
CHUNK = 1024  # images read at a time
UNKNOWN = -1  # label of an image without one
DARK = 10  # grey value below which a pixel counts as black; JPEG turns 0 into a few units


@dataclass(frozen=True)
class Pool:
    """The images of all splits, one after the other.

    Attributes:
        splits: of the data set, in their order.
        split_N: number of each image's split in `splits`.
        row_N: row of each image in its split.
        small_NSSC: uint8; non-square images are squeezed.
        labels_NL: int64, `UNKNOWN` for images without labels; None for a data set without labels.
        digest_N: SHA-256 of each image's pixels, as bytes.
        values: statistics of the grey values of the whole images.
        traces_N3: of interpolation in the whole images, or in their files; of `measure_interpolation`.
        detail_N: how much changes when the image is halved and enlarged again, as a fraction of its variance.
        names: of the files; None for arrays.
        side: shorter side of the whole images.
    """

    splits: tuple[Split, ...]
    split_N: np.ndarray
    row_N: np.ndarray
    small_NSSC: np.ndarray
    labels_NL: np.ndarray | None
    digest_N: np.ndarray
    values: GreyValues
    traces_N3: np.ndarray
    detail_N: np.ndarray
    names: tuple[str, ...] | None
    side: int

    def __len__(self) -> int:
        return len(self.split_N)

    @cached_property
    def grey_NSS(self) -> np.ndarray:
        """The small copies without colour, float32 in [0, 255]."""
        return to_grey(self.small_NSSC)

    def is_in(self, split: Split) -> np.ndarray:
        """Return which images are in a split, bool [N]."""
        if split not in self.splits:
            return np.zeros(len(self), bool)
        return self.split_N == self.splits.index(split)

    def place(self, image: int) -> tuple[Split, int]:
        """Return the split and the row of an image."""
        return self.splits[self.split_N[image]], int(self.row_N[image])


@dataclass(frozen=True)
class GreyValues:
    """Statistics of each whole image.

    Attributes:
        spread_N: largest minus smallest value of any channel.
        black_N, white_N: fraction of pixels below `DARK`, and of exactly 255.
    """

    spread_N: np.ndarray
    black_N: np.ndarray
    white_N: np.ndarray


def read_pool(
    source: Source, on_images: Callable[[int], None] = lambda done: None, splits: tuple[Split, ...] | None = None
) -> Pool:
    """Read splits once, a few images at a time.

    Args:
        source: the data set.
        on_images: called with the number of images read so far.
        splits: to read, in their order; None reads all.

    Raises:
        DataError: a split cannot be read.
    """
    splits = source.available_splits() if splits is None else splits
    parts: list[dict[str, np.ndarray]] = []
    labels: list[np.ndarray | None] = []
    names: list[str] = []
    counts: list[int] = []
    done, side = 0, source.size
    for split in splits:
        images = source.split(split)
        labels.append(images.labels)
        names += images.names or ()
        counts.append(len(images))
        for chunk_NHWC in _chunks(images.images):
            parts.append(_measure(chunk_NHWC, min(SIDE, side)))
            done += len(chunk_NHWC)
            on_images(done)
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return Pool(
        splits,
        np.repeat(np.arange(len(splits)), counts),
        np.concatenate([np.arange(count) for count in counts]),
        joined["small"],
        _join_labels(labels, counts),
        joined["digest"],
        GreyValues(joined["spread"], joined["black"], joined["white"]),
        joined["traces"],
        joined["detail"],
        tuple(names) if len(names) == sum(counts) else None,
        side,
    )


def to_grey(images_NHWC: np.ndarray) -> np.ndarray:
    """Return the mean of the channels, float32 [N, H, W] in [0, 255]."""
    return images_NHWC.mean(axis=-1, dtype=np.float32)


def _chunks(images_NHWC: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images_NHWC), CHUNK):
        yield np.ascontiguousarray(images_NHWC[start : start + CHUNK])


def _measure(images_NHWC: np.ndarray, side: int) -> dict[str, np.ndarray]:
    flat_NP = images_NHWC.reshape(len(images_NHWC), -1)
    grey_NHW = to_grey(images_NHWC)
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images_NHWC]
    return {
        "small": _shrink(images_NHWC, side),
        "digest": np.array(digests, dtype="S32").astype(object),
        "spread": flat_NP.max(axis=1).astype(np.int16) - flat_NP.min(axis=1),
        "black": (grey_NHW < DARK).mean(axis=(1, 2)),
        "white": (grey_NHW == 255).mean(axis=(1, 2)),
        "traces": measure_interpolation(grey_NHW),
        "detail": _measure_detail(grey_NHW),
    }


def _shrink(images_NHWC: np.ndarray, side: int) -> np.ndarray:
    if images_NHWC.shape[1:3] == (side, side):
        return images_NHWC
    batch = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float()
    small = F.interpolate(batch, (side, side), mode="area")
    return small.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _measure_detail(grey_NHW: np.ndarray) -> np.ndarray:
    batch = torch.from_numpy(grey_NHW)[:, None]
    half = F.interpolate(batch, scale_factor=0.5, mode="area")
    back = F.interpolate(half, batch.shape[-2:], mode="bilinear")
    change = (batch - back).pow(2).mean(dim=(1, 2, 3))
    return (change / batch.var(dim=(1, 2, 3)).clamp_min(1e-6)).numpy()


def _join_labels(labels: list[np.ndarray | None], counts: list[int]) -> np.ndarray | None:
    columns = {part.shape[1] for part in labels if part is not None}
    if not columns:
        return None
    width = columns.pop()
    full = [
        np.full((count, width), UNKNOWN) if part is None else part for part, count in zip(labels, counts, strict=True)
    ]
    return np.concatenate(full).astype(np.int64)
