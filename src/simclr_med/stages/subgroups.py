"""Subgroups of the images by dataset.metadata_csv."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simclr_med.atomic import write_text
from simclr_med.config.schema import Config
from simclr_med.csv_cells import escape_cell
from simclr_med.data.excluded import Excluded
from simclr_med.data.metadata import read_metadata, read_rows
from simclr_med.data.source import Source
from simclr_med.runs.run import Run
from simclr_med.types import Split

Metadata = Mapping[Split, Mapping[str, Sequence[str]]]


def check_subgroups(run: Run[Config[Any]]) -> None:
    """Check the columns of dataset.metadata_csv before anything is trained; no split is read.

    Raises:
        DataError: as `read_rows`.
    """
    if (path := run.cfg.dataset.metadata_csv) is not None:
        read_rows(_expand(path))


def load_subgroups(run: Run[Config[Any]], source: Source) -> Metadata | None:
    """Return the columns of dataset.metadata_csv for each split; None where the key is not set.

    It opens the test split, so it is called after every choice is made.

    Raises:
        DataError: as `read_metadata`.
    """
    path = run.cfg.dataset.metadata_csv
    if path is None:
        return None
    whole = source.whole if isinstance(source, Excluded) else source
    splits = whole.available_splits()
    names = {split: whole.names(split) for split in splits}
    counts = {split: len(whole.split(split)) if names[split] is None else len(names[split] or ()) for split in splits}
    metadata = read_metadata(_expand(path), counts, names)
    if not isinstance(source, Excluded):
        return metadata
    return {
        split: {name: [values[row] for row in source.kept(split, len(values))] for name, values in columns.items()}
        for split, columns in metadata.items()
    }


def _expand(path: str) -> Path:
    return Path(os.path.expanduser(path))


def save_subgroups(folder: Path, metadata: Metadata | None) -> None:
    """Write subgroups.csv, with a row for each test image; nothing without metadata."""
    if metadata is None:
        return
    columns = metadata["test"]
    write_columns(folder / "subgroups.csv", list(columns), zip(*columns.values(), strict=True))


def write_columns(path: Path, head: Sequence[str], rows: Any) -> None:
    """Write a CSV whose texts a spreadsheet does not run as formulas."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([escape_cell(name) for name in head])
    writer.writerows([escape_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    write_text(path, text.getvalue())
