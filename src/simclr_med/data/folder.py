"""A folder of image files as a data set, with or without classes, with its own splits or a seeded one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from simclr_med.data import npy
from simclr_med.data.arrays import MMAP_ABOVE
from simclr_med.data.decoding import RULES_VERSION, Intensity, decoded
from simclr_med.data.hashing import cached_digest
from simclr_med.data.layout import infer_task
from simclr_med.data.listing import Entry, list_images
from simclr_med.data.progress import progress
from simclr_med.data.source import ImageSet
from simclr_med.data.splits import read_groups, split_by_group
from simclr_med.errors import DataError
from simclr_med.types import SPLITS, Split, Task


class Folder:
    """PNG, JPEG, BMP and TIFF files below one folder; a `Source`. See `listing` for the layout, `decoding.image` for
    the rules of size and intensity, `partition.cut` for the seeded split.

    With ``train/`` the folder's own splits hold, and a missing ``val/`` is cut out of ``train/`` by the seed; without,
    all three are cut by the seed. A missing ``test/`` stays missing then.

    Args:
        name: the data set's name in folders and results.
        path: the folder.
        size: side in pixels that images are brought to.
        channels: 3 or 1: colours that images are brought to.
        split_seed: of the seeded split.
        val_fraction, test_fraction: shares of the images for the seeded split.
        groups_csv: a CSV with the columns file and patient: no patient in two splits.
        intensity: how 16 bits become 8.
        class_folders: whether subfolders are classes; None looks.
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
        self.name, self.size, self.channels = name, size, channels
        self.root = Path(path).expanduser().absolute()
        self._split_seed, self._val_fraction, self._test_fraction = split_seed, val_fraction, test_fraction
        self._groups_csv = None if groups_csv is None else Path(groups_csv).expanduser()
        self._intensity = intensity
        self._class_folders = class_folders

    @property
    def task(self) -> Task | None:
        return infer_task(1, len(self.classes)) if self.classes else None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class folders' names, sorted; of ``train/`` where there is one."""
        found = sorted({entry.label for entry in self._entries if entry.label and entry.split in (None, "train")})
        if len(found) == 1:
            raise DataError(
                f"dataset.path={self.root}: must have at least two class folders, there is only {found[0]}. "
                "Set dataset.class_folders=false for images without classes."
            )
        seen: dict[str, str] = {}
        for two in found:
            one = seen.setdefault(two.casefold(), two)
            if one != two:
                raise DataError(
                    f"dataset.path={self.root}: must have class folders that differ by more than capitals, not {one} "
                    f"and {two}. Merge or rename them."
                )
        return tuple(found)

    def content_hash(self) -> str:
        """SHA-256 of the relative names, the files' bytes and the patients' CSV; remembered while no file changes."""
        return f"sha256:{self._digest}"

    def present(self) -> tuple[Split, ...]:
        """Those that the folder has, or that its seeded split left something for."""
        return tuple(split for split in SPLITS if self._parts.get(split))

    def labelled(self) -> tuple[Split, ...]:
        """All that there are, or none."""
        return self.present() if self.classes else ()

    def split(self, split: Split) -> ImageSet:
        """Decode one split, or take the arrays of an earlier time from the user's cache folder.

        Raises:
            DataError: an unreadable file, or a split without images.
        """
        names = self.names(split)
        labels = self.labels(split)  # first, because a wrong class needs no decoding to be seen
        return ImageSet(self._images(split, names), labels, names)

    def names(self, split: Split) -> tuple[str, ...]:
        """Relative to the folder, in the order of the rows."""
        return tuple(entry.name for entry in self.entries(split))

    def labels(self, split: Split) -> np.ndarray | None:
        """int64 [N, 1], by class folder.

        Raises:
            DataError: a split without images, or a class that ``train/`` has not.
        """
        number = {label: k for k, label in enumerate(self.classes)}
        if not number:
            return None
        entries = self.entries(split)
        for entry in entries:
            if entry.label not in number:
                raise DataError(
                    f"{self.root / entry.name}: must be of a class that train/ has. Add or remove the class."
                )
        return np.array([[number[str(entry.label)]] for entry in entries], np.int64)

    def entries(self, split: Split) -> tuple[Entry, ...]:
        """The files of one split, sorted by name.

        Raises:
            DataError: there are none.
        """
        found = self._parts.get(split, ())
        if not found:
            share = f"a larger dataset.{split}_fraction"
            if split == "train":
                share = "smaller dataset.val_fraction and dataset.test_fraction"
            raise DataError(
                f"dataset.path={self.root}: must have images for the split {split}; it has none. "
                f"Add {split}/, or give {share}."
            )
        return found

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        return list_images(self.root, self._class_folders)

    @cached_property
    def _parts(self) -> dict[Split, tuple[Entry, ...]]:
        entries = self._entries
        groups = [entry.name for entry in entries]
        if self._groups_csv is not None:
            groups = read_groups(self._groups_csv, groups)
        if entries[0].split is None:
            fractions = (self._test_fraction, self._val_fraction)
            test, val, train = split_by_group([entry.label for entry in entries], groups, fractions, self._split_seed)
        else:
            train, val, test = (tuple(i for i, e in enumerate(entries) if e.split == split) for split in SPLITS)
            if not val:
                labels = [entries[i].label for i in train]
                parts = split_by_group(labels, [groups[i] for i in train], (self._val_fraction,), self._split_seed)
                val, train = (tuple(train[i] for i in part) for part in parts)
            self._check_patients(groups, train, val, test)
        rows: dict[Split, tuple[int, ...]] = {"train": train, "val": val, "test": test}
        return {split: tuple(entries[i] for i in part) for split, part in rows.items()}

    def _check_patients(self, groups: list[str], *parts: tuple[int, ...]) -> None:
        seen: dict[str, int] = {}
        for number, part in enumerate(parts):
            for i in part:
                if seen.setdefault(groups[i], number) != number:
                    raise DataError(
                        f"dataset.groups_csv={self._groups_csv}: must keep each patient in one split; {groups[i]} is "
                        f"in {SPLITS[seen[groups[i]]]} and {SPLITS[number]}. Move the images."
                    )

    @cached_property
    def _digest(self) -> str:
        files = [self.root / entry.name for entry in self._entries]
        files += [self._groups_csv] if self._groups_csv is not None else []
        try:
            stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        except OSError as error:
            raise DataError(f"{error.filename}: must be a readable file ({error.strerror}). Check it.") from error
        stamp = hashlib.sha256(json.dumps(stats).encode()).hexdigest()
        return cached_digest(f"folder:{self.root}:{self._groups_csv}", stamp, lambda: self._compute_digest(files))

    def _compute_digest(self, files: list[Path]) -> str:
        digest = hashlib.sha256()
        names = [entry.name for entry in self._entries] + ["groups_csv"] * (self._groups_csv is not None)
        with progress(f"Hashing {self.root.name}", "files") as show:
            for done, (name, file) in enumerate(zip(names, files, strict=True)):
                try:
                    content = file.read_bytes()
                except OSError as error:
                    raise DataError(f"{file}: must be a readable file ({error.strerror}). Check it.") from error
                digest.update(json.dumps([name, hashlib.sha256(content).hexdigest()]).encode())
                show(done + 1, len(files))
        return digest.hexdigest()

    def _images(self, split: Split, names: tuple[str, ...]) -> np.ndarray:
        from filelock import FileLock
        from platformdirs import user_cache_path

        shape = (len(names), self.size, self.size, self.channels)
        mapped = int(np.prod(shape)) > MMAP_ABOVE
        recipe = [self._digest, names, self.size, self.channels, self._intensity, RULES_VERSION]
        key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:32]
        target = user_cache_path("simclr-med") / "folders" / f"{key}.npy"
        cached = npy.read(target, shape, mapped)
        if cached is not None:
            return cached
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_suffix(".lock")):
                cached = npy.read(target, shape, mapped)  # by another process meanwhile
                if cached is None:
                    npy.write(target, shape, (block.data.cast("B") for block in self._decoded(split, names)))
                    cached = npy.read(target, shape, mapped)
        except OSError as error:
            if mapped:
                raise DataError(
                    f"{target.parent}: must take {np.prod(shape) / 1e9:.1f} GB of decoded images ({error.strerror}). "
                    "Make room, or set XDG_CACHE_HOME to a folder with room."
                ) from error
        return np.concatenate(list(self._decoded(split, names))) if cached is None else cached

    def _decoded(self, split: Split, names: tuple[str, ...]) -> Iterator[np.ndarray]:
        done = 0
        with progress(f"Decoding {self.root.name} {split}", "images") as show:
            for block in decoded(self.root, names, self.size, self.channels, self._intensity):
                done += len(block)
                show(done, len(names))
                yield block
