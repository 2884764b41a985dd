"""A stranger's images in MedMNIST's layout: an .npz with ``{split}_images`` and perhaps ``{split}_labels``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np

from simclr_med.data import arrays, layout
from simclr_med.data.hashing import hash_file
from simclr_med.data.source import ImageSet
from simclr_med.errors import DataError
from simclr_med.types import SPLITS, Split, Task


def image_shape(path: str) -> tuple[int, int, int]:
    """(H, W, C) of the training images, from the first bytes of their array; without any, of the first split there is.

    Raises:
        DataError: no such file or array, or not one of images.
    """
    file = Path(path).expanduser()
    held = arrays.list_keys(file)
    key = next((f"{split}_images" for split in SPLITS if f"{split}_images" in held), "train_images")
    head = arrays.read_header(file, key)
    return layout.image_shape(file, key, head.shape, head.dtype)[1:]


class Npz:
    """Any .npz in MedMNIST's layout; a `Source`. The splits agree in height, width and colours; W may differ from H.

    Args:
        name: the data set's name in folders and results.
        path: the .npz.
        task: medmnist's word for what the labels mean; None infers it from the training labels (without training
            images, from those of the first split there is): several columns are multi-label, two classes are
            binary-class, more are multi-class.
        class_names: by label; None numbers the classes 0..K-1 with K - 1 the highest of the same labels.
    """

    def __init__(self, name: str, path: str, task: Task | None, class_names: Sequence[str] | None) -> None:
        self.name = name
        self.file = Path(path).expanduser()
        self._task = task
        self._class_names = class_names

    @property
    def size(self) -> int:
        return min(self._shape[:2])

    @property
    def channels(self) -> int:
        return self._shape[2]

    @property
    def task(self) -> Task | None:
        if self._deciding_labels is None:
            return None
        if self._task is not None and self._task not in get_args(Task):
            raise DataError(f"dataset.task={self._task}: must be one of {'; '.join(get_args(Task))}. Correct it.")
        if self._task == "binary-class" and len(self.classes) != 2:
            raise DataError(
                f"dataset.task=binary-class: must be of two classes; there are {len(self.classes)}. Leave dataset.task "
                "out, or correct the labels."
            )
        return self._task or layout.infer_task(self._deciding_labels.shape[1], len(self.classes))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        if self._deciding_labels is None:
            return ()
        if self._class_names is not None:
            names = tuple(str(name) for name in self._class_names)
            if not names or len(set(names)) < len(names):
                rule = "different names" if names else "a name for each class"
                raise DataError(f"dataset.class_names=[{','.join(names)}]: must be {rule}. Correct them.")
            return names
        columns = self._deciding_labels.shape[1]
        return tuple(str(k) for k in range(columns if columns > 1 else int(self._deciding_labels.max()) + 1))

    def content_hash(self) -> str:
        """The SHA-256 of the file."""
        return f"sha256:{self._file_hash}"

    def present(self) -> tuple[Split, ...]:
        """Those whose images the file holds."""
        return tuple(split for split in SPLITS if f"{split}_images" in self._keys)

    def labelled(self) -> tuple[Split, ...]:
        """Those whose labels the file holds as well."""
        return tuple(split for split in self.present() if f"{split}_labels" in self._keys)

    def split(self, split: Split) -> ImageSet:
        """Read one split.

        Raises:
            DataError: the split is missing, damaged or not of the layout.
        """
        key = f"{split}_images"
        shape = self._image_shape(split)
        if shape[1:] != self._shape:
            raise DataError(
                f"{self.file}[{key}]={list(shape)}: must be [N, {', '.join(map(str, self._shape))}] as the training "
                "images are. Bring all splits to one size."
            )
        labels = self._labels(split, shape[0])
        return ImageSet(arrays.read_or_map(self.file, key).reshape(shape), labels)

    def labels(self, split: Split) -> np.ndarray | None:
        """The labels of one split, int64 [N, L]; None when the file has none for it.

        Raises:
            DataError: as for `split`.
        """
        return self._labels(split, self._image_shape(split)[0])

    def names(self, split: Split) -> None:
        """None: the images are rows of an array."""
        return None

    @cached_property
    def _shape(self) -> tuple[int, int, int]:
        return image_shape(str(self.file))

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        return arrays.list_keys(self.file)

    @cached_property
    def _file_hash(self) -> str:
        return hash_file("sha256", self.file)

    @cached_property
    def _deciding_labels(self) -> np.ndarray | None:
        """int64 [N, L]; what they may be is judged by `_labels`, once the classes are known."""
        key = f"{next(iter(self.present()), 'train')}_labels"
        if key not in self._keys:
            return None
        matrix = layout.as_matrix(self.file, key, arrays.read(self.file, key))
        if matrix.size == 0 or matrix.min() < 0:
            raise DataError(f"{self.file}[{key}]: must be classes from 0 on. Correct the labels.")
        if matrix.shape[1] == 1 and self._class_names is None and matrix.max() > max(len(matrix), 2):
            raise DataError(
                f"{self.file}[{key}]={matrix.max()}: must number the classes 0, 1, 2, ...; {len(matrix)} images cannot "
                "have so many. Renumber them, as np.unique(labels, return_inverse=True)[1]."
            )
        return matrix

    def _image_shape(self, split: Split) -> tuple[int, int, int, int]:
        head = arrays.read_header(self.file, f"{split}_images")
        return layout.image_shape(self.file, f"{split}_images", head.shape, head.dtype)

    def _labels(self, split: Split, images: int) -> np.ndarray | None:
        key = f"{split}_labels"
        task = self.task
        if key not in self._keys:
            return None
        if task is None:
            raise DataError(f"{self.file}[{key}]: must come with train_labels, which are missing. Add or remove both.")
        found = arrays.read(self.file, key)
        return layout.label_matrix(self.file, key, found, task, len(self.classes), images)
