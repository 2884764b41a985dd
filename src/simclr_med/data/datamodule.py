"""A data set as Lightning sees it: in-memory batches that are a function of (seed, epoch, step)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from simclr_med.data.loader import Batches
from simclr_med.data.source import ImageSet, Source
from simclr_med.data.subsets import select_subset
from simclr_med.errors import DataError
from simclr_med.types import KnnSets

# Stream of the validation views: the same ones at every look, whatever the epoch.
VAL_EPOCH = 0


class ImageDataModule(LightningDataModule):
    """Training batches of a data fraction, and the validation split to look at.

    Each process reads the data itself (in `setup`), so nothing large is pickled when processes are spawned.

    Args:
        source: the data set.
        fraction: keyword arguments of `subsets.choose`.
        batch_size: images of one optimizer step over all processes; more than there are becomes what there are.
        seed: of the order and of the views.
        accumulate: micro-batches of one optimizer step; a `Batch` is one micro-batch.
        processes: that share each micro-batch.
        bank: at most so many training images in the kNN monitor's bank.
        limit_steps: of an epoch, for trying things out.
    """

    def __init__(
        self,
        source: Source,
        fraction: Mapping[str, Any],
        batch_size: int,
        seed: int,
        accumulate: int = 1,
        processes: int = 1,
        bank: int = 2000,
        limit_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.source, self.fraction, self.wanted = source, fraction, batch_size
        self.seed, self.accumulate, self.processes = seed, accumulate, processes
        self.bank, self.limit_steps = bank, limit_steps
        self.notes: list[str] = []
        self._train: ImageSet | None = None
        self._val: ImageSet | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_train": None, "_val": None, "trainer": None}

    def setup(self, stage: str = "fit") -> None:
        if self._train is not None:
            return
        self._train, self._val = self.source.split("train"), self.source.split("val")
        classes = len(self.source.classes)
        self.indices, self.notes = select_subset(self._train.labels, len(self._train), **self.fraction, classes=classes)
        self._check_enough()
        if len(self._val) < 2:
            self.notes.append("The validation split has one image: what is measured on it says little.")
        most = len(self.indices) - len(self.indices) % (self.accumulate * self.processes)
        self.batch_size = min(self.wanted, most)
        if self.batch_size < self.wanted:
            self.notes.append(
                f"stage.batch_size={self.wanted} is more than the {len(self.indices)} images: using {self.batch_size}."
            )

    def _check_enough(self) -> None:
        """SimCLR tells images from one another, and batch normalisation needs two as well."""
        least, found = 2 * self.accumulate * self.processes, len(self.indices)
        if found < least:
            each = "" if least == 2 else " (2 in each micro-batch of each process)"
            lower = "" if least == 2 else ", or lower stage.accumulate or trainer.devices"
            raise DataError(
                f"dataset={self.source.name}: must give at least {least} training images{each}; data_fraction leaves "
                f"{found} of {len(self.train)}. Take more{lower}."
            )

    @property
    def train(self) -> ImageSet:
        assert self._train is not None, "setup comes first"
        return self._train

    @property
    def val(self) -> ImageSet:
        assert self._val is not None, "setup comes first"
        return self._val

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch; the images that do not fill a last one wait for another epoch's order."""
        steps = len(self.indices) // self.batch_size
        return steps if self.limit_steps is None else min(steps, self.limit_steps)

    def all_alike(self) -> bool:
        """Whether every training image is the same one; stops at the first that differs."""
        first = self.train.images[self.indices[0]]
        return all(np.array_equal(first, self.train.images[row]) for row in self.indices[1:])

    def train_dataloader(self) -> Batches:
        assert self.trainer is not None
        return Batches(
            self.train,
            self.indices,
            batch_size=self.batch_size // self.accumulate,
            seed=self.seed,
            epoch=self.trainer.current_epoch,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
        )

    def val_dataloader(self) -> Batches:
        """Whole batches of the validation split, in order, always with the same views."""
        size = min(self.batch_size // self.accumulate, len(self.val))
        return Batches(
            self.val,
            np.arange(len(self.val)),
            batch_size=size,
            seed=self.seed,
            epoch=VAL_EPOCH,
            shuffle=False,
            drop_last=True,
        )

    def knn_sets(self) -> KnnSets | None:
        """Bank and validation images with one-hot targets; None when a split has no labels."""
        if self.train.labels is None or self.val.labels is None:
            return None
        rows = self.indices
        if len(rows) > self.bank:
            rows = np.sort(np.random.default_rng(self.seed).choice(rows, self.bank, replace=False))
        classes = max(len(self.source.classes), 2)
        return KnnSets(
            self.train.images[rows],
            one_hot_targets(self.train.labels[rows], classes),
            self.val.images,
            one_hot_targets(self.val.labels, classes),
        )


def one_hot_targets(labels_NL: np.ndarray, classes: int) -> Tensor:
    """Float targets_NK: one-hot of a single label column, the columns themselves of a multi-label set."""
    labels = torch.from_numpy(np.asarray(labels_NL, dtype=np.int64))
    if labels.shape[1] > 1:
        return labels.float()
    return torch.nn.functional.one_hot(labels[:, 0], classes).float()
