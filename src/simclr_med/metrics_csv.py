"""The rows of a metrics.csv: a header, then one row per epoch with the columns epoch, step, the metrics and wall_s."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from simclr_med.safe_files import open_regular


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the complete rows as text; none without a file.

    Rows that an interrupted process or a disk error damaged are skipped.

    Raises:
        OSError: the file is unreadable or not a regular file.
        csv.Error: a cell is longer than 128 KiB.
    """
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    complete, _, _ = text.replace("\0", "").rpartition("\n")
    return [row for row in csv.DictReader(complete.splitlines()) if _is_complete(row)]


def _is_complete(row: dict[Any, Any]) -> bool:
    # csv.DictReader puts surplus cells under None, and None in place of missing cells.
    return None not in row and None not in row.values() and str(row.get("epoch", "")).isdecimal()
