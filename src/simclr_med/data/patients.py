"""The patient of each image, from a CSV file: no patient is in two splits, and pretraining can pair their images."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from simclr_med.data.hashing import hash_file
from simclr_med.data.image_rows import read_listed_images
from simclr_med.data.limits import MOST_CSV_BYTES
from simclr_med.data.source import Source
from simclr_med.errors import DataError
from simclr_med.safe_files import check_regular, open_regular
from simclr_med.types import Split


def read_patients(file: Path, names: Sequence[str]) -> list[str]:
    """Return the patient of each image.

    Args:
        file: CSV with the columns ``file`` (path relative to the data set's folder, or file name alone) and
            ``patient``.
        names: relative names of the images.

    Raises:
        DataError: the file or a column is missing, or an image has no patient or several.
    """
    patients = _read_rows(file)
    file_names = Counter(PurePosixPath(name).name for name in names)
    found = []
    for name in names:
        file_name = PurePosixPath(name).name
        candidates = patients.get(name) or (patients.get(file_name, set()) if file_names[file_name] == 1 else set())
        if len(candidates) != 1:
            problem = f"several patients for {name}" if candidates else f"no patient for {name}"
            count = file_names[file_name]
            note = f" ({count} images have this file name: add their folders)" if count > 1 and not candidates else ""
            raise DataError(f"dataset.groups_csv={file}: {problem}{note}. Correct the CSV.")
        found.append(next(iter(candidates)))
    return found


def find_patients(file: Path, source: Source, split: Split, count: int) -> tuple[str | None, ...]:
    """Return the patient of each image of a split; None for an image that the CSV does not name.

    Args:
        file: CSV with the column ``patient`` and those of `simclr_med.data.image_rows.read_listed_images`.
        source: the data set.
        split: of the images.
        count: images of the split.

    Raises:
        DataError: the file cannot be read, names an image that the data set does not have, or gives one two patients.
    """
    found: list[str | None] = [None] * count
    for listed in read_listed_images("dataset.groups_csv", file, source, ("patient",)):
        if listed.split != split or not listed.cells["patient"]:
            continue
        if listed.row >= count:
            raise DataError(
                f"dataset.groups_csv={file}: {split} has {count} images, rows 0 to {count - 1}; found row "
                f"{listed.row}. Use the CSV of this data set."
            )
        if found[listed.row] not in (None, listed.cells["patient"]):
            raise DataError(f"dataset.groups_csv={file}: several patients for {split} {listed.row}. Correct the CSV.")
        found[listed.row] = listed.cells["patient"]
    return tuple(found)


def hash_patients(file: Path) -> str:
    """Return the SHA-256 of the CSV, cached until it changes.

    Raises:
        DataError: it cannot be read.
    """
    try:
        check_regular(file, MOST_CSV_BYTES)
    except OSError as error:
        raise describe_csv_error(file, error) from error
    return hash_file("sha256", file)


def check_patients(file: Path, patients: Sequence[str], rows: Mapping[Split, Sequence[int]]) -> None:
    """Check that no patient is in two splits, which can happen with split folders.

    Args:
        file: the CSV, for the error.
        patients: the patient of each image.
        rows: the images of each split.

    Raises:
        DataError: a patient is in two splits.
    """
    seen: dict[str, Split] = {}
    for split, rows_of_split in rows.items():
        for row in rows_of_split:
            other = seen.setdefault(patients[row], split)
            if other != split:
                raise DataError(
                    f"dataset.groups_csv={file}: the patient {patients[row]} is in {other} and {split}. "
                    "Move all images of a patient to one split."
                )


def _read_rows(file: Path) -> dict[str, set[str]]:
    """Return the patients of each file in the CSV."""
    patients: dict[str, set[str]] = defaultdict(set)
    try:
        with io.TextIOWrapper(open_regular(file, MOST_CSV_BYTES), encoding="utf-8-sig", newline="") as text:
            rows = csv.DictReader(text)
            _check_columns(file, rows.fieldnames)
            for row in rows:
                if row["file"] and row["patient"]:
                    name = row["file"].strip().replace("\\", "/").removeprefix("./")
                    patients[name].add(row["patient"].strip())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise describe_csv_error(file, error) from error
    return patients


def describe_csv_error(file: Path, error: Exception) -> DataError:
    """Return the error for a CSV that cannot be read."""
    reason = error.strerror if isinstance(error, OSError) else error
    reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else reason
    return DataError(f"dataset.groups_csv={file}: not a readable CSV ({reason}). Check the path.")


def _check_columns(file: Path, columns: Sequence[str] | None) -> None:
    if not {"file", "patient"} <= set(columns or ()):
        found = f"the columns {' | '.join(columns)[:200]}" if columns else "no rows"
        raise DataError(
            f"dataset.groups_csv={file}: expected the columns file and patient, separated by commas, found {found}. "
            "Correct the CSV."
        )
