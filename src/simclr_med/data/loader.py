"""Batches by index selection from an array in memory or from a memory map, without workers.

Shape letters: B rows of this process's share, G rows of the global batch, L label columns.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from simclr_med.data.same_patient import SamePatient
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


def batches_per_pass(count: int, batch_size: int) -> int:
    """Return the number of nearly equal batches that hold every row once.

    Each has at most batch_size rows, but at least two, because batch normalisation has no statistics of one image:
    three rows in batches of two are one batch.

    Args:
        count: rows, 1 or more.
        batch_size: rows of a batch, at most.
    """
    return max(1, min(-(-count // batch_size), count // 2))


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
        steps: batches of the epoch. A pass over the rows is cut into nearly equal batches, which hold every row, and
            a pass continues in the next epoch, so that a run uses every row equally often. None makes
            the epoch one pass in full batches, and drops an incomplete last one.
        device: of the batches.
        resident: the images of the selected rows on this device, uint8 [N, H, W, C]; None copies each batch to it.
        same_patient: which of the selected rows are of the same patient; None if nobody asks.
        pair: give each image a partner, another image of the same patient; needs same_patient.
        mask: give the number of each image's patient; needs same_patient.
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
        steps: int | None = None,
        device: torch.device = CPU,
        resident: Tensor | None = None,
        same_patient: SamePatient | None = None,
        pair: bool = False,
        mask: bool = False,
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
        self.steps = steps
        self.device = device
        self.resident = resident
        self.same_patient = same_patient
        self.pair = pair
        self.mask = mask

    def __len__(self) -> int:
        return len(self.indices) // self.batch_size if self.steps is None else self.steps

    def __iter__(self) -> Iterator[Batch]:
        for step, positions_G in enumerate(self._global_batches()):
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
                partners=self._select_partners(positions_G, start, stop, step),
                patients=self._number_patients(positions_B),
            )

    def _global_batches(self) -> Iterator[np.ndarray]:
        """Yield the positions of each global batch in the indices, int64 [G]."""
        if self.steps is None:
            order = self._order(self.epoch)
            for step in range(len(self)):
                yield order[step * self.batch_size : (step + 1) * self.batch_size]
            return
        batches = batches_per_pass(len(self.indices), self.batch_size)
        steps = range(self.epoch * self.steps, (self.epoch + 1) * self.steps)  # counted from the start of the run
        for number, of_pass in groupby(steps, key=lambda step: step // batches):
            parts = np.array_split(self._order(number), batches)
            for step in of_pass:
                yield parts[step % batches]

    def _order(self, number: int) -> np.ndarray:
        """Return the order of a pass over the rows, int64 [N].

        Args:
            number: of the pass; the number of the epoch if an epoch is one pass.
        """
        count = len(self.indices)
        return epoch_order(count, self.seed, number) if self.shuffle else np.arange(count)

    def _select_partners(self, positions_G: np.ndarray, start: int, stop: int, step: int) -> Tensor | None:
        """Return the partners of this share of a global batch, for which they are drawn."""
        if self.same_patient is None or not self.pair:
            return None
        partners_G = self.same_patient.draw_partners(positions_G, (self.seed, self.epoch, step))
        partners_B = partners_G[start:stop]
        return self._select_images(partners_B, self.indices[partners_B])

    def _number_patients(self, positions_B: np.ndarray) -> Tensor | None:
        if self.same_patient is None or not self.mask:
            return None
        return to_device(torch.from_numpy(self.same_patient.numbers_N[positions_B]), self.device)

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
    """Tell the system which rows are read next, so that it reads all of them at once and nothing around them."""
    mapped = images_NHWC.base
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):  # a view of a map; Windows
        return
    first = images_NHWC.offset % mmap.ALLOCATIONGRANULARITY  # of the array in the map
    row_bytes = images_NHWC[0].nbytes
    for start in (first + rows_B * row_bytes).tolist():
        page = start - start % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, page, start + row_bytes - page)
