"""Batches by index selection from an array in memory or mapped: no workers, no copies but the batch's own.

Shape letters: B rows of this process's share, G rows of the global batch, L label columns.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from simclr_med.data.source import ImageSet
from simclr_med.streams import Stream
from simclr_med.types import Batch


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of 0..count-1, int64, that is a function of (seed, epoch) and of nothing else."""
    word = int(np.random.SeedSequence([seed, epoch, Stream.SHUFFLE]).generate_state(1, np.uint64)[0])
    return torch.randperm(count, generator=torch.Generator().manual_seed(word)).numpy()


class Batches:
    """One epoch over some rows of a split; iterating again gives the same batches again.

    Args:
        images: the split.
        indices: int64 [N], the rows to use.
        batch_size: images of a global batch, over all processes; more than N becomes N (see ``batch_size``).
        seed, epoch: name the order of a shuffled epoch and, with the step, each batch's random stream.
        rank, world: this process and how many there are. Each global batch is cut into ``world`` contiguous shares,
            so that the processes together see exactly what one would see.
        shuffle: a random order; otherwise the order of indices.
        drop_last: leave out a last batch that is not full.
    """

    def __init__(
        self,
        images: ImageSet,
        indices: np.ndarray,
        batch_size: int,
        seed: int,
        epoch: int,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        drop_last: bool = True,
    ) -> None:
        if len(indices) == 0 or batch_size < 1:
            raise ValueError(f"{len(indices)} rows in batches of {batch_size}: both must be at least 1")
        self.images, self.indices = images, indices
        self.batch_size = min(batch_size, len(indices))
        self.seed, self.epoch, self.rank, self.world = seed, epoch, rank, world
        self.shuffle, self.drop_last = shuffle, drop_last

    def __len__(self) -> int:
        whole, rest = divmod(len(self.indices), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        order = self.indices[epoch_order(len(self.indices), self.seed, self.epoch)] if self.shuffle else self.indices
        for step in range(len(self)):
            rows_G = order[step * self.batch_size : (step + 1) * self.batch_size]
            start, stop = (len(rows_G) * r // self.world for r in (self.rank, self.rank + 1))
            rows_B = rows_G[start:stop]
            labels_NL = self.images.labels
            yield Batch(
                images=torch.from_numpy(_selected(self.images.images, rows_B)),
                labels=None if labels_NL is None else torch.from_numpy(labels_NL[rows_B]),
                indices=torch.from_numpy(rows_B.astype(np.int64)),
                key=(self.seed, self.epoch, step),
                rows=(start, stop),
                size=len(rows_G),
            )


def _selected(images_NHWC: np.ndarray, rows_B: np.ndarray) -> np.ndarray:
    """The rows as an array of their own; a memory map is read in its own order, for the disk's sake."""
    if not isinstance(images_NHWC, np.memmap):
        return np.take(images_NHWC, rows_B, axis=0)
    selected = np.empty((len(rows_B), *images_NHWC.shape[1:]), np.uint8)
    by_row = np.argsort(rows_B, kind="stable")
    selected[by_row] = images_NHWC[rows_B[by_row]]
    return selected
