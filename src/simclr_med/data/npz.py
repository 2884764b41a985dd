"""A user's .npz file in MedMNIST's layout: ``{split}_images`` and, optionally, ``{split}_labels``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np

from simclr_med.data import layout
from simclr_med.data.archive import Archive, name_images, name_labels
from simclr_med.data.hashing import hash_file
from simclr_med.data.patients import describe_patients, find_patients, hash_patients
from simclr_med.data.source import ImageSet, Remarks
from simclr_med.errors import DataError
from simclr_med.types import Split, Task


class Npz:
    """Any .npz file in MedMNIST's layout; a `Source`. All splits have the same H, W and C; W may differ from H.

    The *first split* is train or, without training images, the first split with images.

    Args:
        name: the data set's name in folders and results.
        path: the .npz file.
        task: medmnist's name of the task; None infers it from the labels of the first split: several columns are
            multi-label, two classes are binary-class, more classes are multi-class.
        class_names: the class names, by label; None numbers the classes 0..K-1, where K - 1 is the highest label of
            the first split.
        groups_csv: CSV file with the columns split, row (or index) and patient; no patient may be in two splits. None
            if the patients are unknown.
    """

    def __init__(
        self,
        name: str,
        path: str,
        task: Task | None,
        class_names: Sequence[str] | None,
        groups_csv: str | None = None,
    ) -> None:
        self.name = name
        self.file = Path(os.path.expanduser(path))
        self._archive = Archive(self.file)
        self._task = task
        self._class_names = class_names
        self._groups_csv = None if groups_csv is None else Path(os.path.expanduser(groups_csv))

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images of the first split, from the first bytes of their array.

        Raises:
            DataError: the file or the array is missing, or the array does not contain images.
        """
        return self._archive.read_image_shape(self._first_split)[1:]

    @property
    def size(self) -> int:
        return min(self.image_shape[:2])

    @property
    def channels(self) -> int:
        return self.image_shape[2]

    @property
    def task(self) -> Task | None:
        if self._first_labels is None:
            return None
        if self._task is not None and self._task not in get_args(Task):
            raise DataError(f"dataset.task={self._task}: unknown task. Choose one of {'; '.join(get_args(Task))}.")
        if self._task == "binary-class" and len(self.classes) != 2:
            raise DataError(
                f"dataset.task=binary-class: expected 2 classes, found {len(self.classes)}. Remove dataset.task, or "
                "correct the labels."
            )
        return self._task or layout.infer_task(self._first_labels.shape[1], len(self.classes))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        if self._first_labels is None:
            return ()
        if self._class_names is not None:
            names = tuple(str(name) for name in self._class_names)
            if not names or len(set(names)) < len(names):
                rule = "different names" if names else "a name for each class"
                raise DataError(f"dataset.class_names=[{','.join(names)}]: expected {rule}. Correct the names.")
            return names
        columns = self._first_labels.shape[1]
        count = columns if columns > 1 else int(self._first_labels.max()) + 1
        return tuple(str(k) for k in range(count))

    def content_hash(self) -> str:
        """Return the SHA-256 of the file; with a CSV of patients, of the digests of both."""
        if self._groups_csv is None:
            return f"sha256:{self._file_hash}"
        both = f"{self._file_hash} {hash_patients(self._groups_csv)}"
        return f"sha256:{hashlib.sha256(both.encode()).hexdigest()}"

    def available_splits(self) -> tuple[Split, ...]:
        """Return the splits whose images are in the file."""
        return self._archive.available_splits()

    def labelled_splits(self) -> tuple[Split, ...]:
        """Return the splits whose images and labels are in the file."""
        return self._archive.labelled_splits()

    def split(self, split: Split) -> ImageSet:
        """Read one split.

        Raises:
            DataError: the split is missing, damaged or not in MedMNIST's layout.
        """
        shape = self._archive.read_image_shape(split)
        if shape[1:] != self.image_shape:
            expected = ", ".join(map(str, self.image_shape))
            raise DataError(
                f"{self.file}[{name_images(split)}]={list(shape)}: expected [N, {expected}] as in "
                f"{name_images(self._first_split)}. Resize all splits to one size."
            )
        labels = self.labels(split)
        return ImageSet(self._archive.read_images(split), labels)

    def labels(self, split: Split) -> np.ndarray | None:
        """Read the labels of one split, int64 [N, L]; None if the file has no labels for it.

        Raises:
            DataError: as for `split`.
        """
        self._archive.read_image_shape(split)  # a missing split is an error, missing labels are not
        task = self.task
        key = name_labels(split)
        if key not in self._archive.keys:
            return None
        if task is None:
            raise DataError(
                f"{self.file}[{key}]: {name_labels(self._first_split)} is missing, which decides the classes. "
                "Add it, or remove all labels."
            )
        return self._archive.read_labels(split, task, len(self.classes))

    def names(self, split: Split) -> None:
        """Return None: the images have no file names."""
        return None

    def patients(self, split: Split) -> tuple[str | None, ...] | None:
        """Return the patient of each image that the CSV names, and None for the others; None without a CSV."""
        if self._groups_csv is None:
            return None
        return find_patients(self._groups_csv, self, split, self._archive.read_image_shape(split)[0])

    def interpolation(self, split: Split) -> None:
        """Return None: the images are the stored ones."""

    def remarks(self) -> Remarks:
        """Return how many patients there are, if a CSV says it.

        Raises:
            DataError: the CSV cannot be read or does not fit the file, or a patient is in two splits.
        """
        if self._groups_csv is None:
            return Remarks()
        counts = {split: self._archive.read_image_shape(split)[0] for split in self.available_splits()}
        return describe_patients(self._groups_csv, self, counts)

    @cached_property
    def _file_hash(self) -> str:
        return hash_file("sha256", self.file)

    @cached_property
    def _first_split(self) -> Split:
        return next(iter(self._archive.available_splits()), "train")

    @cached_property
    def _first_labels(self) -> np.ndarray | None:
        """Labels of the first split, int64 [N, L], which decide the classes; `labels` checks their range.

        Raises:
            DataError: the file has no images at all.
        """
        key = name_labels(self._first_split)
        if key not in self._archive.keys:
            self._archive.read_image_shape(self._first_split)  # a file without images is an error
            return None
        labels = self._archive.read_raw_labels(self._first_split)
        if labels.size == 0 or labels.min() < 0:
            raise DataError(f"{self.file}[{key}]: expected classes numbered from 0. Correct the labels.")
        if labels.shape[1] == 1 and self._class_names is None and labels.max() > max(len(labels), 2):
            raise DataError(
                f"{self.file}[{key}]={labels.max()}: expected classes numbered 0, 1, 2, ...; {len(labels)} images "
                "cannot have so many classes. Renumber them with np.unique(labels, return_inverse=True)[1]."
            )
        return labels
