"""The data set as a LightningDataModule; batches depend on (seed, epoch, step) alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from simclr_med.data.device_images import copy_to_device, fits_on_device
from simclr_med.data.loader import CPU, Batches, batches_per_pass
from simclr_med.data.same_patient import SamePatient, find_same_patient
from simclr_med.data.source import ImageSet, Source
from simclr_med.data.subsets import split_subset
from simclr_med.errors import DataError
from simclr_med.types import MULTI_LABEL, KnnSets, ValidationImages

VAL_EPOCH = 0  # epoch in the key of validation views, so that every validation uses the same views


class ImageDataModule(LightningDataModule):
    """Training batches of a data fraction, and validation images.

    Each process reads the data itself in `setup`, so that spawning processes pickles no images.

    Args:
        source: the data set.
        fraction: keyword arguments of `subsets.split_subset`, without ``hold_out``.
        batch_size: images of one optimizer step over all processes; limited to the number of images.
        seed: seed of the order and of the views.
        accumulate: micro-batches of one optimizer step; a `Batch` is one micro-batch.
        processes: number of processes that share each micro-batch.
        bank: maximum number of training images in the bank of the monitors (`knn_sets`).
        limit_steps: maximum number of optimizer steps per epoch, for debugging.
        least_steps: minimum number of optimizer steps per epoch; batches are then nearly equal and hold every image
            (`Batches`). None makes an epoch one pass in full batches, as NT-Xent needs.
        validation: the validation images: the ``split``, those ``held_out`` of the data fraction, or ``none``. The
            last two leave the validation split closed.
        parts: micro-batches that the module cuts its share of each batch into.
        pair_patients: take the second view from another training image of the same patient where there is one.
        mask_patients: say which training images of a batch are of the same patient.
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
        least_steps: int | None = None,
        validation: ValidationImages = "split",
        parts: int = 1,
        pair_patients: bool = False,
        mask_patients: bool = False,
    ) -> None:
        super().__init__()
        self.source = source
        self.fraction = fraction
        self.requested_batch_size = batch_size
        self.seed = seed
        self.accumulate = accumulate
        self.processes = processes
        self.bank = bank
        self.limit_steps = limit_steps
        self.least_steps = least_steps
        self.validation = validation
        self.parts = parts
        self.pair_patients = pair_patients
        self.mask_patients = mask_patients
        self.notes: list[str] = []
        self._train: ImageSet | None = None
        self._val: ImageSet | None = None
        self._resident: Tensor | None = None
        self._same_patient: SamePatient | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the images and the trainer, which each process creates itself."""
        return self.__dict__ | {"_train": None, "_val": None, "_same_patient": None, "_resident": None, "trainer": None}

    def setup(self, stage: str = "fit") -> None:
        """Read the images, select the subset and limit the batch size.

        Raises:
            DataError: the data cannot be read, or there are too few training images.
        """
        if self._train is not None:
            return
        self._train = self.source.split("train")
        labels, classes = self._train.labels, len(self.source.classes)
        hold_out, nothing = self.validation == "held_out", np.empty(0, np.int64)
        self.indices, held_out, self.notes = split_subset(
            labels, len(self._train), hold_out=hold_out, **self.fraction, classes=classes
        )
        if self.validation == "split":
            self._val = self.source.split("val")
        else:
            self._val = self._train.select(nothing if held_out is None else held_out)
        self._check_image_count()
        if self.pair_patients or self.mask_patients:
            self._same_patient = find_same_patient(self.source, self.indices)
            self.notes.append(self._same_patient.note)
        if len(self._val) == 1:
            self.notes.append("There is a single validation image; its metrics are not meaningful.")
        shares = 1 if self.least_steps is not None else self.accumulate * self.parts * self.processes
        largest = len(self.indices) - len(self.indices) % shares
        self.batch_size = min(self.requested_batch_size, largest)
        if self.batch_size < self.requested_batch_size:
            self.notes.append(
                f"stage.batch_size={self.requested_batch_size} is larger than the {len(self.indices)} training images; "
                f"using {self.batch_size}."
            )
        if self.least_steps is not None:
            self._check_batches()

    def _check_batches(self) -> None:
        """Check that each process has an image of every batch; note it if an epoch is more than one pass.

        Raises:
            DataError: a batch has fewer images than there are processes.
        """
        count, batches = len(self.indices), batches_per_pass(len(self.indices), self.batch_size)
        if count // batches < self.processes:
            raise DataError(
                f"stage.batch_size={self.requested_batch_size}: batches of {count // batches} images are too few for "
                f"{self.processes} processes. Raise it, or lower trainer.nodes or trainer.devices."
            )
        if self.steps_per_epoch > batches:
            self.notes.append(
                f"An epoch has {self.steps_per_epoch} steps (stage.min_steps / stage.epochs): it passes over the "
                f"{count} training images {self.steps_per_epoch / batches:.3g} times."
            )

    def _check_image_count(self) -> None:
        """Check for two images per micro-batch and process, which NT-Xent and batch normalisation need."""
        least = 2 * self.accumulate * self.parts * self.processes
        found = len(self.indices)
        if found < least:
            each = "" if least == 2 else " (2 in each micro-batch of each process)"
            held_out = len(self.val) if self.validation == "held_out" else 0
            kept = f" and holds {held_out} of them out for validation" if held_out else ""
            factors = {"stage.accumulate": self.accumulate * self.parts, "trainer.devices": self.processes}
            keys = " or ".join(key for key, factor in factors.items() if factor > 1)
            lower = f", or lower {keys}" if keys else ""
            raise DataError(
                f"dataset={self.source.name}: expected at least {least} training images{each}; data_fraction selects "
                f"{found + held_out} of {len(self.train)}{kept}. Increase data_fraction{lower}."
            )

    @property
    def train(self) -> ImageSet:
        """The whole training split; `indices` are its selected rows."""
        assert self._train is not None, "call setup first"
        return self._train

    @property
    def val(self) -> ImageSet:
        """The validation images; there may be none where the data fraction holds them out."""
        assert self._val is not None, "call setup first"
        return self._val

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        if self.least_steps is None:
            steps = len(self.indices) // self.batch_size  # an incomplete last batch is dropped
        else:
            steps = max(batches_per_pass(len(self.indices), self.batch_size), self.least_steps)
        return steps if self.limit_steps is None else min(steps, self.limit_steps)

    def has_identical_images(self) -> bool:
        """Return whether all selected training images are identical."""
        first = self.train.images[self.indices[0]]
        return all(np.array_equal(first, self.train.images[row]) for row in self.indices[1:])

    def train_dataloader(self) -> Batches:
        """Return this process's micro-batches of the trainer's current epoch."""
        assert self.trainer is not None
        return Batches(
            self.train,
            self.indices,
            batch_size=self.batch_size // self.accumulate,
            seed=self.seed,
            epoch=self.trainer.current_epoch,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            steps=None if self.least_steps is None else self.steps_per_epoch * self.accumulate,
            device=self._device(),
            resident=self._load_resident(),
            same_patient=self._same_patient,
            pair=self.pair_patients,
            mask=self.mask_patients,
        )

    def val_dataloader(self) -> Batches:
        """Return the full batches of the validation split in order; their views are the same at every call."""
        size = min(self.batch_size // self.accumulate, len(self.val))
        return Batches(
            self.val,
            np.arange(len(self.val)),
            batch_size=size,
            seed=self.seed,
            epoch=VAL_EPOCH,
            shuffle=False,
            device=self._device(),
        )

    def _device(self) -> torch.device:
        """Return the GPU that this process trains on. Lightning moves batches to any other device."""
        device = CPU if self.trainer is None else self.trainer.strategy.root_device
        return device if device.type == "cuda" else CPU

    def _load_resident(self) -> Tensor | None:
        """Copy the selected training images to the GPU, once; None without a GPU or where they do not fit."""
        device = self._device()
        if self._resident is None and device.type == "cuda":
            free_bytes, _ = torch.cuda.mem_get_info(device)
            if fits_on_device(self.train.images, self.indices, free_bytes):
                self._resident = copy_to_device(self.train.images, self.indices, device)
        return self._resident

    def knn_sets(self) -> KnnSets | None:
        """Return the monitors' bank and validation images with one-hot targets; None if a split has no labels."""
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
            MULTI_LABEL if self.val.labels.shape[1] > 1 else "multi-class",
        )


def one_hot_targets(labels_NL: np.ndarray, classes: int) -> Tensor:
    """Return float targets_NK: one-hot for a single label column, the columns themselves if multi-label."""
    labels = torch.from_numpy(np.asarray(labels_NL, dtype=np.int64))
    if labels.shape[1] > 1:
        return labels.float()
    return torch.nn.functional.one_hot(labels[:, 0], classes).float()
