"""A folder of image files as a data set, with or without classes, with its own splits or a seeded split."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from simclr_med.data.decoding import measure_files
from simclr_med.data.deep_images import describe_scale, measure_deep_images
from simclr_med.data.folder_files import Broken, FolderFiles, Frames
from simclr_med.data.image_cache import DecodingRecipe, load_images
from simclr_med.data.image_columns import name_csv
from simclr_med.data.intensity import Intensity, IntensityRange, Scale
from simclr_med.data.layout import infer_task
from simclr_med.data.listing import Entry
from simclr_med.data.patients import check_patients
from simclr_med.data.progress import show_progress
from simclr_med.data.source import ImageSet, Remarks
from simclr_med.data.splits import assign_splits
from simclr_med.errors import DataError
from simclr_med.types import SPLITS, Split, Task


class Folder:
    """PNG, JPEG, BMP, TIFF and DICOM files below one folder; a `Source`.

    `listing.list_images` has the rules of the folder's layout, `folder_files.FolderFiles` those of its files,
    `decoding.decode_image` those of size and intensity, `splits.split_by_group` those of the seeded split.

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
        csv: the path of a CSV, and the names of its columns file, patient, label and split; None for those it lacks.
        intensity: rule that reduces values of more than 8 bits to 8, as in `intensity.Scale`.
        window: centre and width of the values that become 0..255 with intensity=window; None takes those of the files.
        frames: whether a DICOM file of several images is refused (``one``), or ``each`` of them is read.
        broken: whether a file that cannot be read is an error (``refuse``), or left out (``skip``).
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
        csv: Mapping[str, str | None],
        intensity: Intensity,
        window: Sequence[float] | None,
        frames: Frames,
        broken: Broken,
        class_folders: bool | None,
    ) -> None:
        self.name = name
        self.size = size
        self.channels = channels
        self.root = Path(os.path.expanduser(path)).absolute()
        self._split_seed = split_seed
        self._val_fraction = val_fraction
        self._test_fraction = test_fraction
        self._intensity = intensity
        self._window = None if window is None else (window[0] - window[1] / 2, window[0] + window[1] / 2)
        self._files = FolderFiles(self.root, class_folders, name_csv(groups_csv, csv), frames, broken)

    @property
    def task(self) -> Task | None:
        return infer_task(1, len(self.classes)) if self.classes else None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted; those of the split ``train`` if the splits are given."""
        entries = self._files.entries
        found = sorted({entry.label for entry in entries if entry.label and entry.split in (None, "train")})
        if all(label.isdecimal() for label in found):
            found.sort(key=int)
        if len(found) == 1 and self._files.label_column is not None:
            raise DataError(
                f"dataset.csv.label={self._files.label_column}: expected at least two classes, found only {found[0]}. "
                "Correct the CSV."
            )
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
        """Return the SHA-256 of the relative names, the files' bytes and the CSV; cached until a file changes.

        Where files have more than 8 bits or several images, it also depends on how they are read.
        """
        return f"sha256:{self._files.hash_with(self._intensity, self._window)}"

    def remarks(self) -> Remarks:
        """Return what is left out, which patients the files have, and how values become 8 bits."""
        deep = len(self._files.deep)
        found = self._files.remarks()
        return found + describe_scale(self._scale, self._measured, deep) if deep else found

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

    def interpolation(self, split: Split) -> np.ndarray:
        """Measure the files of one split at their own size; see `Source.interpolation`."""
        names, found = self.names(split), []
        with show_progress(f"Measuring {self.root.name} {split}", "images") as update:
            for block_N3 in measure_files(self.root, names, self._scale):
                found.append(block_N3)
                update(sum(map(len, found)), len(names))
        return np.concatenate(found)

    def names(self, split: Split) -> tuple[str, ...]:
        """Return the file names relative to the folder, in the order of the images."""
        return tuple(entry.name for entry in self.entries(split))

    def patients(self, split: Split) -> tuple[str, ...] | None:
        """Return the patient of each image of one split; None if neither a CSV nor the files name patients."""
        if not self._files.patients:
            return None
        patients = dict(zip((entry.name for entry in self._files.entries), self._files.groups, strict=True))
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
    def _splits(self) -> dict[Split, tuple[Entry, ...]]:
        """The files of each split; files of one group stay together (without patients every file is a group)."""
        entries, groups = self._files.entries, self._files.groups
        rows = assign_splits(entries, groups, self._val_fraction, self._test_fraction, self._split_seed)
        if self._files.patients:
            check_patients(self._files.patient_key, groups, rows)
        return {split: tuple(entries[row] for row in rows_of_split) for split, rows_of_split in rows.items()}

    @cached_property
    def _scale(self) -> Scale:
        """How values of more than 8 bits become 8."""
        if self._intensity == "window":
            return Scale("window", self._window)
        if not self._files.deep or (self._intensity == "dataset" and self._measured is None):
            return Scale("full")
        if self._intensity == "dataset" and self._measured is not None:
            return Scale("dataset", (self._measured.low, self._measured.high))
        return Scale(self._intensity)

    @cached_property
    def _measured(self) -> IntensityRange | None:
        """The range of the training images with more than 8 bits; None where the rule needs no measurement."""
        if self._intensity not in ("dataset", "full"):
            return None
        entries = self._splits.get("train") or self._files.entries
        names = [entry.name for entry in entries if entry.name in self._files.deep]
        return measure_deep_images(self.root, names, self._files.digest) if names else None

    def _load_images(self, split: Split, names: tuple[str, ...]) -> np.ndarray:
        recipe = DecodingRecipe(self.root, self._files.digest, self.size, self.channels, self._scale)
        return load_images(recipe, names, f"Decoding {self.root.name} {split}")
