"""The rows of a metrics.csv: a header, then one row per epoch with the columns epoch, step, the metrics and wall_s."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from simclr_med.safe_files import open_regular


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the complete rows as text; none without a file.

    Rows that an interrupted process or a disk error damaged are skipped.

    Raises:
        OSError: the file is unreadable or not a regular file.
    """
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    complete, _, _ = text.replace("\0", "").rpartition("\n")
    rows = _read_cells(complete)
    columns = next(rows, [])
    return [row for cells in rows if (row := _pair(columns, cells)) is not None]


def _read_cells(text: str) -> Iterator[list[str]]:
    reader = csv.reader(text.splitlines())
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:  # a cell of more than 128 KiB
            continue


def _pair(columns: list[str], cells: list[str]) -> dict[str, str] | None:
    """Return the cells by their columns; None for a row with missing or surplus cells, or without an epoch."""
    if len(cells) != len(columns):
        return None
    row = dict(zip(columns, cells, strict=True))
    return row if row.get("epoch", "").isdecimal() else None
