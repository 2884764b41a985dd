"""The CSV files that a user writes about images: reading them, and finding the image that a line names."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from simclr_med.csv_cells import unescape_cell
from simclr_med.data.limits import MOST_CSV_BYTES
from simclr_med.errors import DataError
from simclr_med.safe_files import open_regular

T = TypeVar("T")


@dataclass(frozen=True)
class CsvTable:
    """The content of a CSV.

    Attributes:
        columns: names of the first line, without empty ones.
        rows: the cells of each further line by column, stripped; a missing cell is empty.
    """

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    def describe_columns(self) -> str:
        """Return the names of the columns for a message."""
        return " | ".join(self.columns)[:200] or "no rows"


def read_csv(key: str, path: Path) -> CsvTable:
    """Read a CSV in UTF-8, separated by commas.

    Args:
        key: of the config, for errors.
        path: of the file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with io.TextIOWrapper(open_regular(path, MOST_CSV_BYTES), encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            columns = tuple(name for name in reader.fieldnames or () if name)
            rows = tuple({name: (line[name] or "").strip() for name in columns} for line in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise describe_csv_error(key, path, error) from error
    return CsvTable(columns, rows)


def describe_csv_error(key: str, path: Path, error: Exception) -> DataError:
    """Return the error for a CSV that cannot be read."""
    reason = error.strerror if isinstance(error, OSError) else error
    reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else reason
    return DataError(f"{key}={path}: not a readable CSV ({reason}). Check the path.")


def clean_name(cell: str) -> str:
    """Return the name of a file as a data set writes it: relative, with forward slashes."""
    return unescape_cell(cell).replace("\\", "/").removeprefix("./")


def index_by_name(named: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Return what belongs to each name, also by the file name alone where only one image has it.

    Args:
        named: path relative to the data set's folder, and what belongs to it.
    """
    whole = dict(named)
    counts = Counter(PurePosixPath(name).name for name in whole)
    short = {PurePosixPath(name).name: value for name, value in whole.items()}
    return {name: value for name, value in short.items() if counts[name] == 1} | whole
