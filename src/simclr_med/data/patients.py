"""The patient of each image, from a CSV file: no patient is in two splits, and pretraining can pair their images."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from simclr_med.data.hashing import hash_file
from simclr_med.data.image_columns import name_groups_csv, read_columns
from simclr_med.data.image_csv import describe_csv_error
from simclr_med.data.image_rows import read_listed_images
from simclr_med.data.limits import MOST_CSV_BYTES
from simclr_med.data.source import Remarks, Source
from simclr_med.errors import DataError
from simclr_med.safe_files import check_regular
from simclr_med.types import Split


def read_patients(file: Path, names: Sequence[str]) -> list[str]:
    """Return the patient of each image, from a CSV with the columns ``file`` and ``patient``.

    Raises:
        DataError: as `read_columns`.
    """
    return read_columns(name_groups_csv(file), names)["patient"]


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
        raise describe_csv_error("dataset.groups_csv", file, error) from error
    return hash_file("sha256", file)


def check_patients(where: str, patients: Sequence[Hashable], rows: Mapping[Split, Sequence[int]]) -> None:
    """Check that no patient is in two splits, which can happen with split folders.

    Args:
        where: the key and value that name the patients, for the error.
        patients: the patient of each image.
        rows: the images of each split.

    Raises:
        DataError: a patient is in two splits.
    """
    seen: dict[Hashable, Split] = {}
    for split, rows_of_split in rows.items():
        for row in rows_of_split:
            other = seen.setdefault(patients[row], split)
            if other != split:
                raise DataError(
                    f"{where}: the patient {patients[row]} is in {other} and {split}. "
                    "Move all images of a patient to one split."
                )


def describe_patients(file: Path, source: Source, counts: Mapping[Split, int]) -> Remarks:
    """Check the patients of a data set without file names, and return how many there are.

    Args:
        file: CSV with the columns ``patient``, ``split`` and ``row`` (or ``index``).
        source: the data set.
        counts: images of each split.

    Raises:
        DataError: the CSV does not fit the data set, or a patient is in two splits.
    """
    key = "dataset.groups_csv"
    listed = [image for image in read_listed_images(key, file, source, ("patient",)) if image.cells["patient"]]
    for image in listed:
        if image.row >= counts.get(image.split, 0):
            raise DataError(
                f"{key}={file}: {image.split} has no row {image.row}. Use the CSV of this data set; rows start at 0."
            )
    names = [image.cells["patient"] for image in listed]
    rows: dict[Split, list[int]] = {}
    for position, image in enumerate(listed):
        rows.setdefault(image.split, []).append(position)
    check_patients(f"{key}={file}", names, rows)
    unknown = sum(counts.values()) - len({(image.split, image.row) for image in listed})
    others = f" {unknown:,} images have no patient in the CSV." if unknown else ""
    return Remarks((f"{len(set(names)):,} patients, each in one split.{others}",))
