"""The patient of each image, so that no patient is in two splits."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from simclr_med.data.image_columns import name_groups_csv, read_columns
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
