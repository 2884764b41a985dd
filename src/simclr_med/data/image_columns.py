"""What a CSV says about each image of a folder: its patient, its label, its split."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from simclr_med.data.image_csv import CsvTable, clean_name, read_csv
from simclr_med.errors import DataError

GROUPS_CSV = "dataset.groups_csv"


@dataclass(frozen=True)
class ImageCsv:
    """A CSV that says something about every image of a folder.

    Attributes:
        key: of the config that names it, for errors.
        path: of the file.
        file: column with the path relative to the folder, or the file name alone.
        columns: names of the columns ``patient``, ``label`` and ``split``, where the CSV has them.
    """

    key: str
    path: Path
    file: str
    columns: Mapping[str, str]

    @property
    def hash_name(self) -> str:
        """What stands before the hash of the CSV's bytes."""
        return "groups_csv" if self.key == GROUPS_CSV else json.dumps(["csv", self.file, dict(self.columns)])


def name_groups_csv(path: Path) -> ImageCsv:
    """Return the CSV of ``dataset.groups_csv``, with the columns ``file`` and ``patient``."""
    return ImageCsv(GROUPS_CSV, path, "file", {"patient": "patient"})


def name_csv(groups_csv: str | None, csv: Mapping[str, str | None]) -> ImageCsv | None:
    """Return the CSV of ``dataset.groups_csv`` or ``dataset.csv``; None without."""
    if groups_csv is not None:
        return name_groups_csv(Path(os.path.expanduser(groups_csv)))
    path = csv["path"]
    if path is None:
        return None
    columns = {meaning: column for meaning in ("patient", "label", "split") if (column := csv[meaning]) is not None}
    return ImageCsv("dataset.csv.path", Path(os.path.expanduser(path)), str(csv["file"]), columns)


def read_columns(csv: ImageCsv, names: Sequence[str]) -> dict[str, list[str]]:
    """Return what a CSV says about each image, by the meaning of the column.

    Args:
        csv: the file and its columns.
        names: relative names of the images.

    Raises:
        DataError: the file or a column is missing, or an image has no value or several.
    """
    table = read_csv(csv.key, csv.path)
    wanted = (csv.file, *csv.columns.values())
    if not set(wanted) <= set(table.columns):
        found = "no rows" if not table.columns else f"the columns {table.describe_columns()}"
        raise DataError(
            f"{csv.key}={csv.path}: expected the columns {' and '.join(wanted)}, separated by commas, found {found}. "
            "Correct the CSV."
        )
    counts = Counter(PurePosixPath(name).name for name in names)
    return {
        meaning: [_find_value(csv, meaning, name, values, counts) for name in names]
        for meaning, column in csv.columns.items()
        for values in [_group_values(table, csv.file, column)]
    }


def _group_values(table: CsvTable, file_column: str, column: str) -> dict[str, set[str]]:
    """Return the values of each file in the CSV."""
    values: dict[str, set[str]] = defaultdict(set)
    for row in table.rows:
        if row[file_column] and row[column]:
            values[clean_name(row[file_column])].add(row[column])
    return values


def _find_value(
    csv: ImageCsv, meaning: str, name: str, values: Mapping[str, set[str]], counts: Mapping[str, int]
) -> str:
    file_name = PurePosixPath(name).name
    count = counts[file_name]
    found = values.get(name) or (values.get(file_name, set()) if count == 1 else set())
    if len(found) != 1:
        problem = f"several {meaning}s for {name}" if found else f"no {meaning} for {name}"
        note = f" ({count} images have this file name: add their folders)" if count > 1 and not found else ""
        raise DataError(f"{csv.key}={csv.path}: {problem}{note}. Correct the CSV.")
    return next(iter(found))
