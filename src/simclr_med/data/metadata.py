"""Further columns about the images, such as the scanner or the patient's sex, from a CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from simclr_med.data.image_csv import clean_name, index_by_name, read_csv
from simclr_med.errors import DataError
from simclr_med.types import Split

MOST_COLUMNS = 50
LONGEST = 100  # characters of a value


def read_metadata(
    file: Path, counts: Mapping[Split, int], names: Mapping[Split, Sequence[str] | None]
) -> dict[Split, dict[str, list[str]]]:
    """Return the value of each column for each image of each split; empty where the file says nothing.

    Args:
        file: of `read_rows`.
        counts: images of each split.
        names: relative names of the images of each split; None for arrays.

    Raises:
        DataError: as `read_rows`, or a row names an image that does not exist or that another row names.
    """
    columns, rows = read_rows(file)
    row_column = "row" if rows and "row" in rows[0] else "index"
    by_file = bool(rows) and "file" in rows[0]
    find = _index_files(names) if by_file else _index_rows(counts)
    metadata = {split: {name: [""] * count for name in columns} for split, count in counts.items()}
    seen: set[tuple[Split, int]] = set()
    for line, row in enumerate(rows, 2):
        key = clean_name(row["file"]) if by_file else f"{row['split']} {row[row_column]}"
        place = find.get(key)
        if place is None or place in seen:
            problem = "names an image twice" if place in seen else "names no image of the data set"
            raise DataError(f"dataset.metadata_csv={file}: line {line} ({key[:80]}) {problem}. Correct the CSV.")
        seen.add(place)
        for name in columns:
            metadata[place[0]][name][place[1]] = row[name][:LONGEST]
    return metadata


def read_rows(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns with values, and the rows by column.

    Args:
        file: CSV with the column ``file`` (path relative to the data set's folder, or file name alone), or with the
            columns ``split`` (train, val or test) and ``row`` or ``index`` (from 0); each other column has the values.

    Raises:
        DataError: the file cannot be read, or lacks columns.
    """
    table = read_csv("dataset.metadata_csv", file)
    fields = table.columns
    keys = {"file"} if "file" in fields else {"split", "row"} if "row" in fields else {"split", "index"}
    columns = [name for name in fields if name not in keys]
    if not keys <= set(fields) or not 1 <= len(columns) <= MOST_COLUMNS:
        raise DataError(
            f"dataset.metadata_csv={file}: expected the column file, or split and row, and 1 to {MOST_COLUMNS} further "
            f"columns, found {table.describe_columns()}. Correct the CSV."
        )
    return columns, list(table.rows)


def _index_rows(counts: Mapping[Split, int]) -> dict[str, tuple[Split, int]]:
    return {f"{split} {row}": (split, row) for split, count in counts.items() for row in range(count)}


def _index_files(names: Mapping[Split, Sequence[str] | None]) -> dict[str, tuple[Split, int]]:
    return index_by_name((name, (split, row)) for split, own in names.items() for row, name in enumerate(own or ()))
