"""Augmentations in order, and the views that a training step asks for as a function of (seed, epoch, step)."""

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
    """Ops in order. Without ops the images pass unchanged. Holds no state and no parameters to learn."""

    def __init__(self, ops: Items[Op]) -> None:
        super().__init__()
        self.ops = tuple(ops)

    def sample(self, count: int, height: int, width: int, generator: Generator) -> list[Parameters]:
        """Draws the parameters of count images, CPU tensors, one tuple an op."""
        parameters = []
        for op in self.ops:
            parameters.append(op.sample(count, height, width, generator))
            height, width = (height, width) if op.size is None else (op.size, op.size)
        return parameters

    @torch.no_grad()
    def forward(self, images_BCHW: Tensor, parameters: Items[Parameters]) -> Tensor:
        """float32 [B, 3, H, W] in [0, 1] -> the same, by parameters whose row i belongs to image i."""
        for op, values in zip(self.ops, parameters, strict=True):
            images_BCHW = op.apply(images_BCHW, *values)
        return images_BCHW


class OneView(nn.Module):
    """One augmented view of each image, as a supervised stage wants it."""

    def __init__(self, sequence: Sequence) -> None:
        super().__init__()
        self.sequence = sequence

    def forward(self, images_BHWC: Tensor, key: tuple[int, int, int], rows: tuple[int, int], size: int) -> Tensor:
        """Augments one process's share of a global batch.

        Args:
            images_BHWC: uint8 [B, H, W, 1 or 3], the rows start to stop of the global batch.
            key: (seed, epoch, step); with size it determines every parameter.
            rows: (start, stop) of the share, B = stop - start.
            size: images in the global batch.

        Returns:
            float32 [B, 3, H, W] in [0, 1] on the images' device.
        """
        return _views(self.sequence, images_BHWC, key, rows, size, count=1)


class TwoViews(nn.Module):
    """Two independently augmented views of each image, as contrastive learning wants them."""

    def __init__(self, sequence: Sequence) -> None:
        super().__init__()
        self.sequence = sequence

    def forward(self, images_BHWC: Tensor, key: tuple[int, int, int], rows: tuple[int, int], size: int) -> Tensor:
        """Like OneView.forward, but float32 [2B, 3, H, W]: the first view of all images, then the second of all."""
        return _views(self.sequence, images_BHWC, key, rows, size, count=2)


def to_float(images_BHWC: Tensor) -> Tensor:
    """uint8 [B, H, W, C] in [0, 255] -> float32 [B, 3, H, W] in [0, 1]; a single channel is repeated to three."""
    if images_BHWC.dtype != torch.uint8 or images_BHWC.ndim != 4 or images_BHWC.shape[3] not in (1, 3):
        raise ValueError(f"images={images_BHWC.dtype} {list(images_BHWC.shape)}: must be uint8 [B, H, W, 1 or 3].")
    images_BCHW = images_BHWC.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)
    return images_BCHW.expand(-1, 3, -1, -1).contiguous()


def augmentation_generator(key: tuple[int, int, int]) -> Generator:
    """The CPU generator of one step: seeded by a hash of (seed, epoch, step) and of nothing else."""
    state = np.random.SeedSequence([*key, Stream.AUGMENTATION]).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0]))


def _views(
    sequence: Sequence, images_BHWC: Tensor, key: tuple[int, int, int], rows: tuple[int, int], size: int, count: int
) -> Tensor:
    start, stop = rows
    if not 0 <= start <= stop <= size or len(images_BHWC) != stop - start:
        raise ValueError(f"rows={rows}: must name the {len(images_BHWC)} images inside a global batch of {size}.")
    with _float32(images_BHWC.device.type):
        images_BCHW = to_float(images_BHWC)
        height, width = images_BCHW.shape[2:]
        parameters = sequence.sample(count * size, height, width, augmentation_generator(key))
        shares = [slice(view * size + start, view * size + stop) for view in range(count)]
        local = [tuple(torch.cat([values[share] for share in shares]) for values in drawn) for drawn in parameters]
        return sequence(images_BCHW.repeat(count, 1, 1, 1), local)


@contextmanager
def _float32(device: str) -> Iterator[None]:
    """The same views whatever the training's precision: no half-precision products, no float64 random numbers."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_default_dtype(before)
