"""A folder of image files as a data set, with or without classes, with its own splits or a seeded split."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cached_property
from pathlib import Path

import numpy as np

from simclr_med.data.decoding import Intensity
from simclr_med.data.file_errors import describe_read_error
from simclr_med.data.hashing import cached_digest, digest_stream, format_stamp
from simclr_med.data.image_cache import DecodingRecipe, load_images
from simclr_med.data.layout import infer_task
from simclr_med.data.limits import MOST_IMAGE_BYTES
from simclr_med.data.listing import Entry, list_images
from simclr_med.data.patients import check_patients, describe_csv_error, read_patients
from simclr_med.data.progress import show_progress
from simclr_med.data.source import ImageSet
from simclr_med.data.splits import assign_splits
from simclr_med.errors import DataError
from simclr_med.safe_files import check_regular, open_regular
from simclr_med.types import SPLITS, Split, Task


class Folder:
    """PNG, JPEG, BMP and TIFF files below one folder; a `Source`.

    `listing.list_images` has the rules of the folder's layout, `decoding.decode_image` those of size and intensity,
    `splits.split_by_group` those of the seeded split.

    A folder with ``train/`` keeps its own splits. If ``val/`` is missing, a seeded part of ``train/`` becomes the
    validation split; a missing ``test/`` stays missing. A folder without ``train/`` is split by the seed.

    Args:
        name: the data set's name in folders and results.
        path: the folder.
        size: side of the resized images in pixels.
        channels: 3 (RGB) or 1 (grey).
        split_seed: seed of the seeded split.
        val_fraction, test_fraction: fractions of the images in the seeded split.
        groups_csv: CSV file with the columns file and patient; all images of a patient are in one split.
        intensity: rule that reduces 16 bits to 8.
        class_folders: whether subfolders are classes; None decides by the layout.
    """

    def __init__(
        self,
        name: str,
        path: str,
        size: int,
        channels: int,
        split_seed: int,
        val_fraction: float,
        test_fraction: float,
        groups_csv: str | None,
        intensity: Intensity,
        class_folders: bool | None,
    ) -> None:
        self.name = name
        self.size = size
        self.channels = channels
        self.root = Path(os.path.expanduser(path)).absolute()
        self._split_seed = split_seed
        self._val_fraction = val_fraction
        self._test_fraction = test_fraction
        self._groups_csv = None if groups_csv is None else Path(os.path.expanduser(groups_csv))
        self._intensity = intensity
        self._class_folders = class_folders

    @property
    def task(self) -> Task | None:
        return infer_task(1, len(self.classes)) if self.classes else None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, sorted; those of ``train/`` if there are split folders."""
        found = sorted({entry.label for entry in self._entries if entry.label and entry.split in (None, "train")})
        if len(found) == 1:
            raise DataError(
                f"dataset.path={self.root}: expected at least two class folders, found only {found[0]}. "
                "Set dataset.class_folders=false for images without classes."
            )
        seen: dict[str, str] = {}
        for label in found:
            other = seen.setdefault(label.casefold(), label)
            if other != label:
                raise DataError(
                    f"dataset.path={self.root}: the class folders {other} and {label} differ only in upper and lower "
                    "case. Merge or rename them."
                )
        return tuple(found)

    def content_hash(self) -> str:
        """Return the SHA-256 of the relative names, the files' bytes and the CSV; cached until a file changes."""
        return f"sha256:{self._digest}"

    def available_splits(self) -> tuple[Split, ...]:
        """Return the splits with images."""
        return tuple(split for split in SPLITS if self._splits.get(split))

    def labelled_splits(self) -> tuple[Split, ...]:
        """Return all available splits, or none without class folders."""
        return self.available_splits() if self.classes else ()

    def split(self, split: Split) -> ImageSet:
        """Decode one split, or load its array from the user's cache folder.

        Raises:
            DataError: a file cannot be read, or the split has no images.
        """
        names = self.names(split)
        labels = self.labels(split)  # before decoding: a wrong class is found without reading an image
        return ImageSet(self._load_images(split, names), labels, names)

    def names(self, split: Split) -> tuple[str, ...]:
        """Return the file names relative to the folder, in the order of the images."""
        return tuple(entry.name for entry in self.entries(split))

    def patients(self, split: Split) -> tuple[str, ...] | None:
        """Return the patient of each image of one split; None without a CSV."""
        if self._groups_csv is None:
            return None
        patients = dict(zip((entry.name for entry in self._entries), self._groups, strict=True))
        return tuple(patients[name] for name in self.names(split))

    def labels(self, split: Split) -> np.ndarray | None:
        """Return the labels of one split from its class folders, int64 [N, 1]; None without classes.

        Raises:
            DataError: the split has no images, or a class that ``train/`` does not have.
        """
        numbers = {label: k for k, label in enumerate(self.classes)}
        if not numbers:
            return None
        entries = self.entries(split)
        for entry in entries:
            if entry.label not in numbers:
                raise DataError(
                    f"{self.root / entry.name}: the class {entry.label} is not in train/. Add it there or remove it."
                )
        return np.array([[numbers[str(entry.label)]] for entry in entries], np.int64)

    def entries(self, split: Split) -> tuple[Entry, ...]:
        """Return the files of one split, sorted by name.

        Raises:
            DataError: the split has no images.
        """
        found = self._splits.get(split, ())
        if not found:
            remedy = f"increase dataset.{split}_fraction"
            if split == "train":
                remedy = "decrease dataset.val_fraction and dataset.test_fraction"
            raise DataError(
                f"dataset.path={self.root}: the split {split} has no images. Add the folder {split}/, or {remedy}."
            )
        return found

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        return list_images(self.root, self._class_folders)

    @cached_property
    def _groups(self) -> list[str]:
        """The patient of each file; its name without a CSV."""
        names = [entry.name for entry in self._entries]
        return names if self._groups_csv is None else read_patients(self._groups_csv, names)

    @cached_property
    def _splits(self) -> dict[Split, tuple[Entry, ...]]:
        """The files of each split; files of one group stay together (without a CSV every file is a group)."""
        entries, groups = self._entries, self._groups
        rows = assign_splits(entries, groups, self._val_fraction, self._test_fraction, self._split_seed)
        if self._groups_csv is not None:
            check_patients(self._groups_csv, groups, rows)
        return {split: tuple(entries[row] for row in rows_of_split) for split, rows_of_split in rows.items()}

    @cached_property
    def _digest(self) -> str:
        # Texts, since a Path for each of 100,000 files takes longer than their status.
        files = [os.path.join(self.root, entry.name) for entry in self._entries]
        if self._groups_csv is not None:
            files.append(str(self._groups_csv))
        try:
            stamps = [(file, format_stamp(check_regular(file, MOST_IMAGE_BYTES))) for file in files]
        except OSError as error:
            if self._groups_csv is not None and error.filename == str(self._groups_csv):
                raise describe_csv_error(self._groups_csv, error) from error
            raise describe_read_error(Path(error.filename), error) from error
        stamp = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()
        return cached_digest(f"folder:{self.root}:{self._groups_csv}", stamp, lambda: self._compute_digest(files))

    def _compute_digest(self, files: list[str]) -> str:
        names = [entry.name for entry in self._entries]
        if self._groups_csv is not None:
            names.append("groups_csv")
        digest = hashlib.sha256()
        with show_progress(f"Hashing {self.root.name}", "files") as update:
            for done, (name, file) in enumerate(zip(names, files, strict=True), start=1):
                try:
                    with open_regular(file) as content:
                        found = digest_stream("sha256", content)
                except OSError as error:
                    raise describe_read_error(Path(file), error) from error
                digest.update(json.dumps([name, found]).encode())
                update(done, len(files))
        return digest.hexdigest()

    def _load_images(self, split: Split, names: tuple[str, ...]) -> np.ndarray:
        recipe = DecodingRecipe(self.root, self._digest, self.size, self.channels, self._intensity)
        return load_images(recipe, names, f"Decoding {self.root.name} {split}")
