"""A data set without the images that a CSV lists (``dataset.exclude``)."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cached_property
from pathlib import Path

import numpy as np

from simclr_med.data.image_rows import read_listed_images
from simclr_med.data.source import ImageSet, Remarks, Source
from simclr_med.errors import DataError
from simclr_med.types import SPLITS, Split, Task


class Excluded:
    """A `Source` that leaves images of another one out; splits and classes stay the same.

    Args:
        source: the whole data set.
        path: CSV as in `simclr_med.data.image_rows.read_listed_images`; stage=audit writes one.
    """

    def __init__(self, source: Source, path: str) -> None:
        self.whole = source
        self._path = Path(os.path.expanduser(path))

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def size(self) -> int:
        return self.whole.size

    @property
    def channels(self) -> int:
        return self.whole.channels

    @property
    def task(self) -> Task | None:
        return self.whole.task

    @property
    def classes(self) -> tuple[str, ...]:
        return self.whole.classes

    @cached_property
    def rows(self) -> dict[Split, tuple[int, ...]]:
        """The rows that are left out of each split, sorted.

        Raises:
            DataError: the CSV cannot be read.
        """
        found: dict[Split, set[int]] = {split: set() for split in SPLITS}
        for image in read_listed_images("dataset.exclude", self._path, self.whole):
            found[image.split].add(image.row)
        return {split: tuple(sorted(rows)) for split, rows in found.items()}

    def content_hash(self) -> str:
        """Return the hash of what is left; that of the whole data set if nothing is left out."""
        whole = self.whole.content_hash()
        if not any(self.rows.values()):
            return whole
        return f"sha256:{hashlib.sha256(json.dumps([whole, self.rows]).encode()).hexdigest()}"

    def available_splits(self) -> tuple[Split, ...]:
        return self.whole.available_splits()

    def labelled_splits(self) -> tuple[Split, ...]:
        return self.whole.labelled_splits()

    def split(self, split: Split) -> ImageSet:
        """Read one split. The images that are left are copied, so that a large split needs memory for all of them.

        Raises:
            DataError: as for the whole data set; or the CSV does not fit it, or nothing is left.
        """
        images = self.whole.split(split)
        if not self.rows[split]:
            return images
        return images.select(self.kept(split, len(images)))

    def labels(self, split: Split) -> np.ndarray | None:
        labels_NL = self.whole.labels(split)
        return None if labels_NL is None else labels_NL[self.kept(split, len(labels_NL))]

    def names(self, split: Split) -> tuple[str, ...] | None:
        names = self.whole.names(split)
        return None if names is None else tuple(names[row] for row in self.kept(split, len(names)))

    def patients(self, split: Split) -> tuple[str | None, ...] | None:
        patients = self.whole.patients(split)
        return None if patients is None else tuple(patients[row] for row in self.kept(split, len(patients)))

    def interpolation(self, split: Split) -> np.ndarray | None:
        found_N3 = self.whole.interpolation(split)
        return None if found_N3 is None else found_N3[self.kept(split, len(found_N3))]

    def remarks(self) -> Remarks:
        return self.whole.remarks()

    def kept(self, split: Split, count: int) -> np.ndarray:
        """Return the rows of a split that are left, int64."""
        rows = self.rows[split]
        if rows and rows[-1] >= count:
            raise DataError(
                f"dataset.exclude={self._path}: {split} has {count} images, rows 0 to {count - 1}; found row "
                f"{rows[-1]}. Use the CSV of this data set."
            )
        if len(rows) == count:
            raise DataError(f"dataset.exclude={self._path}: no image of {split} is left. Keep some of them.")
        return np.delete(np.arange(count), rows)
