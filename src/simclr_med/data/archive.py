"""An .npz file in MedMNIST's layout, read split by split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from simclr_med.data import arrays, layout
from simclr_med.data.memory_maps import read_or_map
from simclr_med.types import SPLITS, Split, Task


def name_images(split: Split) -> str:
    """Return the name of a split's array of images."""
    return f"{split}_images"


def name_labels(split: Split) -> str:
    """Return the name of a split's array of labels."""
    return f"{split}_labels"


@dataclass(frozen=True)
class Archive:
    """The images and labels of an .npz file, checked against the rules of `layout`.

    Attributes:
        file: the .npz file; it is opened when something is read.
    """

    file: Path

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return arrays.list_keys(self.file)

    def available_splits(self) -> tuple[Split, ...]:
        """Return the splits with images."""
        return tuple(split for split in SPLITS if name_images(split) in self.keys)

    def labelled_splits(self) -> tuple[Split, ...]:
        """Return the splits with images and labels."""
        return tuple(split for split in self.available_splits() if name_labels(split) in self.keys)

    def read_image_shape(self, split: Split) -> tuple[int, int, int, int]:
        """Return (N, H, W, C) of a split's images, from the first bytes of their array.

        Raises:
            DataError: the file or the split is missing, or the array does not contain images.
        """
        key = name_images(split)
        header = arrays.read_header(self.file, key)
        return layout.check_image_shape(self.file, key, header.shape, header.dtype)

    def read_images(self, split: Split) -> np.ndarray:
        """Return a split's images, uint8 [N, H, W, C], as a read-only memory map if they are large.

        Raises:
            DataError: as for `read_image_shape`, or the file is damaged.
        """
        shape = self.read_image_shape(split)
        return read_or_map(self.file, name_images(split)).reshape(shape)

    def read_raw_labels(self, split: Split) -> np.ndarray:
        """Return a split's labels, int64 [N, L], before their range is checked.

        Raises:
            DataError: the labels are missing, damaged or not integers.
        """
        return layout.reshape_labels(self.file, name_labels(split), self._read_label_array(split))

    def read_labels(self, split: Split, task: Task, classes: int) -> np.ndarray:
        """Return a split's labels, int64 [N, L], checked for the task and the number of classes.

        Raises:
            DataError: the labels are missing, damaged or do not fit task, classes and images.
        """
        images = self.read_image_shape(split)[0]
        labels = self._read_label_array(split)
        return layout.check_labels(self.file, name_labels(split), labels, task, classes, images)

    def _read_label_array(self, split: Split) -> np.ndarray:
        key = name_labels(split)
        header = arrays.read_header(self.file, key)
        layout.check_label_shape(self.file, key, header.shape, header.dtype)
        return arrays.read(self.file, key)
