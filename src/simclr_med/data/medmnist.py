"""The twelve 2D sets of MedMNIST v2 (Yang et al. 2023), in medmnist's own files: found, or downloaded and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from simclr_med.data import arrays, layout
from simclr_med.data.download import download
from simclr_med.data.hashing import hash_file
from simclr_med.data.source import ImageSet
from simclr_med.errors import DataError
from simclr_med.types import SPLITS, Split, Task


@dataclass(frozen=True)
class MedMNIST:
    """One MedMNIST set at one size; a `Source`.

    Attributes:
        name: medmnist's flag, as ``bloodmnist``.
        size: side of the images in pixels: 28, 64, 128 or 224.
        root: folder of the files, named as medmnist names them.
        verify: check the file's MD5 when it is first read; false takes the file as it is.
        info: facts from medmnist's INFO: task, labels ({"0": name}), n_channels, url and md5 of the file of this size.
    """

    name: str
    size: int
    root: str
    verify: bool
    info: Mapping[str, Any]

    @property
    def channels(self) -> int:
        return int(self.info["n_channels"])

    @property
    def task(self) -> Task:
        return cast(Task, self.info["task"])

    @property
    def classes(self) -> tuple[str, ...]:
        labels = self.info["labels"]
        return tuple(labels[str(k)] for k in range(len(labels)))

    @property
    def file(self) -> Path:
        """Where the file lies or will lie."""
        return Path(self.root).expanduser() / (
            f"{self.name}.npz" if self.size == 28 else f"{self.name}_{self.size}.npz"
        )

    def content_hash(self) -> str:
        """The MD5 that medmnist states, without reading the file; of an unverified file, the SHA-256 of its bytes."""
        if self.verify:
            return f"md5:{self.info['md5']}"
        return f"sha256:{hash_file('sha256', self._present)}"

    def present(self) -> tuple[Split, ...]:
        """All three."""
        return SPLITS

    def labelled(self) -> tuple[Split, ...]:
        """All three."""
        return SPLITS

    def split(self, split: Split) -> ImageSet:
        """Read one split; downloads and verifies the file first when that has not been done.

        Raises:
            DataError: the file cannot be had, has another MD5, or is not of MedMNIST's layout.
        """
        key = f"{split}_images"
        head = arrays.read_header(self._checked, key)
        shape = layout.image_shape(self._checked, key, head.shape, head.dtype)
        layout.square(self._checked, key, shape, self.size, self.channels)
        labels = self._labels(split, shape[0])
        return ImageSet(arrays.read_or_map(self._checked, key).reshape(shape), labels)

    def labels(self, split: Split) -> np.ndarray:
        """The labels of one split, int64 [N, L].

        Raises:
            DataError: as for `split`.
        """
        return self._labels(split, arrays.read_header(self._checked, f"{split}_images").shape[0])

    def names(self, split: Split) -> None:
        """None: the images are rows of an array."""
        return None

    def _labels(self, split: Split, images: int) -> np.ndarray:
        key = f"{split}_labels"
        found = arrays.read(self._checked, key)
        return layout.label_matrix(self._checked, key, found, self.task, len(self.classes), images)

    @cached_property
    def _present(self) -> Path:
        if not self.file.exists():
            if self.file.parent.exists() and not self.file.parent.is_dir():
                raise DataError(f"paths.data={self.root}: must be a folder, not a file. Choose another one.")
            download(self.info["url"], self.info["md5"], self.file)
        return self.file

    @cached_property
    def _checked(self) -> Path:
        if self.verify:
            found, stated = hash_file("md5", self._present), self.info["md5"]
            if found != stated:
                raise DataError(
                    f"{self.file}: must have the MD5 {stated}, it has {found}. Delete it to have it downloaded again, "
                    "or set dataset.verify=false to use it as it is."
                )
        return self._present
