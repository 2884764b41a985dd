"""Batches by index selection from an array in memory or from a memory map, without workers.

Shape letters: B rows of this process's share, G rows of the global batch, L label columns.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from simclr_med.data.source import ImageSet
from simclr_med.streams import Stream
from simclr_med.transfer import to_device
from simclr_med.types import Batch

CPU = torch.device("cpu")


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return a permutation of 0..count-1, int64, that depends on (seed, epoch) alone."""
    state = np.random.SeedSequence([seed, epoch, Stream.SHUFFLE]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0]))
    return torch.randperm(count, generator=generator).numpy()


class Batches:
    """One epoch over selected rows of a split; every iteration yields the same batches.

    Args:
        images: the split.
        indices: int64 [N], the selected rows.
        batch_size: images of a global batch, over all processes; limited to N.
        seed, epoch: determine the order of a shuffled epoch and, with the step, each batch's random stream.
        rank, world: number of this process and number of processes. Each global batch is cut into ``world`` contiguous
            shares, so that all processes together use the same batches as a single process.
        shuffle: random order; false keeps the order of indices.
        drop_last: drop the last batch if it is not full.
        device: of the batches.
        resident: the images of the selected rows on this device, uint8 [N, H, W, C]; None copies each batch to it.
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
        device: torch.device = CPU,
        resident: Tensor | None = None,
    ) -> None:
        if len(indices) == 0 or batch_size < 1:
            raise ValueError(f"{len(indices)} rows in batches of {batch_size}: expected at least 1 of both")
        self.images = images
        self.indices = indices
        self.batch_size = min(batch_size, len(indices))
        self.seed = seed
        self.epoch = epoch
        self.rank = rank
        self.world = world
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.device = device
        self.resident = resident

    def __len__(self) -> int:
        whole, rest = divmod(len(self.indices), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        count = len(self.indices)
        order = epoch_order(count, self.seed, self.epoch) if self.shuffle else np.arange(count)
        for step in range(len(self)):
            positions_G = order[step * self.batch_size : (step + 1) * self.batch_size]
            start, stop = (len(positions_G) * r // self.world for r in (self.rank, self.rank + 1))
            positions_B = positions_G[start:stop]
            rows_B = self.indices[positions_B]
            labels_NL = self.images.labels
            yield Batch(
                images=self._select_images(positions_B, rows_B),
                labels=None if labels_NL is None else to_device(torch.from_numpy(labels_NL[rows_B]), self.device),
                indices=to_device(torch.from_numpy(rows_B.astype(np.int64)), self.device),
                key=(self.seed, self.epoch, step),
                rows=(start, stop),
                size=len(positions_G),
            )

    def _select_images(self, positions_B: np.ndarray, rows_B: np.ndarray) -> Tensor:
        """Return the images of these rows, which stand at these positions of the indices."""
        if self.resident is not None:
            return self.resident.index_select(0, to_device(torch.from_numpy(positions_B), self.device))
        return to_device(torch.from_numpy(_select_rows(self.images.images, rows_B)), self.device)


def _select_rows(images_NHWC: np.ndarray, rows_B: np.ndarray) -> np.ndarray:
    """Copy the rows into a new array; a memory map is read in ascending order, which is faster on a disk."""
    if not isinstance(images_NHWC, np.memmap):
        return np.take(images_NHWC, rows_B, axis=0)
    selected = np.empty((len(rows_B), *images_NHWC.shape[1:]), np.uint8)
    by_row = np.argsort(rows_B, kind="stable")
    _start_reading(images_NHWC, rows_B[by_row])
    selected[by_row] = images_NHWC[rows_B[by_row]]
    return selected


def _start_reading(images_NHWC: np.memmap, rows_B: np.ndarray) -> None:
    """Tell the system which rows come next: it then reads them all at once from the disk, and nothing around them."""
    mapped = images_NHWC.base
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):  # a view of a map; Windows
        return
    first = images_NHWC.offset % mmap.ALLOCATIONGRANULARITY  # of the array in the map
    row_bytes = images_NHWC[0].nbytes
    for start in (first + rows_B * row_bytes).tolist():
        page = start - start % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, page, start + row_bytes - page)
