"""The image files of a folder: which are used, their content hash, and what their headers and a CSV say."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Literal

from simclr_med.data.decoding import SKIP, check_images
from simclr_med.data.dicom import is_dicom_readable
from simclr_med.data.file_errors import describe_read_error
from simclr_med.data.file_facts import FileFacts, describe_files, read_file_facts
from simclr_med.data.hashing import cached_digest, digest_stream, format_stamp
from simclr_med.data.image_columns import ImageCsv, read_columns
from simclr_med.data.image_csv import describe_csv_error
from simclr_med.data.limits import MOST_IMAGE_BYTES
from simclr_med.data.listing import SPLIT_FOLDERS, Entry, Listing, list_images
from simclr_med.data.pixels import is_dicom_name, name_frame
from simclr_med.data.progress import show_progress
from simclr_med.data.source import Remarks
from simclr_med.errors import DataError
from simclr_med.safe_files import check_regular, open_regular

Frames = Literal["one", "each"]
Broken = Literal["refuse", "skip"]


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder; nothing is read before it is asked for.

    Attributes:
        root: the folder.
        class_folders: as in `listing.list_images`.
        csv: says something about every image; None without.
        frames: ``one`` refuses DICOM files of several images, ``each`` reads each of them.
        broken: ``refuse`` makes a file that cannot be read an error, ``skip`` leaves it out.
    """

    root: Path
    class_folders: bool | None
    csv: ImageCsv | None
    frames: Frames
    broken: Broken

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The images, sorted by name; a frame of a DICOM file is an image of its own.

        Raises:
            DataError: the folder or the CSV cannot be used.
        """
        if not self._whole:
            raise DataError(f"dataset.path={self.root}: no file has an image that can be read. Check the files.")
        return tuple(framed for entry in self._whole for framed in self._expand(self._apply_csv(entry)))

    @property
    def groups(self) -> list[str]:
        """The group of each image, all of which stay in one split: its patient, or else its file."""
        patients = self.patients
        files = [entry.name for entry in self._whole for _ in self._expand(entry)]
        return [patients.get(file, file) for file in files]

    @cached_property
    def patients(self) -> dict[str, str]:
        """The patient of each file: of the CSV, else by PatientID, named by the first of its files."""
        if "patient" in self._cells:
            return self._cells["patient"]
        first: dict[int, str] = {}
        return {name: f"of {first.setdefault(number, name)}" for name, number in self.facts.patients.items()}

    @cached_property
    def left_out(self) -> dict[str, int]:
        """Number of files that are not used, by kind, the most frequent first."""
        kinds = Counter(self._listing.others)
        if self.csv is not None and self.root in self.csv.path.absolute().parents:
            kinds -= Counter({PurePath(self.csv.path).suffix.lower(): 1})
        kinds += Counter(f"{flaw} {PurePath(name).suffix.lower()}".rstrip() for name, flaw in self._flaws.items())
        kinds += Counter("DICOM without an image" for frames in self.facts.frames.values() if frames == 0)
        return dict(kinds.most_common())

    @cached_property
    def deep(self) -> frozenset[str]:
        """Names of the images with more than 8 bits."""
        deep = self.facts.deep
        return frozenset(framed.name for entry in self._whole if entry.name in deep for framed in self._expand(entry))

    @property
    def label_column(self) -> str | None:
        """The column of the CSV that states the classes; None without."""
        return None if self.csv is None else self.csv.columns.get("label")

    @property
    def patient_key(self) -> str:
        """The key and its value that say which patient an image shows."""
        if self.csv is not None and "patient" in self.csv.columns:
            return f"{self.csv.key}={self.csv.path}"
        return f"dataset.path={self.root}"

    def hash_with(self, intensity: str, window: tuple[float, float] | None) -> str:
        """Return the digest, with how values of more than 8 bits and frames are read, if there are any."""
        reading: dict[str, object] = {}
        is_own_window = intensity == "window" and window is None and bool(self.facts.with_window)
        if intensity != "full" and (self.facts.deep or is_own_window):
            reading["intensity"] = [intensity, window]
        if self.frames == "each" and any(frames > 1 for frames in self.facts.frames.values()):
            reading["frames"] = "each"
        if not reading:
            return self.digest
        return hashlib.sha256(json.dumps([self.digest, reading]).encode()).hexdigest()

    def remarks(self) -> Remarks:
        """Return what is left out, and what the DICOM files say."""
        return describe_files(self.left_out, self.facts, sum(is_dicom_name(entry.name) for entry in self._whole))

    @cached_property
    def facts(self) -> FileFacts:
        """What the headers say."""
        return read_file_facts(self.root, [entry.name for entry in self._intact], self.digest)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the relative names, the files' bytes and the CSV; cached until a file changes."""
        # Texts, since a Path for each of 100,000 files takes longer than their status.
        files = [os.path.join(self.root, entry.name) for entry in self._intact]
        if self.csv is not None:
            files.append(str(self.csv.path))
        stamp = self._stamp(files, MOST_IMAGE_BYTES)
        key = f"folder:{self.root}:{None if self.csv is None else f'{self.csv.path}:{self.csv.hash_name}'}"
        return cached_digest(key, stamp, lambda: self._compute_digest(files))

    @cached_property
    def _listing(self) -> Listing:
        by_csv = self.csv is not None and "label" in self.csv.columns
        listing = list_images(self.root, False if by_csv else self.class_folders)
        found = sum(is_dicom_name(entry.name) for entry in listing.entries)
        if found and not is_dicom_readable():
            raise DataError(
                f"dataset.path={self.root}: {found:,} DICOM file{'s need' if found > 1 else ' needs'} pydicom. Install "
                "it with pip install 'simclr-med[dicom]', or move these files out of the folder."
            )
        return listing

    @cached_property
    def _intact(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self._listing.entries if entry.name not in self._flaws)

    @cached_property
    def _flaws(self) -> dict[str, str]:
        """What is wrong with each file that is left out; empty unless broken files are skipped."""
        if self.broken == "refuse":
            return {}
        names = [entry.name for entry in self._listing.entries]
        missing = {name: "unreadable" for name in names if not self._exists(name)}
        names = [name for name in names if name not in missing]
        stamp = self._stamp([os.path.join(self.root, name) for name in names], None)
        text = cached_digest(f"broken:{self.frames}:{self.root}", stamp, lambda: self._find_flaws(names))
        return missing | json.loads(text)

    def _exists(self, name: str) -> bool:
        try:
            check_regular(os.path.join(self.root, name))
        except OSError:
            return False
        return True

    def _find_flaws(self, names: list[str]) -> str:
        """Return as JSON what is wrong with each file that cannot be read."""
        firsts = [name_frame(name, 1) if self.frames == "each" and is_dicom_name(name) else name for name in names]
        flaws: list[str] = []
        with show_progress(f"Checking {self.root.name}", "images") as update:
            for block in check_images(self.root, firsts):
                flaws += block
                update(len(flaws), len(names))
        return json.dumps({name: flaw for name, flaw in zip(names, flaws, strict=True) if flaw})

    def _expand(self, entry: Entry) -> list[Entry]:
        frames = self.facts.frames.get(entry.name, 1)
        if frames == 1 or self.frames == "one":
            return [entry]
        return [replace(entry, name=name_frame(entry.name, frame)) for frame in range(1, frames + 1)]

    def _apply_csv(self, entry: Entry) -> Entry:
        """Return the entry with the label and the split that the CSV states, if it has these columns."""
        if "label" in self._cells:
            entry = replace(entry, label=self._cells["label"][entry.name])
        if "split" not in self._cells:
            return entry
        value = self._cells["split"][entry.name]
        split = SPLIT_FOLDERS.get(value.lower())
        if split is None:
            raise DataError(
                f"dataset.csv.split={self.csv and self.csv.columns['split']}: expected train, val or test, found "
                f"{value[:40]} for {entry.name}. Correct the CSV."
            )
        return replace(entry, split=split)

    @cached_property
    def _whole(self) -> tuple[Entry, ...]:
        """The files with images, before they are expanded to their frames."""
        return tuple(entry for entry in self._intact if self.facts.frames.get(entry.name) != 0)

    @cached_property
    def _cells(self) -> dict[str, dict[str, str]]:
        """What the CSV says of each file, by the meaning of the column; empty without a CSV."""
        if self.csv is None:
            return {}
        names = [entry.name for entry in self._whole]
        cells = read_columns(self.csv, names)
        return {meaning: dict(zip(names, values, strict=True)) for meaning, values in cells.items()}

    def _stamp(self, files: list[str], most_bytes: int | None) -> str:
        """Return a text that changes with the content of any file."""
        try:
            stamps = [(file, format_stamp(check_regular(file, most_bytes))) for file in files]
        except OSError as error:
            if self.csv is not None and error.filename == str(self.csv.path):
                raise describe_csv_error(self.csv.key, self.csv.path, error) from error
            problem = describe_read_error(Path(error.filename), error)
            raise DataError(f"{problem} {SKIP}") from error
        return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()

    def _compute_digest(self, files: list[str]) -> str:
        names = [entry.name for entry in self._intact]
        if self.csv is not None:
            names.append(self.csv.hash_name)
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
