"""Sequences of augmentations, and the views of a training step as a function of (seed, epoch, step)."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager

import numpy as np
import torch
from torch import Generator, Tensor, nn

from simclr_med.augment.op import Op, Parameters
from simclr_med.streams import Stream


class Sequence(nn.Module):
    """Augmentation ops in order; without ops, images stay unchanged. It has no state and no learned parameters."""

    def __init__(self, ops: Items[Op]) -> None:
        super().__init__()
        self.ops = tuple(ops)

    @property
    def colour_ops(self) -> tuple[str, ...]:
        """Names of the ops that need three channels."""
        return tuple(op.name for op in self.ops if op.needs_rgb)

    def sample(self, count: int, height: int, width: int, generator: Generator) -> list[Parameters]:
        """Draw the parameters of count images of height x width pixels: CPU tensors, one tuple per op."""
        parameters = []
        for op in self.ops:
            parameters.append(op.sample(count, height, width, generator))
            height, width = (height, width) if op.size is None else (op.size, op.size)
        return parameters

    @torch.no_grad()
    def forward(self, images_BCHW: Tensor, parameters: Items[Parameters]) -> Tensor:
        """Apply the ops to float32 images [B, C, H, W] in [0, 1]; row i of the parameters belongs to image i."""
        for op, values in zip(self.ops, parameters, strict=True):
            images_BCHW = op.apply(images_BCHW, *values)
        return images_BCHW


class OneView(nn.Module):
    """One augmented view of each image, for supervised training."""

    def __init__(self, sequence: Sequence) -> None:
        super().__init__()
        self.sequence = sequence

    def forward(self, images_BHWC: Tensor, key: tuple[int, int, int], rows: tuple[int, int], size: int) -> Tensor:
        """Augment one process's share of a global batch.

        Args:
            images_BHWC: uint8 [B, H, W, C] in [0, 255], the rows start to stop of the global batch.
            key: (seed, epoch, step); key and size determine every parameter.
            rows: (start, stop) of the share, B = stop - start.
            size: images in the global batch.

        Returns:
            float32 [B, C, H, W] in [0, 1] on the images' device; C = 3 for grey images.
        """
        return _augment_share(self.sequence, (images_BHWC,), key, rows, size)


class TwoViews(nn.Module):
    """Two independently augmented views of each image, for contrastive learning."""

    def __init__(self, sequence: Sequence) -> None:
        super().__init__()
        self.sequence = sequence

    def forward(
        self,
        images_BHWC: Tensor,
        key: tuple[int, int, int],
        rows: tuple[int, int],
        size: int,
        partners_BHWC: Tensor | None = None,
    ) -> Tensor:
        """Augment like `OneView.forward`, to float32 [2B, C, H, W]: the first view of every image, then the second.

        Args:
            images_BHWC, key, rows, size: as there.
            partners_BHWC: the images of the second views; None takes the same images.
        """
        second_BHWC = images_BHWC if partners_BHWC is None else partners_BHWC
        return _augment_share(self.sequence, (images_BHWC, second_BHWC), key, rows, size)


def to_float(images_BHWC: Tensor) -> Tensor:
    """Convert uint8 [B, H, W, C] in [0, 255] to float32 [B, C, H, W] in [0, 1]; a grey channel is repeated."""
    if images_BHWC.dtype != torch.uint8 or images_BHWC.ndim != 4:
        raise ValueError(f"images={images_BHWC.dtype} {list(images_BHWC.shape)}: expected uint8 [B, H, W, C].")
    images_BCHW = images_BHWC.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)
    return images_BCHW.expand(-1, 3, -1, -1).contiguous() if images_BCHW.shape[1] == 1 else images_BCHW


def augmentation_generator(key: tuple[int, int, int]) -> Generator:
    """Return the CPU generator of one step, seeded by a hash of (seed, epoch, step) alone."""
    state = np.random.SeedSequence([*key, Stream.AUGMENTATION]).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0]))


def _augment_share(
    sequence: Sequence, views: Items[Tensor], key: tuple[int, int, int], rows: tuple[int, int], size: int
) -> Tensor:
    """Return one view of each image; the parameters are drawn for the global batch and cut to this share.

    Args:
        sequence: to apply.
        views: the images of each view, uint8 [B, H, W, C].
        key, rows, size: as in `OneView.forward`.
    """
    start, stop = rows
    count, images = len(views), len(views[0])
    if not 0 <= start <= stop <= size or images != stop - start:
        raise ValueError(f"rows={rows}: expected (start, stop) of the {images} images in a global batch of {size}.")
    with _compute_in_float32(views[0].device.type):
        images_BCHW = to_float(torch.cat(tuple(views)))
        height, width = images_BCHW.shape[2:]
        parameters = sequence.sample(count * size, height, width, augmentation_generator(key))
        shares = [slice(view * size + start, view * size + stop) for view in range(count)]
        local = [tuple(torch.cat([values[share] for share in shares]) for values in drawn) for drawn in parameters]
        return sequence(images_BCHW, local)


@contextmanager
def _compute_in_float32(device: str) -> Iterator[None]:
    """Compute in float32 without autocast, so that the views do not depend on the training's precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_default_dtype(before)
