"""What every data set offers: its facts, its hash and its splits, each read when asked for and not before. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from simclr_med.types import Split, Task


@dataclass(frozen=True)
class ImageSet:
    """One split of a data set.

    Attributes:
        images: uint8 [N, H, W, C] in [0, 255], C of 1 or 3; a read-only memory map when the split is large.
        labels: int64 [N, L] in medmnist's layout (L = 1, or one 0/1 column a label when multi-label), or None.
        names: the N file names that the images came from, relative to the data set's folder; None for arrays.
    """

    images: np.ndarray
    labels: np.ndarray | None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)


class Source(Protocol):
    """A data set that has not been read yet; making one touches no file."""

    @property
    def name(self) -> str:
        """The data set's name in folders and results."""

    @property
    def size(self) -> int:
        """The images' shorter side in pixels."""

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for RGB."""

    @property
    def task(self) -> Task | None:
        """What the labels mean; None without labels."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names by label (the columns' names when multi-label); empty without labels."""

    def content_hash(self) -> str:
        """``algorithm:hex digest`` of everything that the images and labels are made of, all splits alike.

        Raises:
            DataError: the data are not there.
        """

    def present(self) -> tuple[Split, ...]:
        """The splits that have images, in the order train, val, test; reads none of them.

        Raises:
            DataError: the data are not there.
        """

    def labelled(self) -> tuple[Split, ...]:
        """Those of `present` that have labels; reads none of them.

        Raises:
            DataError: the data are not there.
        """

    def split(self, split: Split) -> ImageSet:
        """Read one split, and no other.

        Raises:
            DataError: the split is missing, damaged, or not of the stated layout; one sentence.
        """

    def labels(self, split: Split) -> np.ndarray | None:
        """The labels of one split, int64 [N, L], without its images; None without labels.

        Raises:
            DataError: as for `split`.
        """

    def names(self, split: Split) -> tuple[str, ...] | None:
        """`ImageSet.names` of one split, without its images."""
