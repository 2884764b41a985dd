"""Parquet files with encoded images, and data sets that Hugging Face's `datasets` saved to disk, as a data set."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from simclr_med.data.arrow_files import ArrowFile, list_arrow_files, read_cells
from simclr_med.data.arrow_images import read_images
from simclr_med.data.decoding import RULES_VERSION
from simclr_med.data.hashing import hash_file
from simclr_med.data.image_cache import load_or_decode
from simclr_med.data.layout import infer_task
from simclr_med.data.listing import Entry
from simclr_med.data.patients import check_patients
from simclr_med.data.source import ImageSet, Remarks
from simclr_med.data.splits import Rows, assign_splits
from simclr_med.errors import DataError
from simclr_med.types import SPLITS, Split, Task


class Parquet:
    """The rows of .parquet files, or of the .arrow files of ``save_to_disk``, one image a row; a `Source`.

    The split is that of the file's name (``train-00000-of-00001.parquet``, ``validation/data.arrow``) or of a column.
    Otherwise the rows are split by the seed, as in `simclr_med.data.folder.Folder`.

    Args:
        name: the data set's name in folders and results.
        path: a file, or a folder with files at any depth.
        size: side of the resized images in pixels.
        channels: 3 (RGB) or 1 (grey).
        image: column of the images: their encoded bytes, or a struct of ``bytes`` and ``path``.
        label: column of the class: a name, or a number that ``ClassLabel`` names; None without labels.
        patient: column of the patient, whose images stay in one split; None without.
        split: column with train, val or test; None takes the names of the files.
        split_seed: seed of the seeded split.
        val_fraction, test_fraction: fractions of the images in the seeded split.
    """

    def __init__(
        self,
        name: str,
        path: str,
        size: int,
        channels: int,
        image: str,
        label: str | None,
        patient: str | None,
        split: str | None,
        split_seed: int,
        val_fraction: float,
        test_fraction: float,
    ) -> None:
        self.name = name
        self.size = size
        self.channels = channels
        self.root = Path(os.path.expanduser(path)).absolute()
        self._image = image
        self._columns = {"label": label, "patient": patient, "split": split}
        self._seeded = (val_fraction, test_fraction, split_seed)

    @property
    def task(self) -> Task | None:
        return infer_task(1, len(self.classes)) if self.classes else None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: those that the files state, or those of the training images, sorted."""
        if self._columns["label"] is None:
            return ()
        stated = self._files[0].class_names
        train = (self._entries[row].label for row in self._splits.get("train", ()))
        found = stated or tuple(sorted({label for label in train if label}))
        if not stated and all(label.isdecimal() for label in found):
            found = tuple(sorted(found, key=int))
        if len(found) < 2:
            raise DataError(
                f"dataset.label={self._columns['label']}: expected at least two classes, found "
                f"{', '.join(found) or 'none'}. Correct the files, or set dataset.label=null without classes."
            )
        return found

    def content_hash(self) -> str:
        """Return the SHA-256 of the files' names and bytes; they are read again only after a change."""
        content = [(file.name, hash_file("sha256", file.path)) for file in self._files]
        return f"sha256:{hashlib.sha256(json.dumps(content).encode()).hexdigest()}"

    def available_splits(self) -> tuple[Split, ...]:
        """Return the splits with images."""
        return tuple(split for split in SPLITS if self._splits.get(split))

    def labelled_splits(self) -> tuple[Split, ...]:
        """Return all available splits, or none without labels."""
        return self.available_splits() if self.classes else ()

    def split(self, split: Split) -> ImageSet:
        """Decode one split, or load its array from the user's cache folder.

        Raises:
            DataError: an image cannot be read, or the split has no images.
        """
        labels, names = self.labels(split), self.names(split)
        content = [self.content_hash(), self._image, names, self.size, self.channels, RULES_VERSION]
        key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
        shape = (len(names), self.size, self.size, self.channels)
        title = f"Decoding {self.root.name} {split}"
        return ImageSet(load_or_decode(key, shape, lambda: self._decode(split), title), labels, names)

    def labels(self, split: Split) -> np.ndarray | None:
        """Return the labels of one split, int64 [N, 1]; None without labels.

        Raises:
            DataError: the split has no images, or a class that the training images do not have.
        """
        numbers = {label: k for k, label in enumerate(self.classes)}
        entries = [self._entries[row] for row in self._rows(split)]
        if not numbers:
            return None
        for entry in entries:
            if entry.label not in numbers:
                raise DataError(
                    f"{self.root}: {entry.name} has the class {entry.label}, which no training image has. Correct it."
                )
        return np.array([[numbers[str(entry.label)]] for entry in entries], np.int64)

    def names(self, split: Split) -> tuple[str, ...]:
        """Return a name for each image: that of its file, and its row there from 0."""
        return tuple(self._entries[row].name for row in self._rows(split))

    def patients(self, split: Split) -> tuple[str, ...] | None:
        """Return the patient of each image of one split; None without a column of patients."""
        if self._columns["patient"] is None:
            return None
        return tuple(self._groups[row] for row in self._rows(split))

    def remarks(self) -> Remarks:
        """Return how many files and patients there are."""
        facts = [f"{len(self._entries):,} images in {len(self._files):,} file{'s' * (len(self._files) > 1)}."]
        if self._columns["patient"] is not None:
            facts.append(f"{len(set(self._groups)):,} patients, each in one split.")
        return Remarks(tuple(facts))

    @cached_property
    def _files(self) -> Sequence[ArrowFile]:
        return list_arrow_files(self.root, self._image, self._columns)

    @cached_property
    def _cells(self) -> dict[str, list[Any]]:
        """What the columns say about each image, by their meaning."""
        tables = [read_cells(file, self._columns) for file in self._files]
        return {meaning: [cell for table in tables for cell in table[meaning]] for meaning in tables[0]}

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        names = [(f"{file.name}#{row:07d}", file.split) for file in self._files for row in range(file.rows)]
        labels = self._cells.get("label", [None] * len(names))
        splits = self._cells.get("split", [split for _, split in names])
        return tuple(Entry(name, split, label) for (name, _), split, label in zip(names, splits, labels, strict=True))

    @cached_property
    def _groups(self) -> list[str]:
        """The patient of each image; without patients, every image is a group."""
        return self._cells.get("patient", [entry.name for entry in self._entries])

    @cached_property
    def _splits(self) -> dict[Split, Rows]:
        found = assign_splits(self._entries, self._groups, *self._seeded)
        if self._columns["patient"] is not None:
            check_patients(f"dataset.patient={self._columns['patient']}", self._groups, found)
        return found

    def _rows(self, split: Split) -> Rows:
        found = self._splits.get(split, ())
        if not found:
            raise DataError(f"dataset.path={self.root}: the split {split} has no images. Add some.")
        return found

    def _decode(self, split: Split) -> Iterator[np.ndarray]:
        """Yield the images of a split in blocks."""
        wanted, start = np.array(self._rows(split)), 0
        for file in self._files:
            inside = wanted[(wanted >= start) & (wanted < start + file.rows)] - start
            if len(inside):
                yield from read_images(file, self.root, self._image, inside, self.size, self.channels)
            start += file.rows
