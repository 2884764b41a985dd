"""CSV files that name images of a data set, by file or by split and row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from simclr_med.data.image_csv import clean_name, index_by_name, read_csv
from simclr_med.data.source import Source
from simclr_med.errors import DataError
from simclr_med.types import Split

Place = tuple[Split, int]  # an image: its split and its row


@dataclass(frozen=True)
class ListedImage:
    """A line of the CSV: an image, and the line's other cells by column."""

    split: Split
    row: int
    cells: Mapping[str, str]


def read_listed_images(key: str, path: Path, source: Source, columns: Sequence[str] = ()) -> list[ListedImage]:
    """Return the images that a CSV names, in its order.

    Args:
        key: of the config, for errors.
        path: CSV with the column ``file`` (path relative to the data set's folder, or a unique file name alone), or
            with ``split`` and ``index``, or ``split`` and ``row`` (train, val or test; row from 0). Where a line has
            a file and a row, the file decides if the data set has file names.
        source: the data set.
        columns: that the CSV must have besides.

    Raises:
        DataError: the CSV cannot be read, lacks a column, or names an image that the data set does not have.
    """
    table = read_csv(key, path)
    found = set(table.columns)
    if not ("file" in found or {"split", "index"} <= found or {"split", "row"} <= found) or not set(columns) <= found:
        wanted = " and ".join(["the columns split and index (or file)", *columns])
        had = f"found {', '.join(sorted(found))[:200]}" if found else "the file is empty"
        raise DataError(f"{key}={path}: expected {wanted}; {had}. Correct the first line.")
    places = _locate_files(source) if "file" in found else {}
    images = []
    for number, line in enumerate(table.rows, 2):
        place = _find_place(line, places)
        if isinstance(place, str):
            raise DataError(f"{key}={path}: line {number}: {place}. Correct the line, or use the CSV of this data set.")
        images.append(ListedImage(*place, line))
    return images


def _locate_files(source: Source) -> dict[str, Place]:
    """Return the place of each file by its relative path, and by its name alone where that is unique."""
    return index_by_name(
        (name, (split, row))
        for split in source.available_splits()
        for row, name in enumerate(source.names(split) or ())
    )


def _find_place(line: Mapping[str, str], places: Mapping[str, Place]) -> Place | str:
    """Return the image of a line, or what is wrong with it."""
    if places and line.get("file"):
        name = clean_name(line["file"])
        return places.get(name) or f"the data set has no file {name}"
    split, row = line.get("split", ""), line.get("index", line.get("row", ""))
    if split not in get_args(Split):
        return f"expected train, val or test as split, found {split or 'nothing'}"
    if not (row.isascii() and row.isdigit() and len(row) < 16):
        return f"expected a row number from 0 as index, found {row or 'nothing'}"
    known: Literal["train", "val", "test"] = split  # type: ignore[assignment]
    return known, int(row)
