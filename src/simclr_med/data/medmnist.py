"""The twelve 2D data sets of MedMNIST v2 (Yang et al. 2023), read from medmnist's own files or downloaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from simclr_med.data import layout
from simclr_med.data.archive import Archive, name_images
from simclr_med.data.download import download
from simclr_med.data.hashing import hash_file
from simclr_med.data.source import ImageSet, Remarks
from simclr_med.errors import DataError
from simclr_med.types import SPLITS, Split, Task

ROOM_BYTES = 1 << 20  # for the headers of six arrays and of the zip file


@dataclass(frozen=True)
class MedMNIST:
    """One MedMNIST data set at one size; a `Source`.

    Attributes:
        name: medmnist's flag, for example ``bloodmnist``.
        size: side of the images in pixels: 28, 64, 128 or 224.
        root: folder of the files; the file names are medmnist's.
        verify: check the file's MD5 at the first read; false accepts any file.
        info: facts from medmnist's INFO: task, labels ({"0": name}), n_channels, n_samples, and url and md5 of this
            size's file.
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
        """Path of the .npz file, which may not exist yet."""
        suffix = "" if self.size == 28 else f"_{self.size}"
        return Path(os.path.expanduser(self.root)) / f"{self.name}{suffix}.npz"

    def content_hash(self) -> str:
        """Return the MD5 that medmnist states, without reading the file; if not verified, the file's SHA-256."""
        if self.verify:
            return f"md5:{self.info['md5']}"
        return f"sha256:{hash_file('sha256', self._downloaded_file)}"

    def available_splits(self) -> tuple[Split, ...]:
        """Return all three splits."""
        return SPLITS

    def labelled_splits(self) -> tuple[Split, ...]:
        """Return all three splits."""
        return SPLITS

    def split(self, split: Split) -> ImageSet:
        """Read one split; download and verify the file first if necessary.

        Raises:
            DataError: the download fails, the MD5 differs, or the file does not have MedMNIST's layout.
        """
        archive = self._archive
        shape = archive.read_image_shape(split)
        layout.check_image_size(archive.file, name_images(split), shape, self.size, self.channels)
        labels = self.labels(split)
        return ImageSet(archive.read_images(split), labels)

    def labels(self, split: Split) -> np.ndarray:
        """Read the labels of one split, int64 [N, L].

        Raises:
            DataError: as for `split`.
        """
        return self._archive.read_labels(split, self.task, len(self.classes))

    def names(self, split: Split) -> None:
        """Return None: the images have no file names."""
        return None

    def patients(self, split: Split) -> None:
        """Return None: nothing says whose images they are."""
        return None

    def interpolation(self, split: Split) -> None:
        """Return None: the images are the stored ones."""

    def remarks(self) -> Remarks:
        """Return nothing: the images are stored as they are used."""
        return Remarks()

    @cached_property
    def _downloaded_file(self) -> Path:
        if not self.file.exists():
            if self.file.parent.exists() and not self.file.parent.is_dir():
                raise DataError(f"paths.data={self.root}: expected a folder, found a file. Choose another folder.")
            download(self.info["url"], self.info["md5"], self.file, self._most_bytes)
        return self.file

    @property
    def _most_bytes(self) -> int:
        """Size of the file if nothing were compressed, and room for headers; labels have at most 64 bits."""
        image = self.size**2 * self.channels
        return sum(self.info["n_samples"].values()) * (image + 8 * len(self.classes)) + ROOM_BYTES

    @cached_property
    def _archive(self) -> Archive:
        """The downloaded file; its MD5 is verified before the first read."""
        if self.verify:
            stated = self.info["md5"]
            found = hash_file("md5", self._downloaded_file)
            if found != stated:
                raise DataError(
                    f"{self.file}: expected the MD5 {stated}, found {found}. Delete the file to download it again, "
                    "or set dataset.verify=false to use it."
                )
        return Archive(self._downloaded_file)
