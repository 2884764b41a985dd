"""The interface of every data set (`Source`): facts, content hash and splits, each read on demand. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from simclr_med.types import Split, Task


@dataclass(frozen=True)
class ImageSet:
    """One split of a data set.

    Attributes:
        images: uint8 [N, H, W, C] in [0, 255]; a read-only memory map if the split is large.
        labels: int64 [N, L] in medmnist's layout (L = 1, or one 0/1 column per label if multi-label), or None.
        names: the N file names of the images, relative to the data set's folder; None for arrays.
    """

    images: np.ndarray
    labels: np.ndarray | None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: np.ndarray) -> ImageSet:
        """Return a copy of some images with their labels and names."""
        labels = None if self.labels is None else self.labels[rows]
        names = None if self.names is None else tuple(self.names[row] for row in rows)
        return ImageSet(self.images[rows], labels, names)


@dataclass(frozen=True)
class Remarks:
    """Sentences for the user about how the files of a data set are read.

    Attributes:
        facts: what is read, and how.
        warnings: what is probably not wanted, and the key that changes it.
    """

    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, other: Remarks) -> Remarks:
        return Remarks(self.facts + other.facts, self.warnings + other.warnings)

    @property
    def lines(self) -> tuple[str, ...]:
        """The sentences as they are printed."""
        return (*self.facts, *(f"Warning: {warning}" for warning in self.warnings))


class Source(Protocol):
    """A data set; creating one reads no file."""

    @property
    def name(self) -> str:
        """Name of the data set in folders and results."""

    @property
    def size(self) -> int:
        """Shorter side of the images in pixels."""

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for RGB images; another number for images of several stains or spectral bands."""

    @property
    def task(self) -> Task | None:
        """medmnist's name of the classification task; None without labels."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label (by column if multi-label); empty without labels."""

    def content_hash(self) -> str:
        """Return ``algorithm:hex digest`` of all images and labels of all splits.

        Raises:
            DataError: the data are missing.
        """

    def available_splits(self) -> tuple[Split, ...]:
        """Return the splits with images, in the order train, val, test, without reading them.

        Raises:
            DataError: the data are missing.
        """

    def labelled_splits(self) -> tuple[Split, ...]:
        """Return the splits with images and labels, in the same order, without reading them.

        Raises:
            DataError: the data are missing.
        """

    def split(self, split: Split) -> ImageSet:
        """Read one split and no other.

        Raises:
            DataError: the split is missing, damaged or not in the expected layout.
        """

    def labels(self, split: Split) -> np.ndarray | None:
        """Read the labels of one split, int64 [N, L], without its images; None without labels.

        Raises:
            DataError: as for `split`.
        """

    def names(self, split: Split) -> tuple[str, ...] | None:
        """Return `ImageSet.names` of one split without reading its images."""

    def patients(self, split: Split) -> tuple[str | None, ...] | None:
        """Return the patient of each image of one split, without reading its images.

        Returns:
            A name for each image, or None for an image of unknown patient; None if the data set names no patients.

        Raises:
            DataError: the patients cannot be read, or do not fit the images.
        """

    def interpolation(self, split: Split) -> np.ndarray | None:
        """Measure the traces of interpolation in each image of one split as its file stores it, float32 [N, 3].

        Returns:
            what `simclr_med.data.interpolation.measure_interpolation` returns; None where the images of `split` are
            the stored ones.

        Raises:
            DataError: as for `split`.
        """

    def remarks(self) -> Remarks:
        """Return what a user should know about how the files are read: what is left out, and how values become 8 bits.

        Raises:
            DataError: the data are missing.
        """
