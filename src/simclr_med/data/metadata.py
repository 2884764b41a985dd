"""Further columns about the images, such as the scanner or the patient's sex, from a CSV file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from simclr_med.data.limits import MOST_CSV_BYTES
from simclr_med.errors import DataError
from simclr_med.safe_files import open_regular
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
        key = _clean(row["file"]) if by_file else f"{_clean(row['split'])} {_clean(row[row_column])}"
        place = find.get(key)
        if place is None or place in seen:
            problem = "names an image twice" if place in seen else "names no image of the data set"
            raise DataError(f"dataset.metadata_csv={file}: line {line} ({key[:80]}) {problem}. Correct the CSV.")
        seen.add(place)
        for name in columns:
            metadata[place[0]][name][place[1]] = (row[name] or "").strip()[:LONGEST]
    return metadata


def read_rows(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns with values, and the rows by column.

    Args:
        file: CSV with the column ``file`` (path relative to the data set's folder, or file name alone), or with the
            columns ``split`` (train, val or test) and ``row`` or ``index`` (from 0); each other column has the values.

    Raises:
        DataError: the file cannot be read, or lacks columns.
    """
    try:
        with io.TextIOWrapper(open_regular(file, MOST_CSV_BYTES), encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            fields = list(reader.fieldnames or [])
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else reason
        raise DataError(f"dataset.metadata_csv={file}: not a readable CSV ({reason}). Check the path.") from error
    keys = {"file"} if "file" in fields else {"split", "row"} if "row" in fields else {"split", "index"}
    columns = [name for name in fields if name and name not in keys]
    if not keys <= set(fields) or not 1 <= len(columns) <= MOST_COLUMNS:
        raise DataError(
            f"dataset.metadata_csv={file}: expected the column file, or split and row, and 1 to {MOST_COLUMNS} further "
            f"columns, found {' | '.join(fields)[:200] or 'no rows'}. Correct the CSV."
        )
    return columns, rows


def _clean(text: str | None) -> str:
    return (text or "").strip().replace("\\", "/").removeprefix("./")


def _index_rows(counts: Mapping[Split, int]) -> dict[str, tuple[Split, int]]:
    return {f"{split} {row}": (split, row) for split, count in counts.items() for row in range(count)}


def _index_files(names: Mapping[Split, Sequence[str] | None]) -> dict[str, tuple[Split, int]]:
    """Return name -> image; a file name alone stands for the image that has it, where only one does."""
    places = [(name, (split, row)) for split, own in names.items() for row, name in enumerate(own or ())]
    short = Counter(PurePosixPath(name).name for name, _ in places)
    alone = {PurePosixPath(name).name: place for name, place in places if short[PurePosixPath(name).name] == 1}
    return alone | dict(places)
