"""The patient of each image, so that no patient is in two splits."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from simclr_med.data.image_columns import name_groups_csv, read_columns
from simclr_med.data.image_rows import read_listed_images
from simclr_med.data.source import Remarks, Source
from simclr_med.errors import DataError
from simclr_med.types import Split


def read_patients(file: Path, names: Sequence[str]) -> list[str]:
    """Return the patient of each image, from a CSV with the columns ``file`` and ``patient``.

    Raises:
        DataError: as `read_columns`.
    """
    return read_columns(name_groups_csv(file), names)["patient"]


def check_patients(where: str, patients: Sequence[Hashable], rows: Mapping[Split, Sequence[int]]) -> None:
    """Check that no patient is in two splits, which can happen with split folders.

    Args:
        where: the key and its value that says who is who, for the error.
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
